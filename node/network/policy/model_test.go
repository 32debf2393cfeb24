package policy

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/knftables"

	"airgap/node/network/policy/admission"
)

const thisNode = "node-1"

var bothFamilies = []family{ip4, ip6}

// newPod is a running pod with one named port, http, of TCP.
func newPod(namespace, name, node string, labels map[string]string, httpPort int32, addresses ...string) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, UID: types.UID(namespace + "-" + name), Labels: labels}}
	p.Spec.NodeName = node
	p.Spec.Containers = []corev1.Container{{Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: httpPort, Protocol: corev1.ProtocolTCP}}}}
	p.Status.Phase = corev1.PodRunning
	for _, a := range addresses {
		p.Status.PodIPs = append(p.Status.PodIPs, corev1.PodIP{IP: a})
	}
	return p
}

// kernel is a model with a table that stands for the kernel's.
type kernel struct {
	t *testing.T
	*model
	table *knftables.Fake
}

func newKernel(t *testing.T) *kernel {
	k := &kernel{t: t, model: newModel(thisNode, "cni0", bothFamilies), table: knftables.NewFake(knftables.InetFamily, "airgap-policy")}
	tx := k.table.NewTransaction()
	k.rules.replacement(tx)
	k.run(tx)
	return k
}

func (k *kernel) run(tx *knftables.Transaction) {
	k.t.Helper()
	if err := k.table.Run(k.t.Context(), tx); err != nil {
		k.t.Fatalf("%v\n%s", err, tx)
	}
	k.rules.committed()
}

// commit returns the operations of the transaction, one a line.
func (k *kernel) commit() []string {
	k.t.Helper()
	tx := k.table.NewTransaction()
	k.rules.changes(tx)
	lines := strings.Split(strings.TrimSpace(tx.String()), "\n")
	if tx.NumOperations() > 0 {
		k.run(tx)
	} else {
		lines = nil
	}
	return lines
}

func (k *kernel) policy(name, spec string) {
	k.setPolicy("a", name, parsePolicy(k.t, "a", name, spec))
}

// verdicts lists the elements of a map.
func (k *kernel) verdicts(name string) []string {
	var list []string
	for _, e := range k.table.Table.Maps[name].Elements {
		list = append(list, strings.Join(e.Key, " . ")+" "+strings.Join(e.Value, ""))
	}
	slices.Sort(list)
	return list
}

// A pod that comes or goes changes elements, and nothing else.
func TestPodsChangeElementsOnly(t *testing.T) {
	k := newKernel(t)
	k.setNamespace("a", labels.Set{"team": "x"})
	k.policy("web", `
podSelector: {matchLabels: {app: web}}
ingress: [{from: [{podSelector: {matchLabels: {app: client}}}], ports: [{port: http}]}]`)
	web := map[string]string{"app": "web"}
	k.setPod("a", "web-1", newPod("a", "web-1", thisNode, web, 80, "10.42.0.2", "fd42::2"))
	k.commit()
	for name, change := range map[string]func(){
		"a second one": func() { k.setPod("a", "web-2", newPod("a", "web-2", thisNode, web, 80, "10.42.0.3", "fd42::3")) },
		"it goes":      func() { k.setPod("a", "web-2", nil) },
		"a peer": func() {
			k.setPod("a", "c", newPod("a", "c", "node-2", map[string]string{"app": "client"}, 80, "10.42.1.2"))
		},
		"another's addition": func() { k.setPod("b", "web", newPod("b", "web", thisNode, web, 80, "10.42.0.9")) },
	} {
		change()
		for _, line := range k.commit() {
			if !strings.HasPrefix(line, "add element ") && !strings.HasPrefix(line, "delete element ") {
				t.Errorf("%s: %s", name, line)
			}
		}
	}
	k.setPod("a", "web-1", newPod("a", "web-1", thisNode, web, 80, "10.42.0.2", "fd42::2"))
	if lines := k.commit(); lines != nil {
		t.Errorf("a pod that did not change: %q", lines)
	}
}

func TestWhoIsIsolated(t *testing.T) {
	k := newKernel(t)
	web := map[string]string{"app": "web"}
	host := newPod("a", "host", thisNode, web, 80, "192.0.2.1")
	host.Spec.HostNetwork = true
	ended := newPod("a", "ended", thisNode, web, 80, "10.42.0.6")
	ended.Status.Phase = corev1.PodSucceeded
	for _, p := range []*corev1.Pod{
		newPod("a", "web", thisNode, web, 80, "10.42.0.2", "fd42::2"),
		newPod("a", "other", thisNode, map[string]string{"app": "other"}, 80, "10.42.0.3"),
		newPod("a", "remote", "node-2", web, 80, "10.42.1.2"),
		newPod("b", "web", thisNode, web, 80, "10.42.0.4"),
		host, ended,
	} {
		k.setPod(p.Namespace, p.Name, p)
	}
	k.policy("deny", "{podSelector: {matchLabels: {app: web}}, policyTypes: [Ingress, Egress]}")
	k.commit()
	for _, d := range directions {
		if got := k.verdicts(mapName(d, ip4)); len(got) != 1 || !strings.HasPrefix(got[0], "10.42.0.2 goto "+d.String()+"-set-") {
			t.Errorf("%s: %q", d, got)
		}
		if got := k.verdicts(mapName(d, ip6)); len(got) != 1 || !strings.HasPrefix(got[0], "fd42::2 goto") {
			t.Errorf("%s: %q", d, got)
		}
	}
	t.Run("labels change", func(t *testing.T) {
		k.setPod("a", "web", newPod("a", "web", thisNode, map[string]string{"app": "x"}, 80, "10.42.0.2", "fd42::2"))
		k.setPod("a", "other", newPod("a", "other", thisNode, web, 80, "10.42.0.3"))
		k.commit()
		if got := k.verdicts(mapName(ingress, ip4)); len(got) != 1 || !strings.HasPrefix(got[0], "10.42.0.3 ") {
			t.Errorf("%q", got)
		}
	})
	t.Run("a pod ends", func(t *testing.T) {
		now := newPod("a", "other", thisNode, web, 80, "10.42.0.3")
		now.Status.Phase = corev1.PodFailed
		k.setPod("a", "other", now)
		k.commit()
		if got := k.verdicts(mapName(ingress, ip4)); got != nil {
			t.Errorf("%q", got)
		}
	})
}

func TestSandboxes(t *testing.T) {
	sandbox := func(name, uid, address string) *admission.Sandbox {
		return &admission.Sandbox{ID: uid, Namespace: "a", Name: name, UID: uid, Addresses: []netip.Addr{netip.MustParseAddr(address)}}
	}
	web := map[string]string{"app": "web"}
	starting := newPod("a", "web", thisNode, web, 80)
	starting.Status.Phase = corev1.PodPending
	isolated := func(t *testing.T, k *kernel, want ...string) {
		t.Helper()
		k.commit()
		var got []string
		for _, line := range k.verdicts(mapName(ingress, ip4)) {
			got = append(got, strings.Fields(line)[0])
		}
		if !slices.Equal(got, want) {
			t.Errorf("isolated are %q, want %q", got, want)
		}
	}
	deny := "{podSelector: {matchLabels: {app: web}}}"

	t.Run("before the API knows the address", func(t *testing.T) {
		k := newKernel(t)
		k.policy("deny", deny)
		k.setPod("a", "web", starting)
		k.setSandbox("a", "web", sandbox("web", "a-web", "10.42.0.2"))
		isolated(t, k, "10.42.0.2")
		k.setPod("a", "web", newPod("a", "web", thisNode, web, 80, "10.42.0.2"))
		if lines := k.commit(); lines != nil {
			t.Errorf("the API says the same later: %q", lines)
		}
		k.setSandbox("a", "web", nil)
		k.setPod("a", "web", nil)
		isolated(t, k)
	})
	t.Run("before the API's object is seen", func(t *testing.T) {
		k := newKernel(t)
		k.policy("deny", deny)
		k.setSandbox("a", "other", sandbox("other", "a-other", "10.42.0.3"))
		isolated(t, k, "10.42.0.3") // it might be selected
		k.setPod("a", "other", newPod("a", "other", thisNode, nil, 80))
		isolated(t, k)
	})
	t.Run("in a namespace without policies", func(t *testing.T) {
		k := newKernel(t)
		k.setSandbox("a", "other", sandbox("other", "a-other", "10.42.0.3"))
		isolated(t, k)
	})
	t.Run("a later pod of the same name", func(t *testing.T) {
		k := newKernel(t)
		k.policy("deny", deny)
		k.setPod("a", "web", newPod("a", "web", thisNode, nil, 80, "10.42.0.2")) // the earlier one, without the label
		k.setSandbox("a", "web", sandbox("web", "later", "10.42.0.4"))
		isolated(t, k, "10.42.0.4")
	})
	t.Run("a static pod", func(t *testing.T) {
		k := newKernel(t)
		k.policy("deny", deny)
		mirror := newPod("a", "static", thisNode, nil, 80)
		mirror.Annotations = map[string]string{mirrorAnnotation: "of-the-file"}
		k.setPod("a", "static", mirror)
		k.setSandbox("a", "static", sandbox("static", "of-the-file", "10.42.0.5"))
		isolated(t, k)
	})
	t.Run("an address given again", func(t *testing.T) {
		k := newKernel(t)
		k.policy("deny", deny)
		k.setPod("a", "web", newPod("a", "web", thisNode, web, 80, "10.42.0.2"))
		isolated(t, k, "10.42.0.2")
		k.setPod("a", "next", newPod("a", "next", thisNode, nil, 80))
		k.setSandbox("a", "next", sandbox("next", "a-next", "10.42.0.2"))
		isolated(t, k)
		k.setPod("a", "web", nil)
		isolated(t, k)
	})
}

// Whatever happens, and however it is divided into transactions, the kernel has what a new controller would put there
// at its start; and when all is gone, nothing is left.
func FuzzChangesEqualReplacement(f *testing.F) {
	for seed := range uint64(40) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, seed uint64) {
		random := newWorld(rand.New(rand.NewPCG(seed, 3)))
		k := newKernel(t)
		empty := k.table.Dump()
		for range 60 {
			random.change(k.model)
			if random.IntN(3) == 0 {
				k.commit()
			}
		}
		k.commit()
		fresh := newKernel(t)
		random.replay(fresh.model)
		fresh.commit()
		if got, want := sortedLines(k.table.Dump()), sortedLines(fresh.table.Dump()); !slices.Equal(got, want) {
			t.Errorf("the table is\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
		random.clear(k.model)
		k.commit()
		if left := k.table.Dump(); left != empty {
			t.Errorf("left over:\n%s", left)
		}
	})
}

func sortedLines(text string) []string {
	return slices.Sorted(strings.Lines(text))
}
