// Package nodehosts keeps the names of the cluster's nodes where cluster DNS reads them: in the key
// NodeHosts of the ConfigMap kube-system/coredns, in the form of hosts(5), as K3s does. At a
// site without a DNS server nobody else knows these names.
package nodehosts

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
)

const (
	namespace    = "kube-system"
	configMap    = "coredns"
	key          = "NodeHosts"
	fieldManager = "airgap-nodehosts"
)

// retryAfter is the time to another attempt when the API server refused one.
const retryAfter = 5 * time.Second

// Run keeps the names until ctx is done. It waits for the ConfigMap, which it does not make, and
// leaves its other keys alone.
func Run(ctx context.Context, client kubernetes.Interface, log *slog.Logger) error {
	all := informers.NewSharedInformerFactoryWithOptions(client, 0, informers.WithTransform(trim))
	one := informers.NewSharedInformerFactoryWithOptions(client, 0, informers.WithNamespace(namespace),
		informers.WithTweakListOptions(func(o *metav1.ListOptions) {
			o.FieldSelector = fields.OneTermEqualSelector(metav1.ObjectNameField, configMap).String()
		}))
	nodes, maps := all.Core().V1().Nodes(), one.Core().V1().ConfigMaps()
	changed := make(chan struct{}, 1)
	wake := func() {
		select {
		case changed <- struct{}{}:
		default:
		}
	}
	for _, informer := range []cache.SharedIndexInformer{nodes.Informer(), maps.Informer()} {
		if _, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
			AddFunc: func(any) { wake() }, UpdateFunc: func(_, _ any) { wake() }, DeleteFunc: func(any) { wake() },
		}); err != nil {
			return err
		}
	}
	all.Start(ctx.Done())
	one.Start(ctx.Done())
	defer all.Shutdown()
	defer one.Shutdown()
	all.WaitForCacheSync(ctx.Done())
	one.WaitForCacheSync(ctx.Done())
	wake()
	var retry <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		case <-retry:
		}
		retry = nil
		list, err := nodes.Lister().List(labels.Everything())
		if err != nil {
			return err
		}
		current, err := maps.Lister().ConfigMaps(namespace).Get(configMap)
		if err != nil { // not there yet
			continue
		}
		hosts := hostsOf(list)
		if current.Data[key] == hosts {
			continue
		}
		if err := patch(ctx, client, hosts); err != nil && ctx.Err() == nil {
			log.Error("names of the nodes for cluster DNS", "error", err)
			retry = time.After(retryAfter)
		}
	}
}

func patch(ctx context.Context, client kubernetes.Interface, hosts string) error {
	body, err := json.Marshal(map[string]any{"data": map[string]string{key: hosts}})
	if err != nil {
		return err
	}
	_, err = client.CoreV1().ConfigMaps(namespace).Patch(ctx, configMap, types.MergePatchType, body, metav1.PatchOptions{FieldManager: fieldManager})
	if err != nil {
		return fmt.Errorf("key %s of ConfigMap %s/%s: %w", key, namespace, configMap, err)
	}
	return nil
}

// hostsOf returns a line for each internal address of each node: the address, the node's name,
// and its host name if that is another.
func hostsOf(nodes []*corev1.Node) string {
	var lines []string
	for _, node := range nodes {
		names := []string{node.Name}
		for _, a := range node.Status.Addresses {
			if a.Type == corev1.NodeHostName && a.Address != node.Name {
				names = append(names, a.Address)
			}
		}
		for _, a := range node.Status.Addresses {
			if _, err := netip.ParseAddr(a.Address); a.Type == corev1.NodeInternalIP && err == nil {
				lines = append(lines, a.Address+" "+strings.Join(names, " ")+"\n")
			}
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, "")
}

// trim keeps of a node what is needed here.
func trim(object any) (any, error) {
	if node, ok := object.(*corev1.Node); ok {
		return &corev1.Node{
			ObjectMeta: metav1.ObjectMeta{Name: node.Name, UID: node.UID, ResourceVersion: node.ResourceVersion},
			Status:     corev1.NodeStatus{Addresses: node.Status.Addresses},
		}, nil
	}
	return object, nil
}
