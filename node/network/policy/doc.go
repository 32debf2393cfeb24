// Package policy enforces Kubernetes' NetworkPolicy (networking.k8s.io/v1) on one node, with
// one nftables table of family inet.
//
// # What is enforced, and where
//
// A packet passes when both ends allow it: the egress rules of the pod it was sent by and the ingress
// rules of the pod it is for, each on that pod's own node. The rules see pods' own addresses, since kube-proxy
// translates services before the forward hook. What they ask about is the connection
// (conntrack's tuple), not the packet, so that a reply is judged by the connection it belongs to; and they
// ask for every packet, so that a connection that a change forbids stops at its next packet, in either
// direction, and nothing must be searched for and ended.
//
//   - From the pod's own node (the kubelet's probes): always allowed; those packets pass the output
//     hook, where this table has no chain.
//   - To the pod's own node: its egress rules decide, in the input hook.
//   - From a pod to itself, by a service: always allowed.
//   - Pods of the host's network are the host: no policy isolates them, no selector finds them.
//   - Neighbour discovery and ICMP errors about an allowed connection: always allowed.
//   - Broadcast and multicast between pods of the node's bridge, and IPv6's link-local addresses on it: dropped while
//     a pod of this node is isolated, since no policy can be about them.
//
// # The table
//
//	chain forward-egress   hook forward   jump from-pod
//	chain input-egress     hook input     jump from-pod
//	chain from-pod         ct original saddr vmap @egress-ip4    one element per isolated pod address
//	chain forward-ingress  hook forward   ct reply saddr vmap @ingress-ip4
//	chain ingress-set-H    jump ingress-P; jump ingress-Q; goto deny     one per set of policies that select some pod
//	chain ingress-P        one policy: ct original saddr @pods-H-ip4 jump ports-H, …; one per policy and direction
//	chain ports-H          a rule's ports: … accept                      shared by all rules with the same
//	set   pods-H-ip4       addresses of the pods that a peer's selectors match; shared likewise
//	set   blocks-H-ip4     addresses of a rule's ipBlocks without their exceptions
//	set   port-H-ip4       address . protocol . port of all pods that have a named port
//	chain deny             accept a pod's traffic with itself, count and drop the rest
//
// So a pod that comes or goes changes elements of maps and sets; a policy that changes changes its own
// chain. All changes that are waiting go to the kernel in one transaction. What is in the table outlives
// this process; at its next start one transaction replaces all of it.
//
// # Before a pod's first packet
//
// The last plugin of the pod network's CNI configuration (cmd/airgap-policy) tells the agent of each new
// pod and its addresses, and waits until the pod's rules are in the kernel ([Controller.Admit]); only then are
// the pod's containers started.
package policy
