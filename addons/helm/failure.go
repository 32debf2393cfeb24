package helm

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"helm.sh/helm/v3/pkg/release"
	"k8s.io/apimachinery/pkg/api/meta"

	"airgap/internal/helmchart"
)

// fail reports a failed attempt, and returns when to make the next.
func (c *Controller) fail(ctx context.Context, object *helmchart.Chart, s *session, in *inputs, reason string, cause error) (after time.Duration, err error) {
	if ctx.Err() != nil {
		return 0, ctx.Err() // the process ends; the next start takes it up again
	}
	failures := s.status.Failures + 1
	after, again := retryAfter(failures, reason != helmchart.ReasonInstallFailed, in.policy)
	next := fmt.Sprintf("next attempt in %v", after)
	if !again {
		next = "next attempt when the HelmChart changes"
	}
	return after, c.report(ctx, object, s, failed, reason, fmt.Sprintf("%v (attempt %d; %s)", cause, failures, next), func(status *helmchart.Status) {
		status.Failures = failures
		status.InputHash = in.hash
	})
}

// failUpgrade puts the last revision that was ready back in the place of a failed upgrade, if there is one and
// the policy says so, and reports.
func (c *Controller) failUpgrade(ctx context.Context, object *helmchart.Chart, s *session, in *inputs, r *releaser, cause error) (after time.Duration, err error) {
	good := s.status.ReadyRevision
	newest, err := r.last()
	if ctx.Err() != nil || err != nil {
		return 0, firstError(ctx.Err(), err)
	}
	if in.policy.Holds() || good == 0 || newest == nil || newest.Version == good {
		return c.fail(ctx, object, s, in, helmchart.ReasonUpgradeFailed, cause)
	}
	restored, err := r.rollback(good)
	if err != nil {
		return c.fail(ctx, object, s, in, helmchart.ReasonUpgradeFailed, fmt.Errorf("%w; and %w", cause, err))
	}
	describe(&s.status, restored)
	s.status.ReadyRevision = restored.Version
	return c.fail(ctx, object, s, in, helmchart.ReasonRolledBack, fmt.Errorf("%w; rolled back to what revision %d was", cause, good))
}

// remove uninstalls the release of a HelmChart that is being deleted, then lets it go.
func (c *Controller) remove(ctx context.Context, key string, object *helmchart.Chart, s *session) error {
	if !slices.Contains(object.Finalizers, finalizer) {
		return nil
	}
	s.wait = nil
	target, name := object.Release()
	in := &inputs{name: name, target: target, owner: object.Namespace, timeout: timeoutOf(object), driver: object.Spec.Driver}
	r, err := newReleaser(c.config, c.typed, in, c.log)
	if err != nil {
		return err
	}
	newest, err := r.last()
	if err != nil {
		return fmt.Errorf("read the release's history: %w", err)
	}
	if newest != nil && (newest.Labels[ownerLabel] == "" || newest.Labels[ownerLabel] == in.owner) {
		if err := c.report(ctx, object, s, working, helmchart.ReasonUninstalling, fmt.Sprintf("release %s in namespace %s", name, target), nil); err != nil {
			return err
		}
		if err := r.uninstall(ctx); err != nil {
			message := fmt.Sprintf("%v (to give the release up and keep its objects, take the finalizer %s out of the HelmChart)", err, finalizer)
			return firstError(err, c.report(ctx, object, s, failed, helmchart.ReasonUninstalling, message, nil))
		}
	}
	if err := c.setFinalizer(ctx, object, false); err != nil {
		return err
	}
	c.log.Info("chart uninstalled", "chart", key)
	c.drop(key)
	return nil
}

// leave lets go of a HelmChart that is not, or no longer, the controller's; its release stays.
func (c *Controller) leave(ctx context.Context, object *helmchart.Chart) error {
	if !slices.Contains(object.Finalizers, finalizer) {
		return nil
	}
	return c.setFinalizer(ctx, object, false)
}

// describe puts what a revision is into a status.
func describe(status *helmchart.Status, revision *release.Release) {
	status.Revision = revision.Version
	status.Version, status.AppVersion = "", ""
	if revision.Chart != nil && revision.Chart.Metadata != nil {
		status.Version, status.AppVersion = revision.Chart.Metadata.Version, revision.Chart.Metadata.AppVersion
	}
}

func conditionMessage(status *helmchart.Status) string {
	if c := meta.FindStatusCondition(status.Conditions, helmchart.Ready); c != nil {
		return c.Message
	}
	return ""
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// shorten makes a message one line (Helm lists errors on several) and cuts it to what an event holds.
func shorten(message string) string {
	message = strings.Join(strings.Fields(message), " ")
	if len(message) <= messageBytes {
		return message
	}
	return strings.ToValidUTF8(message[:messageBytes-len("…")], "") + "…"
}
