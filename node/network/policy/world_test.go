package policy

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// world is a small cluster that changes at random: three namespaces, eight pods on two nodes, six policies.
type world struct {
	*rand.Rand
	namespaces map[string]labels.Set
	pods       map[string]*corev1.Pod
	policies   map[string]*networkingv1.NetworkPolicy
}

func newWorld(r *rand.Rand) *world {
	return &world{r, map[string]labels.Set{}, map[string]*corev1.Pod{}, map[string]*networkingv1.NetworkPolicy{}}
}

func (w *world) namespace() string { return string(rune('a' + w.IntN(3))) }

func (w *world) labels() map[string]string {
	l := map[string]string{}
	for _, key := range []string{"x", "y"} {
		if n := w.IntN(3); n > 0 {
			l[key] = fmt.Sprint(n)
		}
	}
	return l
}

// pod is in the namespace that its number says, at the addresses that its number says.
func (w *world) pod(i int) *corev1.Pod {
	namespace, node := string(rune('a'+i%3)), thisNode
	if i >= 5 {
		node = "node-2"
	}
	return newPod(namespace, fmt.Sprint("pod-", i), node, w.labels(), int32(8080+w.IntN(2)), podAddress(i, ip4).String(), podAddress(i, ip6).String())
}

func podAddress(i int, f family) netip.Addr {
	if f == ip4 {
		return netip.AddrFrom4([4]byte{10, 42, 0, byte(16 + i)})
	}
	return netip.MustParseAddr(fmt.Sprintf("fd42::%x", 16+i))
}

func (w *world) selector() metav1.LabelSelector {
	var s metav1.LabelSelector
	switch w.IntN(4) {
	case 0:
	case 1:
		s.MatchExpressions = []metav1.LabelSelectorRequirement{{Key: "x", Operator: metav1.LabelSelectorOpExists}}
	default:
		s.MatchLabels = map[string]string{[]string{"x", "y"}[w.IntN(2)]: fmt.Sprint(1 + w.IntN(2))}
	}
	return s
}

func (w *world) peer() networkingv1.NetworkPolicyPeer {
	var p networkingv1.NetworkPolicyPeer
	if w.IntN(3) == 0 {
		p.IPBlock = &networkingv1.IPBlock{CIDR: fmt.Sprintf("10.42.0.%d/%d", 16+w.IntN(2)*4, 29+w.IntN(2))}
		if w.IntN(2) == 0 {
			p.IPBlock.Except = []string{fmt.Sprintf("10.42.0.%d/32", 16+w.IntN(8))}
		}
		if w.IntN(3) == 0 {
			p.IPBlock = &networkingv1.IPBlock{CIDR: fmt.Sprintf("fd42::%x/126", 16+w.IntN(2)*4)}
		}
		return p
	}
	kind := w.IntN(3)
	if kind != 1 {
		s := w.selector()
		p.PodSelector = &s
	}
	if kind != 0 {
		s := w.selector()
		p.NamespaceSelector = &s
	}
	return p
}

func (w *world) port() networkingv1.NetworkPolicyPort {
	protocols := []corev1.Protocol{corev1.ProtocolTCP, corev1.ProtocolUDP, corev1.ProtocolSCTP}
	protocol := protocols[w.IntN(3)]
	p := networkingv1.NetworkPolicyPort{Protocol: &protocol}
	number := intstr.FromInt32(int32(8080 + w.IntN(2)))
	switch w.IntN(5) {
	case 0:
		name := intstr.FromString("http")
		p.Port = &name
	case 1:
	case 2:
		end := int32(8081)
		p.Port, p.EndPort = &number, &end
	default:
		p.Port = &number
	}
	return p
}

func several[T any](w *world, most int, one func() T) []T {
	var list []T
	for range w.IntN(most + 1) {
		list = append(list, one())
	}
	return list
}

func (w *world) policy(namespace, name string) *networkingv1.NetworkPolicy {
	p := &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	p.Spec.PodSelector = w.selector()
	if n := w.IntN(4); n > 0 {
		p.Spec.PolicyTypes = [][]networkingv1.PolicyType{
			{networkingv1.PolicyTypeIngress}, {networkingv1.PolicyTypeEgress}, {networkingv1.PolicyTypeIngress, networkingv1.PolicyTypeEgress},
		}[n-1]
	}
	p.Spec.Ingress = several(w, 2, func() networkingv1.NetworkPolicyIngressRule {
		return networkingv1.NetworkPolicyIngressRule{From: several(w, 2, w.peer), Ports: several(w, 2, w.port)}
	})
	p.Spec.Egress = several(w, 2, func() networkingv1.NetworkPolicyEgressRule {
		return networkingv1.NetworkPolicyEgressRule{To: several(w, 2, w.peer), Ports: several(w, 2, w.port)}
	})
	return p
}

// change does one thing to the world, and to a model of it.
func (w *world) change(m *model) {
	switch w.IntN(4) {
	case 0:
		name := w.namespace()
		w.namespaces[name] = w.labels()
		m.setNamespace(name, w.namespaces[name])
	case 1:
		p := w.pod(w.IntN(8))
		key := p.Namespace + "/" + p.Name
		if w.pods[key] != nil && w.IntN(3) == 0 {
			delete(w.pods, key)
			m.setPod(p.Namespace, p.Name, nil)
			return
		}
		w.pods[key] = p
		m.setPod(p.Namespace, p.Name, p)
	default:
		namespace, name := w.namespace(), fmt.Sprint("policy-", w.IntN(2))
		key := namespace + "/" + name
		if w.policies[key] != nil && w.IntN(3) == 0 {
			delete(w.policies, key)
			m.setPolicy(namespace, name, nil)
			return
		}
		w.policies[key] = w.policy(namespace, name)
		m.setPolicy(namespace, name, w.policies[key])
	}
}

// replay tells a model of everything there is, in another order than it came.
func (w *world) replay(m *model) {
	for _, key := range slices.Sorted(maps.Keys(w.policies)) {
		p := w.policies[key]
		m.setPolicy(p.Namespace, p.Name, p)
	}
	for _, key := range slices.Sorted(maps.Keys(w.pods)) {
		p := w.pods[key]
		m.setPod(p.Namespace, p.Name, p)
	}
	for name, l := range w.namespaces {
		m.setNamespace(name, l)
	}
}

// clear removes everything.
func (w *world) clear(m *model) {
	for _, p := range w.policies {
		m.setPolicy(p.Namespace, p.Name, nil)
	}
	for _, p := range w.pods {
		m.setPod(p.Namespace, p.Name, nil)
	}
	for name := range w.namespaces {
		m.setNamespace(name, nil)
	}
}
