// Package join is the server's side of [airgap/internal/site]: it lets machines join the cluster, renews their
// certificates, and lets them go.
//
// The [Handler] sits in front of the API server's own handlers, on its port, and so before its authentication,
// flow control and audit log. It has its own of each:
//
//   - Nothing but the cluster's authorities is given to somebody unknown. Who one is, the headers and the TLS connection say:
//     no body is read before that.
//   - A join is let in by a token, everything else by a certificate of the cluster's authority for a node. A wrong token closes
//     the door for its address for a second, then two, up to a minute; other addresses do not notice.
//   - Sizes, times and numbers of what runs at once are bounded, and a panic ends the request it came from.
//   - Each join, renewal and leave is a line in the server's log, as are wrong tokens, at most one line in five seconds.
//     No secret is ever in one.
//
// # Names
//
// The name of a node belongs to the machine that joined under it first. The Secret <node>.node-password.airgap in kube-system has
// a salted hash of the password which that machine made, and who joins under the name later must know it. Deleting the
// Node deletes the Secret and so frees the name; a certificate for that name is renewed no more.
//
// A join that has not led to a Node yet keeps its name for a day ([Grace]).
package join
