package join

import (
	"net"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"airgap/node/config"
)

// Peers are where the cluster's bundles can be had at this moment, "address:port": this machine's node, and those that are
// ready and say that they hold what it holds. That they say so is no proof, and need not be: whoever takes something from them verifies it.
func (h *Handler) Peers() []string {
	var own string
	peers := []string{}
	if h.names.own == "" {
		return peers
	}
	if addresses, err := h.Config.NodeAddresses(); err == nil && len(addresses) > 0 {
		peers = append(peers, net.JoinHostPort(addresses[0].String(), strconv.Itoa(h.Config.PeerPort)))
	}
	var others []*corev1.Node
	for _, object := range h.nodes.GetStore().List() {
		switch node, ok := object.(*corev1.Node); {
		case !ok:
		case node.Name == h.names.own:
			own = node.Annotations[config.BundlesAnnotation]
		default:
			others = append(others, node)
		}
	}
	slices.SortFunc(others, func(a, b *corev1.Node) int { return strings.Compare(a.Name, b.Name) })
	for _, node := range others {
		port, err := strconv.ParseUint(node.Annotations[config.PeerPortAnnotation], 10, 16)
		if err != nil || own == "" || node.Annotations[config.BundlesAnnotation] != own || !isReady(node) {
			continue
		}
		for _, a := range node.Status.Addresses {
			if a.Type == corev1.NodeInternalIP {
				peers = append(peers, net.JoinHostPort(a.Address, strconv.FormatUint(port, 10)))
				break
			}
		}
	}
	return peers
}

func isReady(node *corev1.Node) bool {
	return slices.ContainsFunc(node.Status.Conditions, func(c corev1.NodeCondition) bool {
		return c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
	})
}

// trimNode keeps of a Node what is needed here.
func trimNode(object any) (any, error) {
	node, ok := object.(*corev1.Node)
	if !ok {
		return object, nil
	}
	kept := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{
			Name: node.Name, UID: node.UID, ResourceVersion: node.ResourceVersion, CreationTimestamp: node.CreationTimestamp,
			Annotations: map[string]string{},
		},
		Status: corev1.NodeStatus{Addresses: node.Status.Addresses},
	}
	for _, name := range []string{config.PeerPortAnnotation, config.BundlesAnnotation} {
		if value := node.Annotations[name]; value != "" {
			kept.Annotations[name] = value
		}
	}
	for _, condition := range node.Status.Conditions {
		if condition.Type == corev1.NodeReady {
			kept.Status.Conditions = []corev1.NodeCondition{{Type: condition.Type, Status: condition.Status}}
		}
	}
	return kept, nil
}
