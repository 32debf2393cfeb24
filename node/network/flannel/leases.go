package flannel

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"reflect"
	"sync"

	"github.com/flannel-io/flannel/pkg/ip"
	"github.com/flannel-io/flannel/pkg/lease"
	"github.com/flannel-io/flannel/pkg/subnet"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
)

// Annotations by which nodes tell each other how to reach their pods; the names are Flannel's
// (pkg/subnet/kube/annotations.go), so that the nodes of one cluster may run either.
const (
	annotationManaged     = "flannel.alpha.coreos.com/kube-subnet-manager"
	annotationType        = "flannel.alpha.coreos.com/backend-type"
	annotationData        = "flannel.alpha.coreos.com/backend-data"
	annotationV6Data      = "flannel.alpha.coreos.com/backend-v6-data"
	annotationPublicIP    = "flannel.alpha.coreos.com/public-ip"
	annotationPublicIPv6  = "flannel.alpha.coreos.com/public-ipv6"
	annotationOverwrite   = "flannel.alpha.coreos.com/public-ip-overwrite" // set by users: publish this address instead
	annotationV6Overwrite = "flannel.alpha.coreos.com/public-ipv6-overwrite"
)

// waitForShare watches the node until the controller manager has given it its share of the cluster's network.
func waitForShare(ctx context.Context, api kubernetes.Interface, name string) (*corev1.Node, error) {
	only := fields.OneTermEqualSelector(metav1.ObjectNameField, name).String()
	for {
		w, err := api.CoreV1().Nodes().Watch(ctx, metav1.ListOptions{FieldSelector: only})
		if err != nil {
			return nil, fmt.Errorf("watch node %s: %w", name, err)
		}
		for event := range w.ResultChan() {
			node, ok := event.Object.(*corev1.Node)
			if ok && node.Name == name && len(node.Spec.PodCIDRs) > 0 {
				w.Stop()
				return node, nil
			}
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
	}
}

// leases is Flannel's view of the cluster's nodes, a [subnet.Manager] on Node objects. A node's lease
// of its part of the network is as long as the Node object exists.
type leases struct {
	api    kubernetes.Interface
	node   *corev1.Node // this one, as it was at the start
	config *subnet.Config

	mutex     sync.Mutex
	announced map[string]string // this node's annotations

	again chan struct{} // a value: tell of every node once more
}

var errNoLeasing = errors.New("nodes' networks come from the controller manager and need no renewal")

func (l *leases) Name() string { return "nodes of the cluster" }

func (l *leases) GetNetworkConfig(context.Context) (*subnet.Config, error) { return l.config, nil }

// AcquireLease announces this node, and returns its share of the network.
func (l *leases) AcquireLease(ctx context.Context, attrs *lease.LeaseAttrs) (*lease.Lease, error) {
	own := &lease.Lease{Attrs: *attrs, EnableIPv4: l.config.EnableIPv4, EnableIPv6: l.config.EnableIPv6}
	if err := l.share(l.node, own); err != nil {
		return nil, err
	}
	if cluster := l.config.Network; own.EnableIPv4 && !cluster.Contains(own.Subnet.IP) {
		return nil, fmt.Errorf("node %s has the pod network %s, which is not in %s: the cluster was made with another cluster-cidr", l.node.Name, own.Subnet, cluster)
	}
	if cluster := l.config.IPv6Network; own.EnableIPv6 && !cluster.Contains(own.IPv6Subnet.IP) {
		return nil, fmt.Errorf("node %s has the pod network %s, which is not in %s: the cluster was made with another cluster-cidr", l.node.Name, own.IPv6Subnet, cluster)
	}
	wanted := map[string]string{annotationManaged: "true", annotationType: attrs.BackendType}
	if own.EnableIPv4 {
		wanted[annotationData] = rawOrNull(attrs.BackendData)
		wanted[annotationPublicIP] = first(l.node.Annotations[annotationOverwrite], attrs.PublicIP.String())
	}
	if own.EnableIPv6 {
		wanted[annotationV6Data] = rawOrNull(attrs.BackendV6Data)
		wanted[annotationPublicIPv6] = first(l.node.Annotations[annotationV6Overwrite], attrs.PublicIPv6.String())
	}
	l.mutex.Lock()
	l.announced = wanted
	l.mutex.Unlock()
	changed := maps.Clone(wanted)
	maps.DeleteFunc(changed, func(name, value string) bool { return l.node.Annotations[name] == value })
	if len(changed) == 0 {
		return own, nil // as before a restart
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": changed}})
	if err != nil {
		return nil, err
	}
	if _, err := l.api.CoreV1().Nodes().Patch(ctx, l.node.Name, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
		return nil, fmt.Errorf("announce node %s to the others: %w", l.node.Name, err)
	}
	return own, nil
}

// WatchLeases tells receiver of every node that can be reached, and of changes, until ctx is done;
// then it closes receiver.
func (l *leases) WatchLeases(ctx context.Context, receiver chan []lease.LeaseWatchResult) error {
	defer close(receiver)
	tell := func(kind lease.EventType, node *corev1.Node) {
		if node.Annotations[annotationManaged] != "true" {
			return // it has not come so far
		}
		one, err := l.leaseOf(node)
		if err != nil {
			klog.ErrorS(err, "the pods of a node cannot be reached", "node", node.Name)
			return
		}
		select {
		case receiver <- []lease.LeaseWatchResult{{Events: []lease.Event{{Type: kind, Lease: *one}}}}:
		case <-ctx.Done():
		}
	}
	nodes := l.api.CoreV1().Nodes()
	known, controller := cache.NewInformerWithOptions(cache.InformerOptions{
		ObjectType: &corev1.Node{},
		ListerWatcher: cache.ToListWatcherWithWatchListSemantics(&cache.ListWatch{
			ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
				return nodes.List(ctx, o)
			},
			WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
				return nodes.Watch(ctx, o)
			},
		}, l.api),
		Transform: essence,
		Handler: cache.ResourceEventHandlerFuncs{
			AddFunc: func(object any) { tell(lease.EventAdded, object.(*corev1.Node)) },
			UpdateFunc: func(before, after any) {
				old, node := before.(*corev1.Node), after.(*corev1.Node)
				if reflect.DeepEqual(old.Annotations, node.Annotations) && reflect.DeepEqual(old.Spec, node.Spec) {
					return
				}
				if !reflect.DeepEqual(old.Spec, node.Spec) && len(old.Spec.PodCIDRs) > 0 {
					tell(lease.EventRemoved, old)
				}
				tell(lease.EventAdded, node)
			},
			DeleteFunc: func(object any) {
				if missed, ok := object.(cache.DeletedFinalStateUnknown); ok {
					object = missed.Obj
				}
				if node, ok := object.(*corev1.Node); ok {
					tell(lease.EventRemoved, node)
				}
			},
		},
	})
	var telling sync.WaitGroup
	telling.Go(func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-l.again:
			}
			for _, object := range known.List() {
				tell(lease.EventAdded, object.(*corev1.Node))
			}
		}
	})
	controller.RunWithContext(ctx)
	telling.Wait()
	return ctx.Err()
}

// essence drops from a Node what is not needed here: its status, with the list of images, is most of it.
func essence(object any) (any, error) {
	node, ok := object.(*corev1.Node)
	if !ok {
		return object, nil
	}
	lean := &corev1.Node{Spec: corev1.NodeSpec{PodCIDRs: node.Spec.PodCIDRs}}
	lean.Name, lean.UID, lean.ResourceVersion = node.Name, node.UID, node.ResourceVersion
	lean.Annotations = map[string]string{}
	for _, name := range []string{annotationManaged, annotationType, annotationData, annotationV6Data, annotationPublicIP, annotationPublicIPv6} {
		if value, ok := node.Annotations[name]; ok {
			lean.Annotations[name] = value
		}
	}
	return lean, nil
}

// leaseOf reads what another node has announced.
func (l *leases) leaseOf(node *corev1.Node) (*lease.Lease, error) {
	other := &lease.Lease{EnableIPv4: l.config.EnableIPv4, EnableIPv6: l.config.EnableIPv6}
	other.Attrs.BackendType = node.Annotations[annotationType]
	if err := l.share(node, other); err != nil {
		return nil, err
	}
	if other.EnableIPv4 {
		address, err := ip.ParseIP4(node.Annotations[annotationPublicIP])
		if err != nil {
			return nil, fmt.Errorf("annotation %s: %w", annotationPublicIP, err)
		}
		other.Attrs.PublicIP = address
		other.Attrs.BackendData = json.RawMessage(node.Annotations[annotationData])
	}
	if other.EnableIPv6 {
		address, err := ip.ParseIP6(node.Annotations[annotationPublicIPv6])
		if err != nil {
			return nil, fmt.Errorf("annotation %s: %w", annotationPublicIPv6, err)
		}
		other.Attrs.PublicIPv6 = address
		other.Attrs.BackendV6Data = json.RawMessage(node.Annotations[annotationV6Data])
	}
	return other, nil
}

// share puts the node's part of the cluster's network into the lease: one of each family in use.
func (l *leases) share(node *corev1.Node, into *lease.Lease) error {
	for _, text := range node.Spec.PodCIDRs {
		_, network, err := net.ParseCIDR(text)
		if err != nil {
			return fmt.Errorf("pod network of node %s: %w", node.Name, err)
		}
		if network.IP.To4() != nil {
			into.Subnet = ip.FromIPNet(network)
		} else {
			into.IPv6Subnet = ip.FromIP6Net(network)
		}
	}
	if into.EnableIPv4 && into.Subnet.Empty() || into.EnableIPv6 && into.IPv6Subnet.Empty() {
		return fmt.Errorf("node %s has the pod networks %v, which lack a family that the cluster has: it joined before cluster-cidr was changed; delete the Node object and restart the node",
			node.Name, node.Spec.PodCIDRs)
	}
	if !into.EnableIPv4 {
		into.Subnet = ip.IP4Net{}
	}
	if !into.EnableIPv6 {
		into.IPv6Subnet = ip.IP6Net{}
	}
	return nil
}

// GetStoredMacAddresses returns the addresses that this node's tunnels have been announced with, so
// that they keep them.
func (l *leases) GetStoredMacAddresses(context.Context) (v4, v6 string) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	annotations := l.announced
	if annotations == nil {
		annotations = l.node.Annotations
	}
	return storedMAC(annotations[annotationData]), storedMAC(annotations[annotationV6Data])
}

func storedMAC(announced string) string {
	var data struct{ VtepMAC string }
	if json.Unmarshal([]byte(announced), &data) != nil {
		return "" // another backend's, or none yet
	}
	return data.VtepMAC
}

// GetStoredPublicIP is for choosing an interface, which is done by address here.
func (l *leases) GetStoredPublicIP(context.Context) (v4, v6 string) { return "", "" }

func (l *leases) RenewLease(context.Context, *lease.Lease) error { return errNoLeasing }

func (l *leases) WatchLease(context.Context, ip.IP4Net, ip.IP6Net, chan []lease.LeaseWatchResult) error {
	return errNoLeasing
}

func (l *leases) CompleteLease(context.Context, *lease.Lease, *sync.WaitGroup) error { return nil }

// HandleSubnetFile writes nothing: the file is for a CNI plugin that is not used.
func (l *leases) HandleSubnetFile(string, *subnet.Config, bool, ip.IP4Net, ip.IP6Net, int) error {
	return nil
}

func rawOrNull(data json.RawMessage) string {
	if data == nil {
		return "null"
	}
	return string(data)
}

func first(texts ...string) string {
	for _, text := range texts {
		if text != "" {
			return text
		}
	}
	return ""
}
