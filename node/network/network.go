// Package network gives pods their network. A [Backend] is one way to do it; the
// node's share of the cluster's pod network comes from the API server.
package network

import (
	"context"
	"fmt"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/kubernetes"
	"k8s.io/klog/v2"
)

// Node is what a backend must know of its node.
type Node struct {
	Name     string
	PodCIDRs []netip.Prefix // this node's pods: one network, or one of each family
}

// Backend connects the pods of a node. Configure makes pods' sandboxes creatable: when
// it returns, the CNI configuration is in place. Run does what must go on while the node
// runs, such as routes to other nodes, until ctx is done.
type Backend interface {
	Configure(ctx context.Context, node Node) error
	Run(ctx context.Context, node Node) error
}

// Run waits until the node has its pod network, then configures and runs the backend
// until ctx is done.
func Run(ctx context.Context, api kubernetes.Interface, name string, backend Backend) error {
	cidrs, err := waitForPodCIDRs(ctx, api, name)
	if err != nil {
		return err
	}
	node := Node{Name: name, PodCIDRs: cidrs}
	if err := backend.Configure(ctx, node); err != nil {
		return err
	}
	klog.InfoS("pod network configured", "node", name, "podCIDRs", cidrs)
	return backend.Run(ctx, node)
}

// waitForPodCIDRs watches the node until the controller manager has given it a network.
func waitForPodCIDRs(ctx context.Context, api kubernetes.Interface, name string) ([]netip.Prefix, error) {
	only := fields.OneTermEqualSelector(metav1.ObjectNameField, name).String()
	for {
		watch, err := api.CoreV1().Nodes().Watch(ctx, metav1.ListOptions{FieldSelector: only})
		if err != nil {
			return nil, fmt.Errorf("watch node %s: %w", name, err)
		}
		for event := range watch.ResultChan() {
			node, ok := event.Object.(*corev1.Node)
			if !ok || len(node.Spec.PodCIDRs) == 0 {
				continue
			}
			watch.Stop()
			return parsePrefixes(node.Spec.PodCIDRs)
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
	}
}

func parsePrefixes(texts []string) ([]netip.Prefix, error) {
	var list []netip.Prefix
	for _, text := range texts {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, fmt.Errorf("pod network of the node: %w", err)
		}
		list = append(list, p)
	}
	return list, nil
}
