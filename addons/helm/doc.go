// Package helm keeps the charts that HelmChart objects name installed (helm.cattle.io/v1, package
// internal/helmchart). It does in this process, with the Helm SDK, what K3s does with a job
// and an image for each install.
//
// # How a chart comes to be a release
//
// A [Controller] watches HelmChart and HelmChartConfig objects. Everything that makes a
// release (chart, merged values, target) has one hash, kept in the HelmChart's status; a chart whose
// hash is the one last attempted is left alone. Otherwise:
//
//	nothing there            install
//	an earlier revision      upgrade
//	an install that failed   uninstall, install        (failurePolicy abort: upgrade it in place)
//	work cut off half-way    mark that revision failed, then as above
//	another client at work   wait for it, at most as long as the timeout
//
// Helm is not made to wait for the workloads: a release counts as deployed once it is
// applied, so that a power cut in the minutes that pods take to start leaves nothing pending.
// The controller then looks at the workloads itself until they are ready, without holding a
// worker meanwhile, and only then sets the condition Ready.
//
// A failed upgrade, or one whose workloads are not ready in time, is rolled back to the last revision
// that was ready, and tried again twice; then it rests until the HelmChart changes. A first install that is
// slow is not a failure of the install: it is left running and its condition becomes Ready whenever it is.
//
// # Drift
//
// Every ten minutes or so, and soon after a start, the objects of a deployed release are compared with its
// manifest by Helm's own three-way patch; nothing is watched. Deleted objects are made again, and changed ones
// reported, unless the annotation [helmchart.DriftAnnotation] says otherwise. docs/decisions has the reasons.
//
// # The end
//
// Deleting a HelmChart uninstalls the release first (a finalizer sees to it).
package helm
