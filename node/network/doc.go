// Package network prepares the host's network for a node. The network of the pods is package
// [airgap/node/network/flannel].
package network
