package helm

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"helm.sh/helm/v3/pkg/release"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"airgap/internal/helmchart"
)

const (
	busyPause  = 10 * time.Second // between two looks at a release that another Helm client works on
	ownerPause = time.Minute      // between two looks at a release that is another HelmChart's
)

// reconcile brings one release a step nearer to its HelmChart. It returns when to look again; zero for when something changes.
func (c *Controller) reconcile(ctx context.Context, key string) (after time.Duration, err error) {
	chart, config, err := c.chart(key)
	if err != nil {
		return 0, err
	}
	if chart == nil {
		c.secrets.follow(ctx, key, "", nil)
		c.drop(key)
		return 0, nil
	}
	s := c.session(key, chart)
	if orders(chart).unmanaged {
		c.secrets.follow(ctx, key, "", nil)
		return 0, c.leave(ctx, chart)
	}
	if chart.DeletionTimestamp != nil {
		return 0, c.remove(ctx, key, chart, s)
	}
	if !slices.Contains(chart.Finalizers, finalizer) {
		if err := c.setFinalizer(ctx, chart, true); err != nil {
			return 0, err
		}
	}
	c.secrets.follow(ctx, key, chart.Namespace, secretsOf(chart, config))
	in, err := c.gather(ctx, chart, config)
	if err != nil {
		reported := c.report(ctx, chart, s, failed, helmchart.ReasonInvalid, err.Error(), func(status *helmchart.Status) { status.InputHash = "" })
		if isInvalid(err) {
			err = nil
		}
		return 0, firstError(err, reported)
	}
	changed := chart.Generation != s.status.ObservedGeneration
	if in.hash != s.status.InputHash {
		return c.attempt(ctx, chart, s, in, true)
	}
	reason, message := s.status.Reason(), conditionMessage(&s.status)
	switch reason {
	case helmchart.ReasonDeployed:
		if err := c.report(ctx, chart, s, ready, reason, message, nil); err != nil {
			return 0, err
		}
		return c.lookForDrift(ctx, chart, s, in)
	case helmchart.ReasonWaiting, helmchart.ReasonNotReady:
		return c.await(ctx, chart, s, in)
	case helmchart.ReasonInvalid:
		if !changed {
			return 0, nil
		}
	case helmchart.ReasonInstallFailed, helmchart.ReasonUpgradeFailed, helmchart.ReasonRolledBack:
		if _, again := retryAfter(s.status.Failures, reason != helmchart.ReasonInstallFailed, in.policy); !again && !changed {
			return 0, nil
		}
	}
	return c.attempt(ctx, chart, s, in, changed)
}

// attempt installs or upgrades. fresh says that it is the first attempt at these inputs.
func (c *Controller) attempt(ctx context.Context, object *helmchart.Chart, s *session, in *inputs, fresh bool) (after time.Duration, err error) {
	s.wait = nil
	if fresh {
		s.status.Failures = 0
	}
	full, err := c.full(ctx, object)
	if err != nil {
		return 0, err
	}
	loaded, err := c.loadChart(ctx, full)
	if isInvalid(err) {
		return 0, c.report(ctx, object, s, failed, helmchart.ReasonInvalid, err.Error(), func(status *helmchart.Status) { status.InputHash = in.hash })
	}
	if err != nil {
		return c.fail(ctx, object, s, in, helmchart.ReasonInstallFailed, err)
	}
	r, err := newReleaser(c.config, c.typed, in, c.log)
	if err != nil {
		return 0, err
	}
	next, newest, err := c.standing(r, s, in)
	if err != nil {
		return 0, err
	}
	if newest != nil {
		if owner := newest.Labels[ownerLabel]; owner != "" && owner != in.owner {
			err := fmt.Errorf("release %s in namespace %s belongs to HelmChart %s/%s", in.name, in.target, owner, in.name)
			return ownerPause, c.report(ctx, object, s, failed, helmchart.ReasonInvalid, err.Error(), func(status *helmchart.Status) { status.InputHash = "" })
		}
	}
	version := loaded.Metadata.Name + "-" + loaded.Metadata.Version
	reason := helmchart.ReasonInstalling
	switch next {
	case stepWait:
		message := fmt.Sprintf("revision %d is %s by another Helm client", newest.Version, newest.Info.Status)
		return busyPause, c.report(ctx, object, s, working, helmchart.ReasonBusy, message, nil)
	case stepUpgrade:
		reason = helmchart.ReasonUpgrading
	}
	if err := c.report(ctx, object, s, working, reason, version, func(status *helmchart.Status) { status.InputHash = in.hash }); err != nil {
		return 0, err
	}

	var made *release.Release
	switch next {
	case stepUpgrade:
		if made, err = r.upgrade(ctx, loaded, in); err != nil {
			return c.failUpgrade(ctx, object, s, in, r, err)
		}
	case stepReinstall:
		if err := r.uninstall(ctx); err != nil {
			return c.fail(ctx, object, s, in, helmchart.ReasonInstallFailed, err)
		}
		s.status.ReadyRevision = 0
		fallthrough
	default:
		if made, err = r.install(ctx, loaded, in); err != nil {
			return c.fail(ctx, object, s, in, helmchart.ReasonInstallFailed, err)
		}
	}
	err = c.report(ctx, object, s, working, helmchart.ReasonWaiting, fmt.Sprintf("chart version %s, revision %d", made.Chart.Metadata.Version, made.Version), func(status *helmchart.Status) {
		describe(status, made)
	})
	if err != nil {
		return 0, err
	}
	return c.await(ctx, object, s, in)
}

// full returns the HelmChart with the content that the informer did not keep. The error is a conflict if it
// is not the one the caller has.
func (c *Controller) full(ctx context.Context, object *helmchart.Chart) (*helmchart.Chart, error) {
	u, err := c.dynamic.Resource(helmchart.Charts).Namespace(object.Namespace).Get(ctx, object.Name, metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	full, err := helmchart.ChartFromObject(u)
	if err != nil {
		return nil, err
	}
	if full.Generation != object.Generation || full.UID != object.UID {
		return nil, apierrors.NewConflict(helmchart.Charts.GroupResource(), object.Name, errors.New("it changed meanwhile"))
	}
	return full, nil
}

// standing returns what to do about the newest revision of a release (nil if there is none), having marked it as
// failed if nobody works on it any more.
func (c *Controller) standing(r *releaser, s *session, in *inputs) (step, *release.Release, error) {
	newest, err := r.last()
	if err != nil {
		return "", nil, fmt.Errorf("read the release's history: %w", err)
	}
	var now standing
	if newest != nil {
		now.status = newest.Info.Status
		now.age = time.Since(newest.Info.LastDeployed.Time)
		reason := s.status.Reason()
		now.ours = reason == helmchart.ReasonInstalling || reason == helmchart.ReasonUpgrading
		if now.everDeployed, err = r.everDeployed(); err != nil {
			return "", nil, fmt.Errorf("read the release's history: %w", err)
		}
	}
	next, abandon := plan(now, in.policy, in.timeout)
	if abandon {
		err = r.abandon(newest)
	}
	return next, newest, err
}

// await looks whether the workloads of the applied revision are ready.
func (c *Controller) await(ctx context.Context, object *helmchart.Chart, s *session, in *inputs) (after time.Duration, err error) {
	if s.wait == nil || s.wait.revision != s.status.Revision {
		r, err := newReleaser(c.config, c.typed, in, c.log)
		if err != nil {
			return 0, err
		}
		if s.wait, err = newWait(r, c.typed, s.status.Revision); err != nil {
			s.wait, s.status.InputHash = nil, "" // someone removed it: the next look installs
			return 0, err
		}
	}
	unready, err := s.wait.check(ctx)
	if err != nil {
		return 0, err
	}
	release := fmt.Sprintf("chart version %s, revision %d", s.status.Version, s.status.Revision)
	if unready == "" {
		s.wait = nil
		if err := c.report(ctx, object, s, ready, helmchart.ReasonDeployed, release, func(status *helmchart.Status) {
			status.ReadyRevision, status.Failures = status.Revision, 0
		}); err != nil {
			return 0, err
		}
		return c.lookForDrift(ctx, object, s, in)
	}
	if time.Since(s.wait.began) < in.timeout {
		return s.wait.pause(in.timeout), c.report(ctx, object, s, working, helmchart.ReasonWaiting, unready, nil)
	}
	if s.status.ReadyRevision > 0 && s.status.ReadyRevision != s.status.Revision && !in.policy.Holds() {
		r, err := newReleaser(c.config, c.typed, in, c.log)
		if err != nil {
			return 0, err
		}
		s.wait = nil
		return c.failUpgrade(ctx, object, s, in, r, fmt.Errorf("not ready after %v: %s", in.timeout, unready))
	}
	message := fmt.Sprintf("not ready after %v: %s (%s is left running, and counts as ready when it is)", in.timeout, unready, release)
	return s.wait.pause(in.timeout), c.report(ctx, object, s, failed, helmchart.ReasonNotReady, message, nil)
}
