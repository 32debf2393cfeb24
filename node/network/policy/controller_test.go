package policy

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"
	"sigs.k8s.io/knftables"

	"airgap/node/network/policy/admission"
)

// refusing is a kernel that refuses every transaction while it shall.
type refusing struct {
	*knftables.Fake
	refuse atomic.Bool
}

func (r *refusing) Run(ctx context.Context, tx *knftables.Transaction) error {
	if r.refuse.Load() {
		return errors.New("no")
	}
	return r.Fake.Run(ctx, tx)
}

// table says whether there is one.
func (r *refusing) table() bool {
	r.RLock()
	defer r.RUnlock()
	return r.Table != nil
}

func startController(t *testing.T, stateDir string) (*Controller, *refusing, *fake.Clientset) {
	tables := &refusing{Fake: knftables.NewFake(knftables.InetFamily, "airgap-policy")}
	api := fake.NewClientset()
	c := New(api, Options{
		Node: thisNode, Table: "airgap-policy", Tables: tables, StateDir: stateDir,
		Networks: []netip.Prefix{netip.MustParsePrefix("10.42.0.0/16")},
	})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); _ = c.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-ended })
	return c, tables, api
}

func sandboxOf(name, address string) admission.Sandbox {
	return admission.Sandbox{ID: "sandbox-" + name, Namespace: "a", Name: name, UID: "a-" + name, Addresses: []netip.Addr{netip.MustParseAddr(address)}}
}

// Without policies there is no table, and pods are not watched; a sandbox is admitted at once.
func TestIdle(t *testing.T) {
	c, tables, api := startController(t, t.TempDir())
	if err := c.Admit(t.Context(), sandboxOf("web", "10.42.0.2")); err != nil {
		t.Fatal(err)
	}
	watched := func() (list []string) {
		for _, action := range api.Actions() {
			if action.GetVerb() == "watch" {
				list = append(list, action.GetResource().Resource)
			}
		}
		return list
	}
	if got := strings.Join(watched(), " "); tables.table() || got != "networkpolicies" {
		t.Errorf("table: %v, watched: %s", tables.table(), got)
	}
	policies := api.NetworkingV1().NetworkPolicies("a")
	if _, err := policies.Create(t.Context(), parsePolicy(t, "a", "p", "{podSelector: {}}"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() string {
		if !tables.table() {
			return "no table though there is a policy"
		}
		return ""
	})
	if err := policies.Delete(t.Context(), "p", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() string {
		if tables.table() {
			return "a table without a policy"
		}
		return ""
	})
}

// What the kernel refuses keeps only those pods from starting that policies isolate, and is tried again.
func TestKernelRefuses(t *testing.T) {
	c, tables, api := startController(t, t.TempDir())
	for _, p := range []*corev1.Pod{newPod("a", "web", thisNode, app("web"), 80), newPod("a", "other", thisNode, nil, 80)} {
		if _, err := api.CoreV1().Pods("a").Create(t.Context(), p, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := api.NetworkingV1().NetworkPolicies("a").Create(t.Context(), parsePolicy(t, "a", "p", "{podSelector: {matchLabels: {app: web}}}"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() string {
		if !tables.table() {
			return "no table"
		}
		return ""
	})
	tables.refuse.Store(true)
	if err := c.Admit(t.Context(), sandboxOf("web", "10.42.0.2")); err == nil {
		t.Error("an isolated pod is admitted though the kernel has not its rules")
	}
	if err := c.Admit(t.Context(), sandboxOf("other", "10.42.0.3")); err != nil {
		t.Error("a pod that no policy selects is kept from starting:", err)
	}
	tables.refuse.Store(false)
	eventually(t, func() string {
		if err := c.Admit(t.Context(), sandboxOf("web", "10.42.0.2")); err != nil {
			return err.Error()
		}
		return ""
	})
	tables.RLock()
	defer tables.RUnlock()
	if m := tables.Table.Maps[mapName(ingress, ip4)]; m.FindElement("10.42.0.2") == nil || m.FindElement("10.42.0.3") != nil {
		t.Errorf("%v", m.Elements)
	}
}

// What the plugin told is there again after a restart, and a spoilt record keeps nothing from starting.
func TestSandboxesAreKept(t *testing.T) {
	dir := t.TempDir()
	c, _, _ := startController(t, dir)
	for name, address := range map[string]string{"web": "10.42.0.2", "other": "10.42.0.3"} {
		if err := c.Admit(t.Context(), sandboxOf(name, address)); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Forget(t.Context(), "sandbox-other"); err != nil {
		t.Fatal(err)
	}
	again := sandboxOf("web", "10.42.0.4")
	again.ID = "sandbox-web-again"
	if err := c.Admit(t.Context(), again); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "spoilt.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	next := New(fake.NewClientset(), Options{Node: thisNode, StateDir: dir})
	if err := next.loadSandboxes(); err != nil {
		t.Fatal(err)
	}
	if got := next.sandboxes["sandbox-web-again"]; len(next.sandboxes) != 1 || got == nil || got.Addresses[0] != netip.MustParseAddr("10.42.0.4") {
		t.Errorf("%v", next.sandboxes)
	}
	for _, id := range []string{"", "../x", "a/b"} {
		s := sandboxOf("web", "10.42.0.2")
		s.ID = id
		if err := c.Admit(t.Context(), s); err == nil {
			t.Errorf("%q is taken for a sandbox", id)
		}
	}
}
