// Package servicelb gives services of type LoadBalancer the addresses of nodes.
//
// It runs no pods and moves no packets. A service's ports on an address in its
// status.loadBalancer.ingress (ipMode VIP) are translated by kube-proxy on every node: for packets
// from other machines, from pods and from the node itself, whether or not the address is the node's own.
// With externalTrafficPolicy Local the client's address is kept; loadBalancerSourceRanges,
// healthCheckNodePort and sessionAffinity are kube-proxy's too, and node ports are not needed
// (allocateLoadBalancerNodePorts: false works). What is left to do, and is done here, is to
// decide which addresses.
//
// # Which services
//
// Those of type LoadBalancer without a loadBalancerClass, or with [Class].
//
// # Which nodes
//
// Nodes that are Ready and lack the label node.kubernetes.io/exclude-from-external-load-balancers.
// The labels are K3s': as soon as one node has [EnableLabel], only nodes where it is "true" serve;
// among these, a service with [PoolLabel] gets those that have it with the same value. With
// externalTrafficPolicy Local a node must run a ready endpoint of the service.
//
// # Which addresses
//
// A node's ExternalIP, or its InternalIP if it has none, of each of the service's ipFamilies, in
// their order. spec.loadBalancerIP asks for one of these; a service that asks for another gets none.
//
// # Whose port it is
//
// A port of an address has one holder. Kube-proxy translates before a socket sees the packet, so a
// service that were given a port in use would hide who uses it, be it sshd or the API server:
//
//   - The node's own ports (the API server's, the kubelet's) are never given away.
//   - A service keeps what it has, as its status says, across restarts.
//   - Else the port must be free: no other service's, no other service's node port, no host port of a pod that is
//     not the service's own, no listening TCP or UDP socket on the server's machine.
//     Of several services that wait for a port the oldest gets it.
//
// An address is given for all ports of a service or for none. Who lacks an address because of a port has the
// condition LoadBalancerPortsError, which names the port and its holder, and an event; it gets
// the address when the port becomes free.
//
// What listens on the machines of other nodes is not known here: there, host ports of pods
// count, and sshd's port is left alone.
package servicelb
