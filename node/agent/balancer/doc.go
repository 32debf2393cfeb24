// Package balancer is how the processes of a machine reach the API server, whichever server of the cluster answers: a TCP
// load balancer on loopback. It looks into nothing; TLS goes through it from the client to the server, whose certificate names
// the loopback address too.
//
//	kubelet, kube-proxy … ──► 127.0.0.1:6444 ──► server A   preferred as long as it is well
//	                                       └──► server B   the next
//
// # Which servers
//
// Those that the cluster itself names ([Balancer.Learn]) and, after them, those that the machine was told when it joined. What was
// learned is remembered in a file, so that a machine that starts again finds a server although the one it joined by is gone.
//
// # Which of them are well
//
// A server is well until it is found otherwise, by a client's connection or by a check, which connects and hangs up. Who refuses a
// connection, or is out of reach by what the kernel says, is given up at once; who says nothing, when a second check got no answer either.
//
// Connections through a server that does not answer are cut, for no packet will ever tell their ends: the clients connect again,
// to another server. Connections through one that refuses new ones are left alone: its kernel is there to end them, and it may be a server that
// is finishing what it began.
//
// While no server is well, clients are turned away at once rather than kept waiting, and servers are tried often.
package balancer
