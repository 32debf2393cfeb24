package servicelb

import (
	"fmt"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

const (
	// Class is the loadBalancerClass of the services that are served here; none at all will do too.
	Class = "airgap.internal/servicelb"

	// EnableLabel, on any node, restricts all services to nodes that have it with the value "true".
	EnableLabel = "svccontroller.k3s.cattle.io/enablelb"

	// PoolLabel, on a service, restricts it to nodes that have it with the same value. It
	// counts among nodes that were chosen with EnableLabel, as with K3s.
	PoolLabel = "svccontroller.k3s.cattle.io/lbpool"
)

// target is an address at which a service may be served.
type target struct {
	node    string
	address netip.Addr
}

// targets lists the addresses that a service may get, if its ports are free there, in the order of its status.
// If there are none, why says the reason.
func (s *snapshot) targets(service *corev1.Service) (list []target, why string) {
	nodes := s.nodes
	for _, condition := range s.conditions(service) {
		nodes = slices.DeleteFunc(slices.Clone(nodes), func(n *corev1.Node) bool { return !condition.holds(n) })
		if len(nodes) == 0 {
			return nil, condition.otherwise
		}
	}
	for _, family := range service.Spec.IPFamilies {
		for _, node := range nodes {
			for _, address := range addressesOf(node, family) {
				list = append(list, target{node.Name, address})
			}
		}
	}
	if len(list) == 0 {
		return nil, fmt.Sprintf("no eligible node has an address of the families %v", service.Spec.IPFamilies)
	}
	if wanted := service.Spec.LoadBalancerIP; wanted != "" {
		list = slices.DeleteFunc(list, func(t target) bool { return t.address.String() != wanted })
		if len(list) == 0 {
			return nil, fmt.Sprintf("spec.loadBalancerIP %s is no address of an eligible node; leave it out to get all of them", wanted)
		}
	}
	return list, ""
}

// condition is one that a node must meet.
type condition struct {
	holds     func(*corev1.Node) bool
	otherwise string // said when no node is left
}

// conditions lists what the nodes of a service must meet, each checked on the nodes that the one before leaves.
func (s *snapshot) conditions(service *corev1.Service) []condition {
	list := []condition{
		{isReady, "no node is Ready"},
		{
			func(n *corev1.Node) bool { return !has(n, corev1.LabelNodeExcludeBalancers) },
			"every Ready node has the label " + corev1.LabelNodeExcludeBalancers,
		},
	}
	if slices.ContainsFunc(s.nodes, func(n *corev1.Node) bool { return has(n, EnableLabel) }) {
		list = append(list, condition{
			func(n *corev1.Node) bool { return n.Labels[EnableLabel] == "true" },
			"no Ready node has the label " + EnableLabel + "=true",
		})
		if pool := service.Labels[PoolLabel]; pool != "" {
			list = append(list, condition{
				func(n *corev1.Node) bool { return n.Labels[PoolLabel] == pool },
				fmt.Sprintf("no node that is Ready and labelled %s=true has the label %s=%s", EnableLabel, PoolLabel, pool),
			})
		}
	}
	if isLocal(service) {
		ready := s.ready[nameOf(service)]
		list = append(list, condition{
			func(n *corev1.Node) bool { return ready[n.Name] },
			"no eligible node runs a ready pod of the service, which externalTrafficPolicy Local asks for",
		})
	}
	return list
}

func isLocal(service *corev1.Service) bool {
	return service.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal
}

func isReady(node *corev1.Node) bool {
	return slices.ContainsFunc(node.Status.Conditions, func(c corev1.NodeCondition) bool {
		return c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
	})
}

func has(node *corev1.Node, label string) bool {
	_, found := node.Labels[label]
	return found
}

// addressesOf returns a node's external addresses of a family, or its internal ones if it has none.
func addressesOf(node *corev1.Node, family corev1.IPFamily) []netip.Addr {
	for _, kind := range []corev1.NodeAddressType{corev1.NodeExternalIP, corev1.NodeInternalIP} {
		if list := addressesOfKind(node, kind, family); len(list) > 0 {
			return list
		}
	}
	return nil
}

func addressesOfKind(node *corev1.Node, kind corev1.NodeAddressType, family corev1.IPFamily) []netip.Addr {
	var list []netip.Addr
	for _, a := range node.Status.Addresses {
		address, err := netip.ParseAddr(a.Address)
		if a.Type == kind && err == nil && address.Is6() == (family == corev1.IPv6Protocol) && !slices.Contains(list, address) {
			list = append(list, address)
		}
	}
	return list
}

func nameOf(service *corev1.Service) types.NamespacedName {
	return types.NamespacedName{Namespace: service.Namespace, Name: service.Name}
}
