// Package discovery finds a cluster's server on the LAN without its address being typed: DNS-based service discovery
// (RFC 6763) over multicast DNS (RFC 6762). Both sides have to want it: a server that does not announce itself is not
// found, and who is given an address does not ask.
//
// A server answers for the service _airgap._tcp.local with an instance named after its node, and these texts:
//
//	txtvers=1
//	url=https://10.0.0.1:6443
//	ca=<SHA-256 of the cluster's authorities, 64 hex digits, as in its tokens>
//
// What comes back is a hint: anybody on the LAN can answer. A joiner takes the server whose hash is that of its token, and
// the token, the cluster's authorities and the bundle's signature decide then as if the address had been typed.
//
// Questions are one-shot (RFC 6762 section 5.1): they come from a port of their own, and the answers go there alone. They
// are asked on each interface, for a machine in an air gap often has no default route that would tell one.
package discovery
