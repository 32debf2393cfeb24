package helm

import (
	"testing"
	"time"

	"helm.sh/helm/v3/pkg/release"

	"airgap/internal/helmchart"
)

func TestPlan(t *testing.T) {
	const timeout = 5 * time.Minute
	for name, test := range map[string]struct {
		standing
		policy  helmchart.FailurePolicy
		want    step
		abandon bool
	}{
		"nothing there":                      {standing{}, "", stepInstall, false},
		"deployed":                           {standing{status: release.StatusDeployed, everDeployed: true}, "", stepUpgrade, false},
		"failed upgrade":                     {standing{status: release.StatusFailed, everDeployed: true}, "", stepUpgrade, false},
		"failed install":                     {standing{status: release.StatusFailed}, "", stepReinstall, false},
		"failed install, abort":              {standing{status: release.StatusFailed}, helmchart.Abort, stepUpgrade, false},
		"install cut off":                    {standing{status: release.StatusPendingInstall, ours: true}, "", stepReinstall, true},
		"install cut off, abort":             {standing{status: release.StatusPendingInstall, ours: true}, helmchart.Abort, stepUpgrade, true},
		"upgrade cut off":                    {standing{status: release.StatusPendingUpgrade, everDeployed: true, ours: true}, "", stepUpgrade, true},
		"rollback cut off":                   {standing{status: release.StatusPendingRollback, everDeployed: true, ours: true}, "", stepUpgrade, true},
		"another client at work":             {standing{status: release.StatusPendingUpgrade, everDeployed: true, age: time.Minute}, "", stepWait, false},
		"another client gone":                {standing{status: release.StatusPendingUpgrade, everDeployed: true, age: 6 * time.Minute}, "", stepUpgrade, true},
		"another client, clock set back":     {standing{status: release.StatusPendingUpgrade, everDeployed: true, age: -time.Hour}, "", stepUpgrade, true},
		"another client gone during install": {standing{status: release.StatusPendingInstall, age: time.Hour}, "", stepReinstall, true},
		"uninstall cut off":                  {standing{status: release.StatusUninstalling, everDeployed: true}, "", stepReinstall, false},
		"uninstalled, history kept":          {standing{status: release.StatusUninstalled, everDeployed: true}, helmchart.Abort, stepReinstall, false},
		"superseded":                         {standing{status: release.StatusSuperseded, everDeployed: true}, "", stepUpgrade, false},
	} {
		t.Run(name, func(t *testing.T) {
			got, abandon := plan(test.standing, test.policy, timeout)
			if got != test.want || abandon != test.abandon {
				t.Errorf("%s, abandon %v; want %s, %v", got, abandon, test.want, test.abandon)
			}
		})
	}
}

func TestRetryAfter(t *testing.T) {
	for name, test := range map[string]struct {
		failures int
		upgrade  bool
		policy   helmchart.FailurePolicy
		want     time.Duration
		again    bool
	}{
		"first install":        {1, false, "", 5 * time.Second, true},
		"third install":        {3, false, "", 20 * time.Second, true},
		"hundredth install":    {100, false, "", 5 * time.Minute, true},
		"install, abort":       {1, false, helmchart.Abort, 0, false},
		"first upgrade":        {1, true, helmchart.Reinstall, 30 * time.Second, true},
		"second upgrade":       {2, true, "", time.Minute, true},
		"third upgrade":        {3, true, "", 0, false},
		"first upgrade, abort": {1, true, helmchart.Abort, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			if got, again := retryAfter(test.failures, test.upgrade, test.policy); got != test.want || again != test.again {
				t.Errorf("%v, %v; want %v, %v", got, again, test.want, test.again)
			}
		})
	}
}
