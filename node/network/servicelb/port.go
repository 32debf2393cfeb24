package servicelb

import (
	"fmt"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Port is a port of a transport protocol.
type Port struct {
	Protocol corev1.Protocol
	Number   int32
}

func (p Port) String() string { return fmt.Sprintf("%s port %d", p.Protocol, p.Number) }

// ssh is left alone on machines whose sockets cannot be seen.
var ssh = Port{corev1.ProtocolTCP, 22}

// place is a port of an address: what has one holder.
type place struct {
	address netip.Addr
	port    Port
}

// holder is who has a place.
type holder struct {
	text    string               // for the user: "service default/web"
	service types.NamespacedName // empty if it is no service
	pod     *corev1.Pod          // nil if it is no pod
}

// portsOf lists the ports that a service wants.
func portsOf(service *corev1.Service) []Port {
	var list []Port
	for _, p := range service.Spec.Ports {
		list = append(list, Port{protocolOr(p.Protocol), p.Port})
	}
	return list
}

// nodePortsOf lists the ports that a service has on every node.
func nodePortsOf(service *corev1.Service) []Port {
	var list []Port
	for _, p := range service.Spec.Ports {
		if p.NodePort != 0 {
			list = append(list, Port{protocolOr(p.Protocol), p.NodePort})
		}
	}
	if p := service.Spec.HealthCheckNodePort; p != 0 {
		list = append(list, Port{corev1.ProtocolTCP, p})
	}
	return list
}

// hostPort is a port that a pod has on its node; an invalid address stands for all.
type hostPort struct {
	address netip.Addr
	port    Port
}

// hostPortsOf lists the host ports of a pod. Those of a pod in the host's network are the ports that it
// declares; the API server fills in hostPort for it.
func hostPortsOf(pod *corev1.Pod) []hostPort {
	if pod.Spec.NodeName == "" || pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed {
		return nil
	}
	var list []hostPort
	for _, containers := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for _, c := range containers {
			for _, p := range c.Ports {
				if p.HostPort == 0 {
					continue
				}
				address, _ := netip.ParseAddr(p.HostIP) // empty: all
				if address.IsUnspecified() {
					address = netip.Addr{}
				}
				list = append(list, hostPort{address, Port{protocolOr(p.Protocol), p.HostPort}})
			}
		}
	}
	return list
}

func protocolOr(p corev1.Protocol) corev1.Protocol {
	if p == "" {
		return corev1.ProtocolTCP
	}
	return p
}
