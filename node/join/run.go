package join

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/tools/cache"

	"airgap/internal/atomicfile"
	"airgap/internal/site"
)

const (
	// Grace is how long a name is kept for a machine that has joined and not registered its Node yet: its install may wait for
	// somebody until the next day.
	Grace = 24 * time.Hour
	// reconcileInterval is how often names without a Node are looked for, beside what happens.
	reconcileInterval = 10 * time.Minute
	retryAfter        = 5 * time.Second
)

// Run lets machines join until ctx is done, and frees the names of nodes that are deleted. The API server must be ready.
func (h *Handler) Run(ctx context.Context) error {
	deleted := make(chan *corev1.Node, 64)
	if _, err := h.nodes.AddEventHandler(cache.ResourceEventHandlerFuncs{DeleteFunc: func(object any) {
		if gone, ok := object.(cache.DeletedFinalStateUnknown); ok {
			object = gone.Obj
		}
		if node, ok := object.(*corev1.Node); ok {
			select {
			case deleted <- node:
			case <-ctx.Done():
			}
		}
	}}); err != nil {
		return err
	}
	ended := make(chan struct{})
	go func() { defer close(ended); h.nodes.Run(ctx.Done()) }()
	defer func() { <-ended }()
	if !cache.WaitForCacheSync(ctx.Done(), h.nodes.HasSynced) {
		return nil
	}
	for {
		err := errors.Join(h.keepOwn(ctx), h.names.reconcile(ctx))
		if err == nil {
			break
		}
		h.Log.Error("names of nodes; machines cannot join until this is mended", "error", err)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(retryAfter):
		}
	}
	h.run.Store(&ctx)
	defer h.run.Store(nil)

	ticker := time.NewTicker(reconcileInterval)
	defer ticker.Stop()
	for {
		var err error
		select {
		case <-ctx.Done():
			return nil
		case node := <-deleted:
			err = h.names.deleted(ctx, node)
		case <-ticker.C:
			err = h.names.reconcile(ctx)
		}
		if err != nil && ctx.Err() == nil {
			// The next reconciliation finds what is left: a Secret without a Node.
			h.Log.Error("names of nodes", "error", err)
		}
	}
}

// keepOwn makes the name of the node on this machine its own. The server holds the cluster's authorities: where it has lost
// its password, with its folder agent/pki, it takes another.
func (h *Handler) keepOwn(ctx context.Context) error {
	if h.names.own == "" {
		return nil
	}
	dir := h.paths.AgentPKI()
	password, err := site.LoadPassword(dir)
	if err != nil {
		return err
	}
	if err := atomicfile.Write(filepath.Join(dir, site.FilePassword), []byte(password+"\n"), 0o600); err != nil {
		return err
	}
	m := machine{id: site.HashMachineID(h.Host), hostKeys: site.HashHostKeys(h.Host)}
	secret, err := h.names.get(ctx, h.names.own)
	switch {
	case err == nil && opens(secret, password):
		return h.names.annotate(ctx, secret, m)
	case err == nil:
		h.Log.Warn("the password of this node's name is another than the cluster's, which is replaced", "node", h.names.own)
		if err := h.names.free(ctx, h.names.own); err != nil {
			return err
		}
	case !apierrors.IsNotFound(err):
		return err
	}
	_, err = h.names.create(ctx, h.names.own, password, m)
	return err
}

// deleted frees the name of a Node that is deleted. A password that is younger than the Node is another machine's, which has
// joined under the name since.
func (n *names) deleted(ctx context.Context, node *corev1.Node) error {
	secret, err := n.get(ctx, node.Name)
	if apierrors.IsNotFound(err) || err == nil && (node.Name == n.own || secret.CreationTimestamp.After(node.CreationTimestamp.Time)) {
		return nil
	}
	if err != nil {
		return err
	}
	return n.remove(ctx, secret)
}

// reconcile frees the names that have no Node and are not being joined under.
func (n *names) reconcile(ctx context.Context) error {
	secrets, err := n.list(ctx)
	if err != nil {
		return err
	}
	var errs []error
	for _, secret := range secrets {
		node := strings.TrimSuffix(secret.Name, passwordSuffix)
		joined, err := time.Parse(time.RFC3339, secret.Annotations[annotationJoined])
		if node == n.own || err == nil && n.now().Sub(joined) < Grace {
			continue
		}
		if known, err := n.exists(ctx, node); err != nil {
			errs = append(errs, err)
		} else if !known {
			errs = append(errs, n.remove(ctx, &secret))
		}
	}
	return errors.Join(errs...)
}
