package helm

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"helm.sh/helm/v3/pkg/release"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"airgap/internal/helmchart"
)

// DefaultDriftInterval is the mean time between two looks at the objects of a deployed release.
const DefaultDriftInterval = 10 * time.Minute

// looks is when the objects of a release are looked at.
type looks struct {
	revision   int
	annotation string // of the HelmChart, as last seen
	next       time.Time
}

// schedule returns how long to wait until the next look. The first at a revision comes soon, at a random
// time, so that the releases of a node that starts do not all have theirs at once; another annotation has it at once.
func (l *looks) schedule(now time.Time, revision int, annotation string, interval time.Duration) time.Duration {
	switch {
	case l.revision != revision:
		l.next = now.Add(interval/20 + rand.N(interval/20))
	case l.annotation != annotation:
		l.next = now
	}
	l.revision, l.annotation = revision, annotation
	return max(0, l.next.Sub(now))
}

// done sets the time of the look after this one.
func (l *looks) done(now time.Time, interval time.Duration) time.Duration {
	wait := interval - interval/10 + rand.N(interval/5)
	l.next = now.Add(wait)
	return wait
}

// lookForDrift compares the objects of a deployed release with what it says, if it is time to, and does about it
// what the HelmChart's annotation wants. It returns when to look again; zero for never.
func (c *Controller) lookForDrift(ctx context.Context, chart *helmchart.Chart, s *session, in *inputs) (after time.Duration, err error) {
	annotation := chart.Annotations[helmchart.DriftAnnotation]
	wait := s.looks.schedule(time.Now(), s.status.Revision, annotation, c.driftInterval)
	mode := cmp.Or(annotation, helmchart.DriftRestore)
	switch mode {
	case helmchart.DriftIgnore:
		return 0, c.reportDrift(ctx, chart, s, nil)
	case helmchart.DriftRestore, helmchart.DriftCorrect, helmchart.DriftWarn:
	default:
		return 0, c.reportDrift(ctx, chart, s, &metav1.Condition{Status: metav1.ConditionUnknown, Reason: helmchart.ReasonUnknownMode,
			Message: fmt.Sprintf("annotation %s is %q: want %s, %s, %s or %s; nothing is looked at", helmchart.DriftAnnotation, mode,
				helmchart.DriftRestore, helmchart.DriftCorrect, helmchart.DriftWarn, helmchart.DriftIgnore)})
	}
	if wait > 0 {
		return wait, nil
	}
	namespace, err := c.typed.CoreV1().Namespaces().Get(ctx, in.target, metav1.GetOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return 0, err
	}
	if err == nil && namespace.DeletionTimestamp != nil {
		return s.looks.done(time.Now(), c.driftInterval), nil // nothing can be made in it until it is gone
	}
	newest, err := c.newestRevision(ctx, in)
	if err != nil {
		return 0, err
	}
	if newest != s.status.Revision {
		return c.otherRevision(ctx, chart, s, in, mode, newest)
	}
	found, err := c.compareRelease(ctx, s, in)
	if err != nil {
		c.log.Warn("objects of a release cannot be compared with it", "chart", chart.Namespace+"/"+chart.Name, "error", err)
		return s.looks.done(time.Now(), c.driftInterval), nil
	}
	left, mended := c.mend(ctx, found, mode)
	if len(mended) > 0 {
		c.event(chart, corev1.EventTypeNormal, "DriftCorrected", "as the release says again: "+shorten(list(mended)))
	}
	condition := &metav1.Condition{Status: metav1.ConditionFalse, Reason: helmchart.ReasonInSync, Message: "every object is as the release says"}
	if len(left) > 0 {
		condition = &metav1.Condition{Status: metav1.ConditionTrue, Reason: helmchart.ReasonDrift, Message: list(left)}
	}
	return s.looks.done(time.Now(), c.driftInterval), c.reportDrift(ctx, chart, s, condition)
}

// newestRevision returns the number of a release's newest revision, zero if it has none. It reads labels only: what
// holds a revision holds its whole chart.
func (c *Controller) newestRevision(ctx context.Context, in *inputs) (int, error) {
	kind := corev1.SchemeGroupVersion.WithResource("secrets")
	if in.driver == helmchart.DriverConfigMap {
		kind = corev1.SchemeGroupVersion.WithResource("configmaps")
	}
	revisions, err := c.metadata.Resource(kind).Namespace(in.target).List(ctx, metav1.ListOptions{LabelSelector: "owner=helm,name=" + in.name})
	if err != nil {
		return 0, fmt.Errorf("revisions of the release: %w", err)
	}
	newest := 0
	for _, revision := range revisions.Items {
		if number, err := strconv.Atoi(revision.Labels["version"]); err == nil {
			newest = max(newest, number)
		}
	}
	return newest, nil
}

// otherRevision deals with a release whose newest revision is not the controller's. One that someone uninstalled is
// like an object that was deleted, one that someone upgraded or rolled back like one that was changed.
func (c *Controller) otherRevision(ctx context.Context, chart *helmchart.Chart, s *session, in *inputs, mode string, newest int) (after time.Duration, err error) {
	message := fmt.Sprintf("revision %d of the release is another Helm client's; the HelmChart's is %d", newest, s.status.Revision)
	if newest == 0 {
		message = "the release was uninstalled by another Helm client, or its revisions were deleted"
	}
	if mode == helmchart.DriftCorrect || mode == helmchart.DriftRestore && newest == 0 {
		c.event(chart, corev1.EventTypeWarning, helmchart.Drifted, message)
		s.status.InputHash = ""
		return c.attempt(ctx, chart, s, in, true)
	}
	condition := &metav1.Condition{Status: metav1.ConditionTrue, Reason: helmchart.ReasonDrift, Message: message}
	return s.looks.done(time.Now(), c.driftInterval), c.reportDrift(ctx, chart, s, condition)
}

// compareRelease returns the objects of the applied revision that are not as it says. Hooks are not among them, nor the
// definitions of a chart's folder crds, which Helm leaves alone, too, once they are there.
func (c *Controller) compareRelease(ctx context.Context, s *session, in *inputs) ([]difference, error) {
	r, err := newReleaser(c.config, c.typed, in, c.log)
	if err != nil {
		return nil, err
	}
	revision, err := r.action.Releases.Get(in.name, s.status.Revision)
	if err != nil {
		return nil, fmt.Errorf("revision %d: %w", s.status.Revision, err)
	}
	if revision.Info.Status != release.StatusDeployed {
		return nil, fmt.Errorf("revision %d is %s", s.status.Revision, revision.Info.Status)
	}
	mapper, err := r.action.RESTClientGetter.ToRESTMapper()
	if err != nil {
		return nil, err
	}
	comparison := newComparison(c.dynamic, c.typed, mapper, in)
	return comparison.differences(ctx, revision.Manifest)
}

// mend puts right what the mode allows, and returns what is left and what is not.
func (c *Controller) mend(ctx context.Context, found []difference, mode string) (left, mended []difference) {
	for _, d := range found {
		if d.obstacle != "" || mode == helmchart.DriftWarn || mode == helmchart.DriftRestore && !d.missing {
			left = append(left, d)
			continue
		}
		var err error
		if d.missing {
			_, err = d.resource.Create(ctx, d.target, metav1.CreateOptions{FieldManager: fieldManager})
		} else {
			_, err = d.resource.Patch(ctx, d.target.GetName(), d.kind, d.patch, metav1.PatchOptions{FieldManager: fieldManager})
		}
		if err != nil && !apierrors.IsAlreadyExists(err) {
			d.obstacle = refusal(err)
			left = append(left, d)
			continue
		}
		mended = append(mended, d)
	}
	return left, mended
}

func list(differences []difference) string {
	lines := make([]string, len(differences))
	for i, d := range differences {
		lines[i] = d.String()
	}
	return strings.Join(lines, "; ")
}

// reportDrift writes the condition Drifted, or takes it away if it is nil. What differs anew is an event too.
func (c *Controller) reportDrift(ctx context.Context, chart *helmchart.Chart, s *session, condition *metav1.Condition) error {
	before := meta.FindStatusCondition(s.status.Conditions, helmchart.Drifted)
	if condition == nil {
		return c.writeStatus(ctx, chart, s, func(status *helmchart.Status) { meta.RemoveStatusCondition(&status.Conditions, helmchart.Drifted) })
	}
	condition.Type, condition.Message, condition.ObservedGeneration = helmchart.Drifted, shorten(condition.Message), chart.Generation
	isNew := before == nil || before.Status != condition.Status || before.Message != condition.Message
	err := c.writeStatus(ctx, chart, s, func(status *helmchart.Status) { meta.SetStatusCondition(&status.Conditions, *condition) })
	if err == nil && isNew && condition.Status != metav1.ConditionFalse {
		c.event(chart, corev1.EventTypeWarning, helmchart.Drifted, condition.Message)
	}
	return err
}
