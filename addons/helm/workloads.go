package helm

import (
	"context"
	"fmt"
	"strings"
	"time"

	"helm.sh/helm/v3/pkg/kube"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/cli-runtime/pkg/resource"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/ptr"
)

// A wait is the time between a release being applied and its workloads being ready.
type wait struct {
	revision  int
	began     time.Time // on this process's clock, which a restart begins anew
	typed     kubernetes.Interface
	workloads kube.ResourceList
	checker   kube.ReadyChecker
	unready   string // what the checker said last
}

// newWait finds the workloads of a revision.
func newWait(r *releaser, typed kubernetes.Interface, revision int) (*wait, error) {
	release, err := r.action.Releases.Get(r.name, revision)
	if err != nil {
		return nil, fmt.Errorf("revision %d: %w", revision, err)
	}
	objects, err := r.action.KubeClient.Build(strings.NewReader(release.Manifest), false)
	if err != nil {
		return nil, fmt.Errorf("revision %d: %w", revision, err)
	}
	w := &wait{revision: revision, began: time.Now(), typed: typed}
	w.workloads = objects.Filter(func(info *resource.Info) bool { return isWorkload(info.Mapping.GroupVersionKind.GroupKind()) })
	w.checker = kube.NewReadyChecker(typed, func(format string, args ...any) { w.unready = fmt.Sprintf(format, args...) }, kube.PausedAsReady(true))
	return w, nil
}

// isWorkload says whether a release waits for objects of the kind. Services and volume claims are none:
// whether a load balancer or a volume is there is for the site to say, and pods that need it tell.
func isWorkload(kind schema.GroupKind) bool {
	switch kind.Group {
	case "":
		return kind.Kind == "Pod" || kind.Kind == "ReplicationController"
	case "apps":
		return kind.Kind == "Deployment" || kind.Kind == "StatefulSet" || kind.Kind == "DaemonSet" || kind.Kind == "ReplicaSet"
	case "apiextensions.k8s.io":
		return kind.Kind == "CustomResourceDefinition"
	}
	return false
}

// check returns what the release still waits for, "" if nothing.
func (w *wait) check(ctx context.Context) (string, error) {
	for _, info := range w.workloads {
		w.unready = ""
		ready, err := w.checker.IsReady(ctx, info)
		object := fmt.Sprintf("%s %s/%s", info.Mapping.GroupVersionKind.Kind, info.Namespace, info.Name)
		switch {
		case apierrors.IsNotFound(err):
			return object + " is not there", nil
		case err != nil:
			return "", fmt.Errorf("%s: %w", object, err)
		case !ready && w.unready != "":
			return w.unready, nil
		case !ready:
			return object + " is not ready", nil
		}
		if unfinished, err := w.unfinishedRollout(ctx, info); err != nil || unfinished != "" {
			return unfinished, err
		}
	}
	return "", nil
}

// unfinishedRollout returns what a Deployment still waits for by the rule of `kubectl rollout status`. Helm's own
// rule counts a Deployment as ready that has maxUnavailable pods missing: with one replica, a
// common setting, that is all of them.
func (w *wait) unfinishedRollout(ctx context.Context, info *resource.Info) (string, error) {
	if info.Mapping.GroupVersionKind.Kind != "Deployment" {
		return "", nil
	}
	d, err := w.typed.AppsV1().Deployments(info.Namespace).Get(ctx, info.Name, metav1.GetOptions{})
	if err != nil {
		return "", err
	}
	wanted := ptr.Deref(d.Spec.Replicas, 1)
	if d.Spec.Paused || d.Generation <= d.Status.ObservedGeneration &&
		d.Status.UpdatedReplicas >= wanted && d.Status.AvailableReplicas >= wanted {
		return "", nil
	}
	return fmt.Sprintf("Deployment %s/%s: %d of %d pods are available", info.Namespace, info.Name, d.Status.AvailableReplicas, wanted), nil
}

// pause returns how long to leave the workloads alone between two looks: most are ready within seconds, and
// what is not after the timeout may take days.
func (w *wait) pause(timeout time.Duration) time.Duration {
	switch waited := time.Since(w.began); {
	case waited < 20*time.Second:
		return 500 * time.Millisecond
	case waited < timeout:
		return 2 * time.Second
	default:
		return 15 * time.Second
	}
}
