package helmchart

import (
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Status is what became of a HelmChart. Every field is always written, so that a patch also clears.
type Status struct {
	ObservedGeneration int64              `json:"observedGeneration"` // the spec that the conditions speak of
	Conditions         []metav1.Condition `json:"conditions"`

	// The release as it was last applied; zero while there is none.
	Revision      int    `json:"revision"`
	ReadyRevision int    `json:"readyRevision"` // the last one whose workloads were ready
	Version       string `json:"version"`       // of the chart
	AppVersion    string `json:"appVersion"`

	// InputHash is the SHA-256 over everything that makes the release (chart, values, target), as
	// last attempted. Failures counts the attempts at it in a row that failed.
	InputHash string `json:"inputHash"`
	Failures  int    `json:"failures"`
}

// Condition types. Exactly one of them is True when the controller is at rest; neither, while
// it is at work or waits, within the timeout, for the release's workloads.
const (
	// Ready: the release is what the HelmChart says, and its workloads have become ready.
	Ready = "Ready"
	// Failed: the last install or upgrade failed; the message says how and what follows.
	Failed = "Failed"
)

// Reasons of the conditions.
const (
	ReasonInstalling    = "Installing"
	ReasonUpgrading     = "Upgrading"
	ReasonWaiting       = "WaitingForWorkloads" // applied; Ready follows when the workloads are
	ReasonNotReady      = "WorkloadsNotReady"   // the same, past the timeout
	ReasonDeployed      = "Deployed"
	ReasonInvalid       = "InvalidChart" // the chart or the values cannot be read; a change is needed
	ReasonInstallFailed = "InstallFailed"
	ReasonUpgradeFailed = "UpgradeFailed"
	ReasonRolledBack    = "RolledBack" // the upgrade failed, the revision before it is back
	ReasonBusy          = "OtherClientBusy"
	ReasonUninstalling  = "Uninstalling"
)

// IsReady says whether the status speaks of generation and says Ready.
func (s *Status) IsReady(generation int64) bool {
	return s.ObservedGeneration >= generation && meta.IsStatusConditionTrue(s.Conditions, Ready)
}

// IsFailed says whether the status speaks of generation and says Failed, and why.
func (s *Status) IsFailed(generation int64) (message string, failed bool) {
	c := meta.FindStatusCondition(s.Conditions, Failed)
	if s.ObservedGeneration < generation || c == nil || c.Status != metav1.ConditionTrue {
		return "", false
	}
	return c.Message, true
}

// Reason returns the reason of the Ready condition, which tells what the controller is at; "" before
// it has seen the HelmChart.
func (s *Status) Reason() string {
	if c := meta.FindStatusCondition(s.Conditions, Ready); c != nil {
		return c.Reason
	}
	return ""
}
