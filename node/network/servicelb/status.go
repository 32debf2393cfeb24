package servicelb

import (
	"context"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	// NoNode is the condition of a service for which no node is eligible.
	NoNode = "airgap.internal/NoLoadBalancerNode"

	reasonPortsInUse = "PortsInUse"
	reasonNoNode     = "NoEligibleNode"
	reasonUpdated    = "UpdatedIngressIP" // K3s' name
)

// maxConflicts bounds a condition's text: on a hundred nodes one conflict is a hundred.
const maxConflicts = 5

// write makes a service's status say its verdict, and tells of the change by events. Nothing is
// written if it says so already.
func (c *Controller) write(ctx context.Context, old *corev1.Service, v verdict) error {
	service := old.DeepCopy()
	service.Status.LoadBalancer.Ingress = v.ingress
	setCondition(service, NoNode, reasonNoNode, v.noNode)
	setCondition(service, corev1.LoadBalancerPortsError, reasonPortsInUse, summary(v.conflicts))
	if equality.Semantic.DeepEqual(service.Status, old.Status) {
		return nil
	}
	if _, err := c.client.CoreV1().Services(service.Namespace).UpdateStatus(ctx, service, metav1.UpdateOptions{FieldManager: fieldManager}); err != nil {
		return fmt.Errorf("status of service %s: %w", nameOf(service), err)
	}
	for _, kind := range []string{NoNode, corev1.LoadBalancerPortsError} {
		now, before := meta.FindStatusCondition(service.Status.Conditions, kind), meta.FindStatusCondition(old.Status.Conditions, kind)
		if now != nil && (before == nil || before.Message != now.Message) {
			c.log.Warn("service load balancer", "service", nameOf(service), "problem", now.Message)
			c.events.Event(service, corev1.EventTypeWarning, now.Reason, now.Message)
		}
	}
	if now, before := addressList(service), addressList(old); now != before {
		c.log.Info("service load balancer", "service", nameOf(service), "addresses", now)
		c.events.Eventf(service, corev1.EventTypeNormal, reasonUpdated, "load balancer addresses: %s", now)
	}
	return nil
}

// setCondition sets a condition to true with a message, or removes it if there is none.
func setCondition(service *corev1.Service, kind, reason, message string) {
	if message == "" {
		meta.RemoveStatusCondition(&service.Status.Conditions, kind)
		return
	}
	meta.SetStatusCondition(&service.Status.Conditions, metav1.Condition{
		Type: kind, Status: metav1.ConditionTrue, Reason: reason, Message: message, ObservedGeneration: service.Generation,
	})
}

func summary(conflicts []string) string {
	if more := len(conflicts) - maxConflicts; more > 0 {
		return fmt.Sprintf("%s; and %d more", strings.Join(conflicts[:maxConflicts], "; "), more)
	}
	return strings.Join(conflicts, "; ")
}

func addressList(service *corev1.Service) string {
	var list []string
	for _, entry := range service.Status.LoadBalancer.Ingress {
		list = append(list, entry.IP)
	}
	if len(list) == 0 {
		return "none"
	}
	return strings.Join(list, ", ")
}
