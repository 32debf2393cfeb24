package policy

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// direction is one of the two that a policy can isolate pods for; it indexes arrays.
type direction int

const (
	ingress direction = iota
	egress
)

var directions = [...]direction{ingress, egress}

func (d direction) String() string { return [...]string{"ingress", "egress"}[d] }

// policy is a NetworkPolicy, understood.
type policy struct {
	namespace, name string
	pods            labels.Selector // which pods of its namespace it isolates
	isolates        [2]bool         // by direction
	rules           [2][]rule       // by direction: what is allowed
	problems        []string        // what of it makes no sense, and has no effect
}

// rule allows the traffic with its peers, at its ports.
type rule struct {
	anyPeer   bool
	selectors []selector
	blocks    [2][]addressRange // by family; merged

	anyPort bool
	ports   []portRange
	named   []namedPort
}

// selector is a peer given by labels.
type selector struct {
	namespace  string          // only this one; empty: those that namespaces selects
	namespaces labels.Selector // nil if namespace is given
	pods       labels.Selector
}

// key tells selectors apart: equal keys select the same pods.
func (s selector) key() string {
	if s.namespaces == nil {
		return s.namespace + "|" + s.pods.String()
	}
	return "/" + s.namespaces.String() + "|" + s.pods.String()
}

func (s selector) matches(p *pod, namespace labels.Set) bool {
	if s.namespaces == nil {
		if p.namespace != s.namespace {
			return false
		}
	} else if !s.namespaces.Matches(namespace) {
		return false
	}
	return s.pods.Matches(p.labels)
}

// portRange is one port or several, of one protocol. The ports of a connection are those of its destination.
type portRange struct {
	protocol    string // tcp, udp or sctp
	first, last uint16
}

func (r portRange) allPorts() bool { return r.first == 0 && r.last == 65535 }

// namedPort is a port by the name that the destination pod's containers give it.
type namedPort struct{ protocol, name string }

// compile never fails: what makes no sense allows nothing, isolates all the same, and is
// told in problems.
func compile(object *networkingv1.NetworkPolicy) *policy {
	p := &policy{namespace: object.Namespace, name: object.Name}
	p.pods = p.selector("podSelector", &object.Spec.PodSelector)
	types := object.Spec.PolicyTypes
	if len(types) == 0 {
		types = []networkingv1.PolicyType{networkingv1.PolicyTypeIngress}
		if len(object.Spec.Egress) > 0 {
			types = append(types, networkingv1.PolicyTypeEgress)
		}
	}
	p.isolates[ingress] = slices.Contains(types, networkingv1.PolicyTypeIngress)
	p.isolates[egress] = slices.Contains(types, networkingv1.PolicyTypeEgress)
	if p.isolates[ingress] {
		for i, r := range object.Spec.Ingress {
			p.rules[ingress] = append(p.rules[ingress], p.rule(fmt.Sprintf("ingress[%d]", i), r.From, r.Ports))
		}
	}
	if p.isolates[egress] {
		for i, r := range object.Spec.Egress {
			p.rules[egress] = append(p.rules[egress], p.rule(fmt.Sprintf("egress[%d]", i), r.To, r.Ports))
		}
	}
	return p
}

func (p *policy) problem(format string, args ...any) {
	p.problems = append(p.problems, fmt.Sprintf(format, args...))
}

// selector returns a selector of nothing for one that cannot be understood.
func (p *policy) selector(field string, s *metav1.LabelSelector) labels.Selector {
	selector, err := metav1.LabelSelectorAsSelector(s)
	if err != nil {
		p.problem("%s: %v; it selects nothing", field, err)
		return labels.Nothing()
	}
	return selector
}

func (p *policy) rule(field string, peers []networkingv1.NetworkPolicyPeer, ports []networkingv1.NetworkPolicyPort) rule {
	r := rule{anyPeer: len(peers) == 0, anyPort: len(ports) == 0}
	for i, peer := range peers {
		name := fmt.Sprintf("%s.peer[%d]", field, i)
		switch {
		case peer.IPBlock != nil:
			for _, block := range p.block(name, peer.IPBlock) {
				f := familyOf(block.first)
				r.blocks[f] = append(r.blocks[f], block)
			}
		case peer.PodSelector != nil || peer.NamespaceSelector != nil:
			s := selector{namespace: p.namespace, pods: labels.Everything()}
			if peer.PodSelector != nil {
				s.pods = p.selector(name+".podSelector", peer.PodSelector)
			}
			if peer.NamespaceSelector != nil {
				s.namespace, s.namespaces = "", p.selector(name+".namespaceSelector", peer.NamespaceSelector)
			}
			r.selectors = append(r.selectors, s)
		default:
			p.problem("%s is empty; it allows nothing", name)
		}
	}
	for f := range r.blocks {
		r.blocks[f] = merge(r.blocks[f])
	}
	for i, port := range ports {
		p.port(&r, fmt.Sprintf("%s.ports[%d]", field, i), port)
	}
	return r
}

func (p *policy) block(field string, block *networkingv1.IPBlock) []addressRange {
	prefix, err := parsePrefix(block.CIDR)
	if err != nil {
		p.problem("%s.ipBlock: %q is no network; it allows nothing", field, block.CIDR)
		return nil
	}
	ranges := []addressRange{rangeOf(prefix)}
	for _, text := range block.Except {
		except, err := parsePrefix(text)
		switch {
		case err != nil:
			// Which addresses were meant is unknown, so none of the block is allowed.
			p.problem("%s.ipBlock.except: %q is no network; the block allows nothing", field, text)
			return nil
		case !prefix.Overlaps(except):
			p.problem("%s.ipBlock.except: %s is not in %s; it excepts nothing", field, text, block.CIDR)
			continue
		}
		ranges = subtract(ranges, rangeOf(except))
	}
	return ranges
}

// parsePrefix accepts IPv4 networks written as IPv6 ones, as the API does.
func parsePrefix(text string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(text)
	if err != nil {
		return p, err
	}
	if p.Addr().Is4In6() {
		if p.Bits() < 96 {
			return p, fmt.Errorf("%s: neither an IPv4 nor an IPv6 network", text)
		}
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	return p.Masked(), nil
}

func (p *policy) port(r *rule, field string, port networkingv1.NetworkPolicyPort) {
	protocol := corev1.ProtocolTCP
	if port.Protocol != nil {
		protocol = *port.Protocol
	}
	switch protocol {
	case corev1.ProtocolTCP, corev1.ProtocolUDP, corev1.ProtocolSCTP:
	default:
		p.problem("%s: protocol %q is not TCP, UDP or SCTP; it allows nothing", field, protocol)
		return
	}
	lower := strings.ToLower(string(protocol))
	switch {
	case port.Port == nil && port.EndPort != nil:
		p.problem("%s: endPort without port; it allows nothing", field)
	case port.Port == nil:
		r.ports = append(r.ports, portRange{lower, 0, 65535})
	case port.Port.Type == intstr.String && port.EndPort != nil:
		p.problem("%s: endPort with the named port %q; it allows nothing", field, port.Port.StrVal)
	case port.Port.Type == intstr.String:
		r.named = append(r.named, namedPort{lower, port.Port.StrVal})
	default:
		first, last := port.Port.IntVal, port.Port.IntVal
		if port.EndPort != nil {
			last = *port.EndPort
		}
		if first < 1 || last > 65535 || last < first {
			p.problem("%s: ports %d to %d are no range; it allows nothing", field, first, last)
			return
		}
		r.ports = append(r.ports, portRange{lower, uint16(first), uint16(last)})
	}
}
