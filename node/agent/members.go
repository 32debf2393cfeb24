package agent

import (
	"context"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"

	"airgap/node/config"
	"airgap/registry/copies"
)

// awayAfter is how long a node is not ready before it counts as gone: a restart does not move images.
const awayAfter = 15 * time.Minute

// members are the nodes of the cluster, as this one knows them from the API.
type members struct {
	self string
	port int // of nodes that do not say theirs

	mu    sync.Mutex
	nodes []*corev1.Node // nil until the first answer of the API
}

// follow keeps the nodes until ctx is done.
func (m *members) follow(ctx context.Context, api kubernetes.Interface) {
	factory := informers.NewSharedInformerFactory(api, 0)
	nodes := factory.Core().V1().Nodes()
	informer := nodes.Informer()
	changed := make(chan struct{}, 1)
	tell := func(any) {
		select {
		case changed <- struct{}{}:
		default:
		}
	}
	// An error means that the informer has been stopped, and it has not been started.
	_, _ = informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: tell, DeleteFunc: tell, UpdateFunc: func(_, object any) { tell(object) },
	})
	factory.Start(ctx.Done())
	if !cache.WaitForCacheSync(ctx.Done(), informer.HasSynced) {
		return
	}
	for {
		var list []*corev1.Node
		for _, object := range informer.GetStore().List() {
			if node, ok := object.(*corev1.Node); ok {
				list = append(list, node)
			}
		}
		m.mu.Lock()
		m.nodes = list
		m.mu.Unlock()
		select {
		case <-ctx.Done():
			return
		case <-changed:
		}
	}
}

// all are the nodes that have not gone, this one among them, by name. It is empty as long as the API has not said.
func (m *members) all() []copies.Node {
	m.mu.Lock()
	defer m.mu.Unlock()
	var list []copies.Node
	for _, node := range m.nodes {
		if address := m.address(node); address != "" && (node.Name == m.self || !isAway(node, time.Now())) {
			list = append(list, copies.Node{Name: node.Name, Address: address})
		}
	}
	slices.SortFunc(list, func(a, b copies.Node) int { return strings.Compare(a.Name, b.Name) })
	return list
}

// peers are where the other nodes listen for this one.
func (m *members) peers(context.Context) []string {
	var list []string
	for _, node := range m.all() {
		if node.Name != m.self {
			list = append(list, node.Address)
		}
	}
	return list
}

// address is where a node listens for its peers; empty for a node without an address.
func (m *members) address(node *corev1.Node) string {
	port := node.Annotations[config.PeerPortAnnotation]
	if number, err := strconv.Atoi(port); err != nil || number < 1 || number > 65535 {
		port = strconv.Itoa(m.port)
	}
	for _, address := range node.Status.Addresses {
		if address.Type == corev1.NodeInternalIP {
			return net.JoinHostPort(address.Address, port)
		}
	}
	return ""
}

// isAway tells whether a node has not been ready for a long time.
func isAway(node *corev1.Node, now time.Time) bool {
	for _, condition := range node.Status.Conditions {
		if condition.Type == corev1.NodeReady {
			return condition.Status != corev1.ConditionTrue && now.Sub(condition.LastTransitionTime.Time) > awayAfter
		}
	}
	return false
}
