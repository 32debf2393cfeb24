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
// was, the conditions follow from phase, reason and message. A new reason is an event too. Whether objects
// have drifted is known of what is deployed only.
func (c *Controller) report(ctx context.Context, chart *helmchart.Chart, s *session, p phase, reason, message string, change func(*helmchart.Status)) error {
	message = shorten(message)
	old := s.status.Reason()
	err := c.writeStatus(ctx, chart, s, func(status *helmchart.Status) {
		if change != nil {
			change(status)
		}
		if p != ready {
			meta.RemoveStatusCondition(&status.Conditions, helmchart.Drifted)
		}
		for kind, is := range map[string]bool{helmchart.Ready: p == ready, helmchart.Failed: p == failed} {
			condition := metav1.Condition{Type: kind, Status: metav1.ConditionFalse, Reason: reason, Message: message, ObservedGeneration: chart.Generation}
			if is {
				condition.Status = metav1.ConditionTrue
			}
			meta.SetStatusCondition(&status.Conditions, condition)
		}
	})
	if err != nil || old == reason {
		return err
	}
	kind := corev1.EventTypeNormal
	if p == failed {
		kind = corev1.EventTypeWarning
	}
	c.event(chart, kind, reason, message)
	return nil
}

// writeStatus writes what change makes of a HelmChart's status, if that is something else. It is no error if the
// HelmChart is gone.
func (c *Controller) writeStatus(ctx context.Context, chart *helmchart.Chart, s *session, change func(*helmchart.Status)) error {
	status := s.status
	status.Conditions = slices.Clone(status.Conditions)
	change(&status)
	status.ObservedGeneration = chart.Generation
	slices.SortFunc(status.Conditions, func(a, b metav1.Condition) int { return strings.Compare(b.Type, a.Type) })
	if reflect.DeepEqual(status, s.status) {
		return nil
	}
	patch, err := json.Marshal(map[string]any{"status": status})
	if err != nil {
		return err
	}
	_, err = c.dynamic.Resource(helmchart.Charts).Namespace(chart.Namespace).Patch(ctx, chart.Name, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: fieldManager}, "status")
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("write status: %w", err)
	}
	s.status = status
	return nil
}

// event tells of a HelmChart where `kubectl describe` shows it, and in the log.
func (c *Controller) event(chart *helmchart.Chart, kind, reason, message string) {
	log := c.log.Info
	if kind == corev1.EventTypeWarning {
		log = c.log.Error
	}
	log("chart", "chart", chart.Namespace+"/"+chart.Name, "reason", reason, "message", message)
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
