package servicelb

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// Withdraw takes back what a controller gave while it was enabled: kube-proxy would go on
// translating. Addresses that another load balancer gave stay.
func Withdraw(ctx context.Context, client kubernetes.Interface) error {
	nodes, err := client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return fmt.Errorf("service load balancer: %w", err)
	}
	services, err := client.CoreV1().Services("").List(ctx, metav1.ListOptions{})
	if err != nil {
		return fmt.Errorf("service load balancer: %w", err)
	}
	ofNodes := map[string]bool{}
	for _, node := range nodes.Items {
		for _, a := range node.Status.Addresses {
			ofNodes[a.Address] = true
		}
	}
	for i := range services.Items {
		service := services.Items[i].DeepCopy()
		if !isOurs(service) {
			continue
		}
		if given(service, ofNodes) {
			service.Status.LoadBalancer.Ingress = nil
		}
		setCondition(service, NoNode, reasonNoNode, "")
		setCondition(service, corev1.LoadBalancerPortsError, reasonPortsInUse, "")
		if equality.Semantic.DeepEqual(service.Status, services.Items[i].Status) {
			continue
		}
		if _, err := client.CoreV1().Services(service.Namespace).UpdateStatus(ctx, service, metav1.UpdateOptions{FieldManager: fieldManager}); err != nil {
			return fmt.Errorf("status of service %s: %w", nameOf(service), err)
		}
	}
	return nil
}

// given says whether a service's addresses are from here: they are addresses of nodes, with
// their ports. Others rarely give either.
func given(service *corev1.Service, ofNodes map[string]bool) bool {
	return !slices.ContainsFunc(service.Status.LoadBalancer.Ingress, func(entry corev1.LoadBalancerIngress) bool {
		return !ofNodes[entry.IP] || len(entry.Ports) == 0
	})
}
