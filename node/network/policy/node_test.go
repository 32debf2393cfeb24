package policy

import (
	"context"
	"fmt"
	"net/netip"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"
	"sigs.k8s.io/knftables"

	"airgap/node/network/policy/admission"
)

// node is a fabric with a running controller, fed by an API of objects in memory.
type node struct {
	*fabric
	api        *fake.Clientset
	controller *Controller
	stateDir   string
	stop       func()
}

func newNode(t testing.TB) *node {
	n := &node{fabric: newFabric(t), api: fake.NewClientset(), stateDir: t.TempDir()}
	n.start()
	t.Cleanup(func() {
		n.stop()
		tables, err := knftables.New(knftables.InetFamily, "airgap-policy")
		must(t, err)
		must(t, Remove(context.Background(), tables))
	})
	for name, team := range map[string]string{"a": "red", "b": "blue"} {
		n.create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"team": team}}})
	}
	return n
}

// start runs a controller, as a new agent would, until n.stop.
func (n *node) start() {
	n.t.Helper()
	tables, err := knftables.New(knftables.InetFamily, "airgap-policy")
	must(n.t, err)
	n.controller = New(n.api, Options{
		Node: thisNode, Bridge: n.bridge.Name, Table: "airgap-policy", Tables: tables, StateDir: n.stateDir,
		Networks: []netip.Prefix{netip.MustParsePrefix("10.42.0.0/16"), netip.MustParsePrefix("fd42::/56")},
	})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); _ = n.controller.Run(ctx) }()
	n.stop = func() { cancel(); <-ended }
}

func (n *node) create(object any) {
	n.t.Helper()
	ctx, err := context.Background(), error(nil)
	switch o := object.(type) {
	case *corev1.Namespace:
		_, err = n.api.CoreV1().Namespaces().Create(ctx, o, metav1.CreateOptions{})
	case *corev1.Pod:
		_, err = n.api.CoreV1().Pods(o.Namespace).Create(ctx, o, metav1.CreateOptions{})
	}
	must(n.t, err)
}

// apply makes a policy of namespace a, or changes it.
func (n *node) apply(name, spec string) {
	n.t.Helper()
	p := parsePolicy(n.t, "a", name, spec)
	policies := n.api.NetworkingV1().NetworkPolicies("a")
	if _, err := policies.Update(context.Background(), p, metav1.UpdateOptions{}); err != nil {
		_, err = policies.Create(context.Background(), p, metav1.CreateOptions{})
		must(n.t, err)
	}
}

func (n *node) remove(name string) {
	n.t.Helper()
	must(n.t, n.api.NetworkingV1().NetworkPolicies("a").Delete(context.Background(), name, metav1.DeleteOptions{}))
}

func numbered(i int) map[family]netip.Addr {
	return map[family]netip.Addr{ip4: podAddress(i, ip4), ip6: podAddress(i, ip6)}
}

// pod makes a running pod of this node, with a network. Its port 8080 is named http.
func (n *node) pod(i int, namespace, name string, labels map[string]string) *machine {
	n.t.Helper()
	m := n.attach(numbered(i))
	n.create(newPod(namespace, name, thisNode, labels, 8080, podAddress(i, ip4).String(), podAddress(i, ip6).String()))
	return m
}

func app(name string) map[string]string { return map[string]string{"app": name} }

// eventually waits until try, which says what is wrong, says nothing.
func eventually(t testing.TB, try func() string) {
	t.Helper()
	var wrong string
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if wrong = try(); wrong == "" {
			return
		}
	}
	t.Fatal(wrong)
}

// settled waits until everything that the API was told has reached the kernel: a policy made now has.
func (n *node) settled() {
	n.t.Helper()
	marker := fmt.Sprint("marker-", machines.Add(1))
	n.apply(marker, "{podSelector: {matchLabels: {no: pod}}, policyTypes: [Ingress]}")
	chain := parsePolicyName("a", marker)
	eventually(n.t, func() string {
		if _, err := n.controller.options.Tables.ListRules(n.t.Context(), chain); err != nil {
			return err.Error()
		}
		return ""
	})
	n.remove(marker)
	eventually(n.t, func() string {
		if _, err := n.controller.options.Tables.ListRules(n.t.Context(), chain); err == nil {
			return chain + " is still there"
		}
		return ""
	})
}

func parsePolicyName(namespace, name string) string {
	return (&policy{namespace: namespace, name: name}).chainName(ingress)
}

// admit tells the controller of a network as the CNI plugin does.
func (n *node) admit(i int, namespace, name string) {
	n.t.Helper()
	must(n.t, n.controller.Admit(n.t.Context(), admission.Sandbox{
		ID: "sandbox-" + name, Namespace: namespace, Name: name, UID: namespace + "-" + name,
		Addresses: []netip.Addr{podAddress(i, ip4), podAddress(i, ip6)},
	}))
}
