package controlplane

import "strings"

// What the profile edge leaves out of the control plane, so that it fits a small machine: parts
// that cost memory or wake-ups at rest and that a site of a few small machines does without. The
// API of each part is off too, so that whoever uses it is told at once instead of
// waiting for something that nobody does. What each saves is in docs/decisions/0018 and 0036.

// edgeControllers are left out of the controller manager.
var edgeControllers = []string{
	// Types of admission policies in CEL: it holds the definitions of the whole API.
	"validatingadmissionpolicy-status-controller",
	// Rewrites stored objects for new versions of an API, at the wish of a StorageVersionMigration.
	"storage-version-migrator-controller",
	// Only for clusters older than Kubernetes 1.24, which had a Secret for each service account.
	"legacy-serviceaccount-token-cleaner-controller",
	// Only for CSI drivers that can change a volume's class.
	"volumeattributesclass-protection-controller",
}

// edgeAPIs are switched off in the API server.
var edgeAPIs = []string{
	"storagemigration.k8s.io/v1=false",
	"admissionregistration.k8s.io/v1/validatingadmissionpolicies=false",
	"admissionregistration.k8s.io/v1/validatingadmissionpolicybindings=false",
	"admissionregistration.k8s.io/v1/mutatingadmissionpolicies=false",
	"admissionregistration.k8s.io/v1/mutatingadmissionpolicybindings=false",
}

// edgeFeatures are switched off: each is a goroutine or several for every kind, to serve large clusters.
var edgeFeatures = []string{
	"ConcurrentWatchObjectDecode=false", // decode the events of one watch on several processors
	"DetectCacheInconsistency=false",    // compare the watch caches with the datastore every five minutes
	"SizeBasedListCostEstimate=false",   // weigh requests for lists by the objects' size, not by their number
}

// edgeAPIServerArgs are flags of the API server. Admission by webhooks stays.
func edgeAPIServerArgs() []string {
	return []string{
		"--runtime-config=" + strings.Join(edgeAPIs, ","),
		"--disable-admission-plugins=ValidatingAdmissionPolicy,MutatingAdmissionPolicy",
		"--feature-gates=" + strings.Join(edgeFeatures, ","),
	}
}

// edgeControllerArgs are flags of the controller manager. Few workers suffice for few objects, and
// each is a goroutine with a stack of its own.
func edgeControllerArgs() []string {
	args := []string{"--controllers=-" + strings.Join(edgeControllers, ",-")}
	for _, workers := range []string{
		"cron-job", "daemonset", "deployment", "device-taint-eviction", "disruption", "endpoint", "service-endpoint", "ephemeralvolume", "gc", "horizontal-pod-autoscaler",
		"job", "namespace", "replicaset", "resourceclaim", "resource-quota", "serviceaccount-token", "statefulset", "ttl-after-finished",
	} {
		args = append(args, "--concurrent-"+workers+"-syncs=2")
	}
	return args
}
