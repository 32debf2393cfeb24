// Package pki makes a server's credentials and keeps them good: certificate authorities,
// certificates, kubeconfigs, and the key that signs service account tokens.
//
//	server/tls/ca.{crt,key}               signs every certificate but one
//	server/tls/ca-bundle.crt              what all of the cluster trusts: ca.crt, and during a rotation the other one too
//	server/tls/front-proxy-ca.{crt,key}   signs what the API server shows to extension API servers
//	server/tls/<name>.{crt,key}           the control plane's certificates
//	server/cred/<component>.kubeconfig    name these files, so that client-go reads them anew
//	agent/pki/                            those of the agent beside the server
//	/etc/airgap/airgap.yaml               the administrator's kubeconfig, complete in itself
//
// A certificate is made anew when a third of its life is left, names too little, was signed
// by another authority, or is not valid yet (a clock that went back). [Issuer.Prepare] does so at a
// start and [Issuer.Keep] every hour while the server runs. What serves or uses a certificate takes the new one from its file within
// minutes: the API server and the kubelet watch theirs, client-go looks every five
// minutes. So a node that nobody restarts does not expire.
//
// The authorities are never replaced by themselves: a damaged one is an error.
// [Rotation] replaces them in three stages that each survive a power cut.
package pki
