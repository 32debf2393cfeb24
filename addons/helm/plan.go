package helm

import (
	"time"

	"helm.sh/helm/v3/pkg/release"

	"airgap/internal/helmchart"
)

// A step is what to do to bring a release to what its HelmChart says.
type step string

const (
	stepInstall   step = "install"
	stepUpgrade   step = "upgrade"
	stepReinstall step = "reinstall" // uninstall, then install
	stepWait      step = "wait"      // another Helm client works on the release
)

// standing is how a release stands before the step.
type standing struct {
	status       release.Status // of the newest revision; "" if there is none
	everDeployed bool           // some revision was applied in full
	ours         bool           // the controller itself began the work that is pending
	age          time.Duration  // since that work began
}

// plan decides on the step, and whether the newest revision is to be marked as failed before it: Helm refuses to
// touch a release that someone seems to be working on.
func plan(s standing, policy helmchart.FailurePolicy, timeout time.Duration) (next step, abandon bool) {
	switch s.status {
	case "":
		return stepInstall, false
	case release.StatusUninstalling, release.StatusUninstalled:
		return stepReinstall, false
	}
	if s.status.IsPending() {
		// The clock may have been set back meanwhile: then the age is negative, and tells nothing.
		if !s.ours && s.age < timeout && s.age > -timeout {
			return stepWait, false
		}
		abandon = true
	}
	failed := abandon || s.status == release.StatusFailed
	if failed && !s.everDeployed && !policy.Holds() {
		return stepReinstall, abandon
	}
	return stepUpgrade, abandon
}

// maxUpgradeAttempts is how often an upgrade is tried that is rolled back each time: what
// runs meanwhile works, and is restarted by every attempt.
const maxUpgradeAttempts = 3

// retryAfter returns when to try again after a number of failures in a row, 1 or more; false for never.
func retryAfter(failures int, upgrade bool, policy helmchart.FailurePolicy) (time.Duration, bool) {
	if policy.Holds() || upgrade && failures >= maxUpgradeAttempts {
		return 0, false
	}
	first, last := 5*time.Second, 5*time.Minute
	if upgrade {
		first = 30 * time.Second
	}
	return min(first<<min(failures-1, 10), last), true
}
