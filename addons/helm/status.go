package helm

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"airgap/internal/helmchart"
)

// finalizer keeps a HelmChart until its release is uninstalled.
const finalizer = "airgap.internal/helm-uninstall"

// phase says which of the two conditions is True.
type phase int

const (
	working phase = iota // neither
	ready
	failed
)

// report writes what became of a HelmChart to its status: change is applied to the status as it
// was, the conditions follow from phase, reason and message. A new reason is an event too.
func (c *Controller) report(ctx context.Context, chart *helmchart.Chart, s *session, p phase, reason, message string, change func(*helmchart.Status)) error {
	status := s.status
	status.Conditions = slices.Clone(status.Conditions)
	if change != nil {
		change(&status)
	}
	status.ObservedGeneration = chart.Generation
	message = shorten(message)
	for kind, is := range map[string]bool{helmchart.Ready: p == ready, helmchart.Failed: p == failed} {
		condition := metav1.Condition{Type: kind, Status: metav1.ConditionFalse, Reason: reason, Message: message, ObservedGeneration: chart.Generation}
		if is {
			condition.Status = metav1.ConditionTrue
		}
		meta.SetStatusCondition(&status.Conditions, condition)
	}
	slices.SortFunc(status.Conditions, func(a, b metav1.Condition) int { return strings.Compare(b.Type, a.Type) })
	if reflect.DeepEqual(status, s.status) {
		return nil
	}
	patch, err := json.Marshal(map[string]any{"status": status})
	if err != nil {
		return err
	}
	_, err = c.dynamic.Resource(helmchart.Charts).Namespace(chart.Namespace).Patch(ctx, chart.Name, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: fieldManager}, "status")
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("write status: %w", err)
	}
	old := s.status.Reason()
	s.status = status
	if old != reason {
		c.announce(chart, p, reason, message)
	}
	return nil
}

func (c *Controller) announce(chart *helmchart.Chart, p phase, reason, message string) {
	kind := corev1.EventTypeNormal
	if p == failed {
		kind = corev1.EventTypeWarning
		c.log.Error("chart", "chart", chart.Namespace+"/"+chart.Name, "reason", reason, "message", message)
	} else {
		c.log.Info("chart", "chart", chart.Namespace+"/"+chart.Name, "reason", reason, "message", message)
	}
	c.events.Event(&corev1.ObjectReference{
		APIVersion: helmchart.Charts.GroupVersion().String(), Kind: helmchart.ChartKind,
		Namespace: chart.Namespace, Name: chart.Name, UID: chart.UID,
	}, kind, reason, message)
}

// setFinalizer makes a HelmChart have the finalizer or not. A conflict means that the informer is behind.
func (c *Controller) setFinalizer(ctx context.Context, chart *helmchart.Chart, present bool) error {
	finalizers := slices.DeleteFunc(slices.Clone(chart.Finalizers), func(f string) bool { return f == finalizer })
	if present {
		finalizers = append(finalizers, finalizer)
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"resourceVersion": chart.ResourceVersion, "finalizers": finalizers}})
	if err != nil {
		return err
	}
	_, err = c.dynamic.Resource(helmchart.Charts).Namespace(chart.Namespace).Patch(ctx, chart.Name, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: fieldManager})
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// messageBytes bounds a message as the API bounds that of an event.
const messageBytes = 1000
