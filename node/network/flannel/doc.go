// Package flannel runs the pods' network in the agent's process, with Flannel's own backends
// (github.com/flannel-io/flannel/pkg/backend: vxlan, host-gw, wireguard).
//
// Each node's share of the cluster's network comes from the controller manager, in the Node
// object. [Run] waits for it, lets the backend make its interface, tells the other nodes how to reach
// this one in annotations of the Node (Flannel's own, flannel.alpha.coreos.com/*), sets up address
// translation, and writes the CNI configuration. From then on pods' sandboxes can be made: a bridge, cni0,
// joins the pods of the node. Then it follows the other nodes and keeps the rules in place.
//
// What Flannel does besides the backends is done here, to fit: its subnet manager polls by the second
// and takes its node's name from the environment; its rules for nf_tables are written once, and lost
// when someone flushes them. See docs/decisions/0010.
package flannel
