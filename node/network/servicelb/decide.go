package servicelb

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
)

// snapshot is the cluster at one moment, as far as decisions depend on it.
type snapshot struct {
	services []*corev1.Service // all of them: node ports are taken too
	nodes    []*corev1.Node
	pods     []*corev1.Pod                            // at least those with host ports
	ready    map[types.NamespacedName]map[string]bool // service → nodes with a ready endpoint of it
	reserved map[Port]string                          // ports of the nodes' own, and whose they are
	sockets  func(node string, at place) socketState  // what listens on a node's machine
}

// socketState says whether a process listens at a place.
type socketState int

const (
	free socketState = iota
	used
	unknown // this node's machine is another one
)

// verdict is what a service gets, and why it does not get more.
type verdict struct {
	ingress   []corev1.LoadBalancerIngress
	noNode    string   // why no node is eligible; empty if some are
	conflicts []string // ports that are taken, with their holders
	waits     bool     // for a process to close its socket, which nothing but looking again will tell
}

// decide gives every service of ours its verdict. The same snapshot gives the same verdicts.
func (s *snapshot) decide() map[types.NamespacedName]verdict {
	slices.SortFunc(s.nodes, func(a, b *corev1.Node) int { return cmp.Compare(a.Name, b.Name) })
	services := s.ours()
	if len(services) == 0 {
		return nil
	}
	verdicts := map[types.NamespacedName]verdict{}
	targets := map[types.NamespacedName][]target{}
	for _, service := range services {
		list, why := s.targets(service)
		targets[nameOf(service)] = list
		verdicts[nameOf(service)] = verdict{noNode: why}
	}

	standing := s.standing()
	held := map[place]holder{}
	granted := map[types.NamespacedName]map[netip.Addr]bool{}
	for _, keeping := range []bool{true, false} { // first what services have, then what they want
		for _, service := range services {
			name := nameOf(service)
			v := verdicts[name]
			for _, t := range targets[name] {
				if holds(service, t.address) != keeping {
					continue
				}
				conflicts, waits := s.conflicts(service, t, keeping, standing, held)
				if len(conflicts) > 0 {
					v.conflicts = append(v.conflicts, conflicts...)
					v.waits = v.waits || waits
					continue
				}
				for _, port := range portsOf(service) {
					held[place{t.address, port}] = holder{text: "service " + name.String(), service: name}
				}
				if granted[name] == nil {
					granted[name] = map[netip.Addr]bool{}
				}
				granted[name][t.address] = true
			}
			verdicts[name] = v
		}
	}
	for _, service := range services {
		name := nameOf(service)
		v := verdicts[name]
		for _, t := range targets[name] {
			if granted[name][t.address] {
				v.ingress = append(v.ingress, ingress(service, t.address))
			}
		}
		verdicts[name] = v
	}
	return verdicts
}

// ours lists the services to decide on, oldest first.
func (s *snapshot) ours() []*corev1.Service {
	var list []*corev1.Service
	for _, service := range s.services {
		if isOurs(service) {
			list = append(list, service)
		}
	}
	slices.SortFunc(list, func(a, b *corev1.Service) int {
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), strings.Compare(nameOf(a).String(), nameOf(b).String()))
	})
	return list
}

func isOurs(service *corev1.Service) bool {
	class := service.Spec.LoadBalancerClass
	return service.Spec.Type == corev1.ServiceTypeLoadBalancer && (class == nil || *class == Class)
}

// isAnothers says whether another load balancer keeps the service's status.
func isAnothers(service *corev1.Service) bool {
	return service.Spec.Type == corev1.ServiceTypeLoadBalancer && !isOurs(service)
}

// standing returns the places that node ports and pods have. Of several holders of one, the pod counts.
func (s *snapshot) standing() map[place]holder {
	places := map[place]holder{}
	addresses := map[string][]netip.Addr{} // by node
	for _, node := range s.nodes {
		for _, a := range node.Status.Addresses {
			if address, err := netip.ParseAddr(a.Address); err == nil {
				addresses[node.Name] = append(addresses[node.Name], address)
			}
		}
	}
	for _, service := range s.services {
		for _, port := range nodePortsOf(service) {
			for _, list := range addresses {
				for _, address := range list {
					places[place{address, port}] = holder{text: "service " + nameOf(service).String() + " as its node port", service: nameOf(service)}
				}
			}
		}
	}
	for _, pod := range s.pods {
		for _, p := range hostPortsOf(pod) {
			for _, address := range addresses[pod.Spec.NodeName] {
				if !p.address.IsValid() || p.address == address {
					places[place{address, p.port}] = holder{text: "pod " + pod.Namespace + "/" + pod.Name + " as its host port", pod: pod}
				}
			}
		}
	}
	return places
}

// conflicts lists the ports of a service that another has at an address. A service that keeps what
// it has yields to none but the node itself.
func (s *snapshot) conflicts(service *corev1.Service, t target, keeping bool, standing, held map[place]holder) (list []string, waits bool) {
	for _, port := range portsOf(service) {
		at := place{t.address, port}
		by := ""
		if whose, found := s.reserved[port]; found {
			by = whose
		} else if h, found := held[at]; found && h.service != nameOf(service) {
			by = h.text
		} else if !keeping {
			h, found := standing[at]
			own := found && (h.service == nameOf(service) || h.pod != nil && selects(service, h.pod))
			switch {
			case own:
			case found:
				by = h.text
			default:
				switch state := s.sockets(t.node, at); {
				case state == used:
					by = "a process of the node (ss -lntup shows which)"
					waits = true
				case state == unknown && port == ssh:
					by = "sshd"
				}
			}
		}
		if by != "" {
			list = append(list, fmt.Sprintf("%s of %s (%s) is taken by %s", port, t.address, t.node, by))
		}
	}
	return list, waits
}

// selects says whether a pod is one of a service's: if it listens on the host itself, nothing is hidden.
func selects(service *corev1.Service, pod *corev1.Pod) bool {
	return len(service.Spec.Selector) > 0 && service.Namespace == pod.Namespace &&
		labels.SelectorFromSet(service.Spec.Selector).Matches(labels.Set(pod.Labels))
}

// holds says whether a service's status has the address, with all of its ports.
func holds(service *corev1.Service, address netip.Addr) bool {
	for _, entry := range service.Status.LoadBalancer.Ingress {
		if entry.IP != address.String() {
			continue
		}
		return !slices.ContainsFunc(portsOf(service), func(p Port) bool {
			return !slices.ContainsFunc(entry.Ports, func(has corev1.PortStatus) bool {
				return has.Port == p.Number && has.Protocol == p.Protocol
			})
		})
	}
	return false
}

func ingress(service *corev1.Service, address netip.Addr) corev1.LoadBalancerIngress {
	entry := corev1.LoadBalancerIngress{IP: address.String(), IPMode: new(corev1.LoadBalancerIPModeVIP)}
	for _, port := range portsOf(service) {
		entry.Ports = append(entry.Ports, corev1.PortStatus{Port: port.Number, Protocol: port.Protocol})
	}
	return entry
}
