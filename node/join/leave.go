package join

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/kubectl/pkg/drain"

	"airgap/internal/site"
)

const (
	// drainTime is how long one request waits for pods to end; who asks, asks again.
	drainTime     = 15 * time.Second
	drainInterval = time.Second
)

// leave takes a node out of the cluster: no new pods, the old ones away as far as their budgets let them, and then the
// Node and its name are deleted. Pods of DaemonSets, which would come again, and static ones stay to the end.
func (h *Handler) leave(ctx context.Context, c call) (any, error) {
	request, err := leaving(c.body)
	if err != nil {
		return nil, err
	}
	if c.node == h.names.own {
		return nil, refusal(http.StatusForbidden, site.CodeName, "%s is the server of this cluster, and cannot leave it", c.node)
	}
	if err := h.names.mustHave(ctx, c.node, request.Password); err != nil {
		return nil, err
	}
	node, err := h.Client.CoreV1().Nodes().Get(ctx, c.node, metav1.GetOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return nil, err
	}
	var response site.LeaveResponse
	if err == nil && !request.Force {
		if response.Waiting, err = h.drain(ctx, node); err != nil {
			return nil, err
		}
		if len(response.Waiting) > 0 {
			return response, nil
		}
	}
	if err := h.Client.CoreV1().Nodes().Delete(ctx, c.node, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
		return nil, err
	}
	if err := h.names.free(ctx, c.node); err != nil {
		return nil, err
	}
	h.Log.Info("a node has left", "node", c.node, "from", c.from, "forced", request.Force)
	response.Left = true
	return response, nil
}

// drain evicts a node's pods for drainTime at most, and returns those that are left, each with the reason.
func (h *Handler) drain(ctx context.Context, node *corev1.Node) (waiting []string, err error) {
	drainer := &drain.Helper{
		Ctx: ctx, Client: h.Client, Out: io.Discard, ErrOut: io.Discard,
		Force: true, IgnoreAllDaemonSets: true, DeleteEmptyDirData: true, // the machine goes: what is on it does too
		GracePeriodSeconds: -1, // the pods' own
	}
	if err := drain.RunCordonOrUncordon(drainer, node, true); err != nil {
		return nil, fmt.Errorf("cordon node %s: %w", node.Name, err)
	}
	for end := time.Now().Add(h.draining); ; {
		pods, errs := drainer.GetPodsForDeletion(node.Name)
		if len(errs) > 0 {
			return nil, fmt.Errorf("list the pods of node %s: %w", node.Name, errs[0])
		}
		waiting = nil
		for _, pod := range pods.Pods() {
			why := "is ending"
			if pod.DeletionTimestamp == nil {
				err := drainer.EvictPod(pod, policyv1.SchemeGroupVersion)
				switch {
				case apierrors.IsNotFound(err):
					continue
				case err != nil:
					why = err.Error() // a budget says which it is
				}
			}
			waiting = append(waiting, fmt.Sprintf("%s/%s: %s", pod.Namespace, pod.Name, why))
		}
		if len(waiting) == 0 || time.Now().After(end) {
			return waiting, nil
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(drainInterval):
		}
	}
}
