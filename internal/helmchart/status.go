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

// Drifted is a condition beside those two, there while the release is deployed and has been looked at: True
// when objects of it are not as the release says; the message names them, and what was or was not done.
const Drifted = "Drifted"

// DriftAnnotation on a HelmChart says what to do about objects of its release that someone has changed or
// deleted. Setting it, to whatever value, also makes the controller look now. On an object of the release itself,
// [DriftIgnore] exempts the object.
const DriftAnnotation = "airgap.internal/drift"

// Values of [DriftAnnotation].
const (
	DriftRestore = "restore" // the default: make deleted objects again, report changed ones
	DriftCorrect = "correct" // make deleted objects again, and changed ones as the release says
	DriftWarn    = "warn"    // report
	DriftIgnore  = "ignore"  // do not look
)

// Reasons of the condition Drifted.
const (
	ReasonInSync      = "InSync"
	ReasonDrift       = "ObjectsDiffer"
	ReasonUnknownMode = "UnknownMode" // of [DriftAnnotation]; the status is Unknown
)

// Reasons of the other conditions.
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

// IsDrifted says whether objects of the release are known not to be as it says, and which.
func (s *Status) IsDrifted() (message string, drifted bool) {
	c := meta.FindStatusCondition(s.Conditions, Drifted)
	if c == nil || c.Status != metav1.ConditionTrue {
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
