// Package token keeps what lets machines join a cluster, and decides whether a token shown by one
// does: the shared secrets of the cluster in files, and short-lived ones in the cluster itself.
// [airgap/internal/site.Token] says how a token is written.
package token
