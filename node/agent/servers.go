package agent

import (
	"context"
	"fmt"
	"net/netip"
	"slices"

	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"
)

// apiServerSlice is where API servers keep their own addresses (pkg/controlplane/controller/kubernetesservice), in the
// namespace default.
const apiServerSlice = "kubernetes"

// learnServers hands over the addresses of the cluster's API servers, at first and after each change, until ctx is done. It
// asks as kube-proxy, which may see EndpointSlices; the kubelet may not.
func (a *agent) learnServers(ctx context.Context) error {
	client, err := clientcmd.BuildConfigFromFlags("", a.proxy)
	if err != nil {
		return err
	}
	api, err := kubernetes.NewForConfig(client)
	if err != nil {
		return err
	}
	one := cache.NewFilteredListWatchFromClient(api.DiscoveryV1().RESTClient(), "endpointslices", metav1.NamespaceDefault,
		func(o *metav1.ListOptions) {
			o.FieldSelector = fields.OneTermEqualSelector("metadata.name", apiServerSlice).String()
		})
	tell := func(object any) {
		slice, ok := object.(*discoveryv1.EndpointSlice)
		if !ok {
			return
		}
		if err := a.options.Learn(addressesIn(slice)); err != nil {
			klog.ErrorS(err, "the cluster's servers are not remembered")
		}
	}
	_, informer := cache.NewInformerWithOptions(cache.InformerOptions{
		ListerWatcher: one, ObjectType: &discoveryv1.EndpointSlice{},
		Handler: cache.ResourceEventHandlerFuncs{AddFunc: tell, UpdateFunc: func(_, object any) { tell(object) }},
	})
	informer.RunWithContext(ctx)
	return nil
}

// addressesIn lists the endpoints of a slice that are ready, "address:port", sorted.
func addressesIn(slice *discoveryv1.EndpointSlice) []string {
	var list []string
	for _, port := range slice.Ports {
		if port.Port == nil || port.Name != nil && *port.Name != "https" {
			continue
		}
		for _, endpoint := range slice.Endpoints {
			if ready := endpoint.Conditions.Ready; ready != nil && !*ready {
				continue
			}
			for _, text := range endpoint.Addresses {
				if address, err := netip.ParseAddr(text); err == nil {
					list = append(list, netip.AddrPortFrom(address, uint16(*port.Port)).String())
				}
			}
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// learn is learnServers, and logs what keeps it from working.
func (a *agent) learn(ctx context.Context) {
	if err := a.learnServers(ctx); err != nil {
		klog.ErrorS(fmt.Errorf("servers of the cluster: %w", err), "only those that the machine was told are known")
	}
}
