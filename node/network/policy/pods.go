package policy

import (
	"maps"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	"airgap/node/network/policy/admission"
)

// pod is what is known of a pod that has addresses of its own.
type pod struct {
	namespace, name string
	labels          labels.Set
	addresses       []netip.Addr
	ports           []containerPort
	local           bool // it runs on this node
	unknown         bool // it has a network, but the API's object of it was not seen yet

	sets [2]string // by direction: the key of the policies that isolate it; "" if none do
}

type containerPort struct {
	namedPort
	number uint16
}

// mirrorAnnotation on the API's copy of a static pod has the UID that the kubelet knows the pod by.
const mirrorAnnotation = corev1.MirrorPodAnnotationKey

func describes(object *corev1.Pod, s *admission.Sandbox) bool {
	return s.UID == "" || object.UID == types.UID(s.UID) || object.Annotations[mirrorAnnotation] == s.UID
}

// resolve makes one pod of what the API and what the CNI plugin say of it; either may be nil. It
// returns nil for what has no address of its own.
func resolve(object *corev1.Pod, sandbox *admission.Sandbox, node string) *pod {
	if object != nil && sandbox != nil && !describes(object, sandbox) {
		object = nil // the API's is an earlier pod of the same name
	}
	if object == nil {
		if sandbox == nil {
			return nil
		}
		return &pod{namespace: sandbox.Namespace, name: sandbox.Name, addresses: sandbox.Addresses, local: true, unknown: true}
	}
	if object.Spec.HostNetwork || object.Status.Phase == corev1.PodSucceeded || object.Status.Phase == corev1.PodFailed {
		return nil
	}
	p := &pod{namespace: object.Namespace, name: object.Name, labels: object.Labels, local: object.Spec.NodeName == node}
	if sandbox != nil {
		p.addresses = sandbox.Addresses
	} else {
		for _, ip := range object.Status.PodIPs {
			if a, err := netip.ParseAddr(ip.IP); err == nil {
				p.addresses = append(p.addresses, a.Unmap())
			}
		}
	}
	if len(p.addresses) == 0 {
		return nil
	}
	add := func(containers []corev1.Container, restartable bool) {
		for _, c := range containers {
			if restartable && (c.RestartPolicy == nil || *c.RestartPolicy != corev1.ContainerRestartPolicyAlways) {
				continue
			}
			for _, port := range c.Ports {
				if port.Name == "" {
					continue
				}
				protocol := port.Protocol
				if protocol == "" {
					protocol = corev1.ProtocolTCP
				}
				p.ports = append(p.ports, containerPort{
					namedPort{strings.ToLower(string(protocol)), port.Name}, uint16(port.ContainerPort),
				})
			}
		}
	}
	add(object.Spec.Containers, false)
	add(object.Spec.InitContainers, true)
	return p
}

// same says whether policies treat two states of a pod alike.
func (p *pod) same(other *pod) bool {
	if p == nil || other == nil {
		return p == other
	}
	return p.local == other.local && p.unknown == other.unknown && maps.Equal(p.labels, other.labels) &&
		slices.Equal(p.addresses, other.addresses) && slices.Equal(p.ports, other.ports)
}

func (p *pod) has(n namedPort) bool {
	return slices.ContainsFunc(p.ports, func(c containerPort) bool { return c.namedPort == n })
}
