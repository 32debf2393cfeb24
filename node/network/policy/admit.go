package policy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/klog/v2"

	"airgap/internal/atomicfile"
	"airgap/node/network/policy/admission"
)

// Admit returns when the policies of a pod that just got its network are in the kernel. It fails only for a pod that
// policies isolate: what the kernel refuses harms no other.
func (c *Controller) Admit(ctx context.Context, sandbox admission.Sandbox) error {
	if sandbox.ID == "" || filepath.Base(sandbox.ID) != sandbox.ID || sandbox.Namespace == "" || sandbox.Name == "" {
		return fmt.Errorf("pod %q of namespace %q with sandbox %q: not a pod", sandbox.Name, sandbox.Namespace, sandbox.ID)
	}
	data, err := json.Marshal(sandbox)
	if err != nil {
		return err
	}
	if err := atomicfile.Write(c.sandboxFile(sandbox.ID), data, 0o600); err != nil {
		return err
	}
	return c.await(ctx, func(m *model) {
		c.supersede(m, &sandbox)
		c.sandboxes[sandbox.ID] = &sandbox
		if m != nil {
			m.setSandbox(sandbox.Namespace, sandbox.Name, &sandbox)
		}
	}, func(err error) error {
		if c.model == nil {
			return nil
		}
		if p := c.model.pods[sandbox.Namespace][sandbox.Name]; p == nil || !p.isolated() {
			return nil
		}
		return err
	})
}

// Forget removes a sandbox whose network is gone.
func (c *Controller) Forget(ctx context.Context, id string) error {
	if filepath.Base(id) != id {
		return fmt.Errorf("%q is no sandbox", id)
	}
	return c.await(ctx, func(m *model) { c.forget(m, id) }, func(err error) error { return err })
}

func (c *Controller) await(ctx context.Context, apply func(*model), verdict func(error) error) error {
	done := make(chan error, 1)
	// The verdict is asked for in Run's goroutine, as apply is called in it.
	c.enqueue(change{apply: apply, done: func(err error) { done <- verdict(err) }})
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return errors.New("network policies were not in place in time; the agent's log says why")
	}
}

// supersede forgets sandboxes that a new one shows to be gone: of the same pod, or with the same address.
func (c *Controller) supersede(m *model, sandbox *admission.Sandbox) {
	for id, other := range c.sandboxes {
		if id == sandbox.ID {
			continue
		}
		shared := slices.ContainsFunc(other.Addresses, func(a netip.Addr) bool { return slices.Contains(sandbox.Addresses, a) })
		if shared || other.Namespace == sandbox.Namespace && other.Name == sandbox.Name {
			c.forget(m, id)
		}
	}
}

func (c *Controller) forget(m *model, id string) {
	sandbox := c.sandboxes[id]
	if sandbox == nil {
		return
	}
	delete(c.sandboxes, id)
	if m != nil && m.sandboxes[sandbox.Namespace][sandbox.Name] == sandbox {
		m.setSandbox(sandbox.Namespace, sandbox.Name, nil)
	}
	if err := os.Remove(c.sandboxFile(id)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		klog.ErrorS(err, "a pod's network is gone, but not its record")
	}
}

func (c *Controller) sandboxFile(id string) string {
	return filepath.Join(c.options.StateDir, id+".json")
}

// loadSandboxes reads what an earlier agent was told, so that pods whose addresses the API does not know yet
// stay isolated over its restart.
func (c *Controller) loadSandboxes() error {
	if err := os.MkdirAll(c.options.StateDir, 0o700); err != nil {
		return err
	}
	files, err := filepath.Glob(filepath.Join(c.options.StateDir, "*.json"))
	if err != nil {
		return err
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		sandbox := &admission.Sandbox{}
		if err := json.Unmarshal(data, sandbox); err != nil || sandbox.ID == "" {
			klog.ErrorS(err, "a pod's network has an unreadable record; its pod is isolated when the API tells its address", "file", file)
			continue
		}
		c.sandboxes[sandbox.ID] = sandbox
	}
	return nil
}

func labelsOf(namespace *corev1.Namespace) labels.Set {
	switch {
	case namespace == nil:
		return nil
	case namespace.Labels == nil:
		return labels.Set{} // it exists, without labels
	}
	return namespace.Labels
}
