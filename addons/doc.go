// Package addons keeps a cluster's packaged components applied.
//
// [CoreDNS] makes the manifest of the one component that every cluster has. A [Deployer]
// follows a folder of manifests and makes the cluster agree with it: what a file says is
// applied, what a changed or removed file no longer says is deleted. Charts are HelmChart objects
// like any other here; package addons/helm installs them.
//
// # What the deployer promises
//
// Every object that the deployer has made and not yet removed is listed in a record, a ConfigMap
// in kube-system named airgap-addon-<file>. The record is written before the objects are, so
// that it holds even if the process is killed between any two requests. Only objects which are in a record, and which
// still carry the annotation of that file, are ever deleted.
//
// A file that cannot be read or parsed, or of which an object is refused, deletes nothing.
// A folder that cannot be read, or is not there, is no reason to delete anything either.
package addons
