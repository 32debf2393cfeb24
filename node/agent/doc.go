// Package agent runs the half of a node that runs pods: containerd as a child process,
// and in this process the kubelet, kube-proxy and the pod network.
//
// It starts containerd first, and the kubelet when both the CRI and the API server
// answer. A killed containerd is started again; a kubelet or kube-proxy that fails
// ends this process, and its parent starts it again. Pods live on in all these cases:
// they hang on containerd's shims, not on any process of this node.
package agent
