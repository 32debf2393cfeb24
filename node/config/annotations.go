package config

// Annotations of a Node, each written by that node itself.
const (
	PeerPortAnnotation = "airgap.internal/peer-port" // where it serves its peers
	VersionAnnotation  = "airgap.internal/version"   // airgap's
	BundlesAnnotation  = "airgap.internal/bundles"   // "name=version@sha256:…", with commas between
)
