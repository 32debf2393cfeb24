// Package crictl looks into a node's container runtime through the CRI, as the tool of that name does, which
// comes in no module that could be linked: the same verbs, flags, columns and JSON, on Kubernetes' own client
// (k8s.io/cri-client). It works while the API server or the kubelet do not, which is when it is needed.
//
// Every method of [Client] prints to the client's streams. Flags are in cmd/airgap.
package crictl
