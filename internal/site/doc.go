// Package site is what the machines of one site say to each other beside Kubernetes: how a machine
// joins a cluster, what a node asks its server for, and who has which bytes of a bundle.
//
// # Where it is said
//
// A server answers on the API server's own address and port, so that one URL is all a joiner needs:
//
//	GET  /cacerts                  the cluster's authorities, PEM; for everybody
//	POST /v1-airgap/join           [JoinRequest] → [JoinResponse]; with a token
//	POST /v1-airgap/renew          [RenewRequest] → [Issued]; with a node's certificate
//	POST /v1-airgap/exchange       [ExchangeRequest] → [ExchangeResponse]; with a node's certificate
//	POST /v1-airgap/leave          [LeaveRequest] → [LeaveResponse]; with a node's certificate
//
// A token is shown by HTTP's Basic authentication, its user and its secret.
//
// Every node, and every machine that is being installed as one, answers its peers on a port of its own
// ([DefaultPeerPort]), with its kubelet's serving certificate, and lets in those who show a node's:
//
//	GET  /v1-airgap/bundles                    the bundles that it holds whole, [BundleList]
//	GET  /v1-airgap/bundles/<digest>/<path>    the manifest and signatures of one, under their names in the bundle
//	GET  /v1-airgap/blobs/<digest>             any blob, of a bundle or of an image; ranges are honoured
//	GET  /v2/…                                 the OCI distribution API
//
// A refusal is an [Error] as JSON, with a status that says whose fault it is.
//
// # Who trusts whom
//
// Before it sends anything a joiner fetches /cacerts over a connection that nothing vouches for yet, and compares
// the SHA-256 of what it got with the one in its token ([Token]). From then on it talks to holders of certificates by
// those authorities alone. The private keys of its own certificates never leave it: it sends the public ones, and the server
// decides which name goes with each.
//
// The server and the peers are asked, not trusted, for what is in a bundle: its signature is verified by the joiner's own
// trust store, and each blob is held against what was signed. What they can do is to give nothing.
//
// # Names
//
// The first machine that joins under a node's name sends a password of its own making, and whoever joins under that name
// later must know it ([Credentials.Password]): a token alone does not make one machine into another, and neither does the certificate of
// a machine that had the name before. Deleting the Node is the deliberate
// act that frees its name.
package site
