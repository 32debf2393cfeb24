package policy

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/knftables"
)

// allowed is what NetworkPolicy means, written down once more, from the API's documentation and for one connection: from a pod
// to an address and port of another. Pods of other nodes are not isolated here.
func (w *world) allowed(from, to *corev1.Pod, f family, protocol corev1.Protocol, port int32) bool {
	return w.passes(networkingv1.PolicyTypeEgress, from, to, to, f, protocol, port) &&
		w.passes(networkingv1.PolicyTypeIngress, to, from, to, f, protocol, port)
}

func (w *world) passes(kind networkingv1.PolicyType, isolated, peer, destination *corev1.Pod, f family, protocol corev1.Protocol, port int32) bool {
	if isolated.Spec.NodeName != thisNode {
		return true
	}
	selected := false
	for _, p := range w.policies {
		types := p.Spec.PolicyTypes
		if types == nil {
			types = []networkingv1.PolicyType{networkingv1.PolicyTypeIngress}
			if len(p.Spec.Egress) > 0 {
				types = append(types, networkingv1.PolicyTypeEgress)
			}
		}
		if p.Namespace != isolated.Namespace || !slices.Contains(types, kind) || !selects(&p.Spec.PodSelector, isolated.Labels) {
			continue
		}
		selected = true
		match := func(peers []networkingv1.NetworkPolicyPeer, ports []networkingv1.NetworkPolicyPort) bool {
			return (len(peers) == 0 || slices.ContainsFunc(peers, func(n networkingv1.NetworkPolicyPeer) bool { return w.isPeer(p, n, peer, f) })) &&
				(len(ports) == 0 || slices.ContainsFunc(ports, func(n networkingv1.NetworkPolicyPort) bool { return isPort(n, destination, protocol, port) }))
		}
		if kind == networkingv1.PolicyTypeIngress {
			for _, r := range p.Spec.Ingress {
				if match(r.From, r.Ports) {
					return true
				}
			}
		} else {
			for _, r := range p.Spec.Egress {
				if match(r.To, r.Ports) {
					return true
				}
			}
		}
	}
	return !selected
}

func selects(s *metav1.LabelSelector, l map[string]string) bool {
	selector, err := metav1.LabelSelectorAsSelector(s)
	return err == nil && selector.Matches(labels.Set(l))
}

func (w *world) isPeer(p *networkingv1.NetworkPolicy, n networkingv1.NetworkPolicyPeer, peer *corev1.Pod, f family) bool {
	if n.IPBlock != nil {
		address := netip.MustParseAddr(peer.Status.PodIPs[f].IP)
		for _, except := range n.IPBlock.Except {
			if netip.MustParsePrefix(except).Contains(address) {
				return false
			}
		}
		return netip.MustParsePrefix(n.IPBlock.CIDR).Contains(address)
	}
	if n.NamespaceSelector == nil && p.Namespace != peer.Namespace ||
		n.NamespaceSelector != nil && !selects(n.NamespaceSelector, w.namespaces[peer.Namespace]) {
		return false
	}
	return n.PodSelector == nil || selects(n.PodSelector, peer.Labels)
}

func isPort(n networkingv1.NetworkPolicyPort, destination *corev1.Pod, protocol corev1.Protocol, port int32) bool {
	if n.Protocol != nil && *n.Protocol != protocol || n.Protocol == nil && protocol != corev1.ProtocolTCP {
		return false
	}
	switch {
	case n.Port == nil:
		return true
	case n.Port.Type == intstr.String:
		return slices.ContainsFunc(destination.Spec.Containers[0].Ports, func(c corev1.ContainerPort) bool {
			return c.Name == n.Port.StrVal && c.ContainerPort == port && c.Protocol == protocol
		})
	case n.EndPort != nil:
		return n.Port.IntVal <= port && port <= *n.EndPort
	}
	return n.Port.IntVal == port
}

// worlds is how many random clusters are looked at; each takes about two seconds.
const worlds = 8

// In random clusters with random policies, every connection of every pod to every other, of every protocol and
// family, with real packets, gets through exactly if the reference allows it.
func TestPacketsAgreeWithReference(t *testing.T) {
	f := newFabric(t)
	var pods [8]*machine
	for i := range pods {
		pods[i] = f.attach(map[family]netip.Addr{ip4: podAddress(i, ip4), ip6: podAddress(i, ip6)})
	}
	for seed := range uint64(worlds) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			w := newWorld(rand.New(rand.NewPCG(seed, 7)))
			tables, err := knftables.New(knftables.InetFamily, "airgap-policy")
			must(t, err)
			m := newModel(thisNode, "", bothFamilies)
			for i := range pods {
				p := w.pod(i)
				w.pods[p.Namespace+"/"+p.Name] = p
				m.setPod(p.Namespace, p.Name, p)
			}
			for _, name := range []string{"a", "b", "c"} {
				w.namespaces[name] = w.labels()
				m.setNamespace(name, w.namespaces[name])
			}
			tx := tables.NewTransaction()
			m.rules.replacement(tx)
			must(t, tables.Run(t.Context(), tx))
			m.rules.committed()
			for range 25 { // and the rest one change at a time, as it comes
				w.change(m)
				for i := range pods {
					if p := w.pod(i); w.pods[p.Namespace+"/"+p.Name] == nil {
						w.pods[p.Namespace+"/"+p.Name] = p
						m.setPod(p.Namespace, p.Name, p)
					}
				}
				tx := tables.NewTransaction()
				m.rules.changes(tx)
				if tx.NumOperations() > 0 {
					if err := tables.Run(t.Context(), tx); err != nil {
						t.Fatalf("%v\n%s", err, tx)
					}
				}
				m.rules.committed()
			}
			w.compare(t, pods[:])
		})
	}
}

// compare tries every connection.
func (w *world) compare(t *testing.T, pods []*machine) {
	object := func(i int) *corev1.Pod { return w.pods[fmt.Sprintf("%c/pod-%d", 'a'+i%3, i)] }
	var all sync.WaitGroup
	var tried, passed int
	var mu sync.Mutex
	limit := make(chan struct{}, 96)
	for from := range pods {
		for to := range pods {
			for _, f := range bothFamilies {
				for _, protocol := range []corev1.Protocol{corev1.ProtocolTCP, corev1.ProtocolUDP, corev1.ProtocolSCTP} {
					for _, port := range servedPorts {
						if from == to {
							continue
						}
						limit <- struct{}{}
						all.Go(func() {
							defer func() { <-limit }()
							want := w.allowed(object(from), object(to), f, protocol, int32(port))
							try := func() bool {
								return pods[from].reaches(strings.ToLower(string(protocol)), netip.AddrPortFrom(podAddress(to, f), port), pods[to])
							}
							got := try()
							if want && !got {
								got = try() // a busy machine may have been slow once
							}
							mu.Lock()
							defer mu.Unlock()
							tried++
							if got {
								passed++
							}
							if got != want {
								t.Errorf("%s from %s to %s, port %d, %s: passes: %v, want %v", protocol, object(from).Name, object(to).Name, port, f, got, want)
							}
						})
					}
				}
			}
		}
	}
	all.Wait()
	t.Logf("%d connections, %d passed", tried, passed)
	if t.Failed() {
		for key, p := range w.policies {
			t.Logf("%s: %+v", key, p.Spec)
		}
	}
}
