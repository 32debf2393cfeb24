package site

import "time"

// Paths of the API; see the package comment.
const (
	PathAuthorities = "/cacerts"
	PathAPI         = "/v1-airgap/" // prefix of the others
	PathJoin        = "/v1-airgap/join"
	PathRenew       = "/v1-airgap/renew"
	PathExchange    = "/v1-airgap/exchange"
	PathLeave       = "/v1-airgap/leave"
	PathBundles     = "/v1-airgap/bundles"
	PathBlobs       = "/v1-airgap/blobs/" // and a digest
)

// Ports of a node beside its kubelet's.
const (
	DefaultLBPort   = 6444 // loopback: the API server, whichever answers; K3s' --lb-server-port
	DefaultPeerPort = 6446 // all addresses: what a node gives its peers
)

// MaxMessageBytes bounds every message of this package, in both directions.
const MaxMessageBytes = 4 << 20

// JoinRequest is a machine that wants to be a node.
type JoinRequest struct {
	NodeName  string   `json:"nodeName"`
	Password  string   `json:"password"`  // of the node's name, 32 hex digits or more
	Addresses []string `json:"addresses"` // of the node, IP addresses; they go into its serving certificate
	PeerPort  int      `json:"peerPort"`  // where it serves its peers

	Airgap     string `json:"airgap"`     // version of the executable
	Kubernetes string `json:"kubernetes"` // "v1.37.1+airgap1"
	Platform   string `json:"platform"`   // "linux/amd64"

	// What tells a clone, each hashed so that it says nothing else; empty if the machine has none.
	MachineID string `json:"machineID,omitempty"`
	HostKeys  string `json:"hostKeys,omitempty"`

	PublicKeys PublicKeys `json:"publicKeys"`

	// Check asks whether a join would be refused, and for its warnings; nothing is issued or kept.
	Check bool `json:"check,omitempty"`
}

// PublicKeys are those that a node wants certificates for: PKIX, PEM.
type PublicKeys struct {
	Kubelet       string `json:"kubelet"`        // client: system:node:<name>
	Serving       string `json:"kubeletServing"` // server: the kubelet's and the peers' listener
	Proxy         string `json:"kubeProxy"`      // client: system:kube-proxy
	NetworkPolicy string `json:"networkPolicy"`  // client: airgap:network-policy
}

// JoinResponse is what a node needs to know to run.
type JoinResponse struct {
	Issued
	Cluster  Cluster  `json:"cluster"`
	Warnings []string `json:"warnings,omitempty"` // for the person who installs: a clone, for one
}

// RenewRequest is a node that wants new certificates, mostly for its old keys. Without a key it asks for the authorities
// alone, and whether it still is a node.
type RenewRequest struct {
	Password   string     `json:"password"` // of the node's name: the certificate alone may be that of a machine that had it before
	Addresses  []string   `json:"addresses"`
	PublicKeys PublicKeys `json:"publicKeys"` // an empty one: none
}

// RenewResponse answers a RenewRequest.
type RenewResponse struct {
	Issued
	Peers []string `json:"peers,omitempty"` // as in Cluster, as they are now; none from a server that is older than this field
}

// LeaveRequest is a node that wants to be none any more.
type LeaveRequest struct {
	Password string `json:"password"`        // of the node's name
	Force    bool   `json:"force,omitempty"` // go at once, though pods are left
}

// LeaveResponse says whether the node is gone.
type LeaveResponse struct {
	Left    bool     `json:"left"`
	Waiting []string `json:"waiting,omitempty"` // pods that are left, "namespace/name: why": ask again
}

// Issued are a node's certificates, PEM, in the places of [PublicKeys], and the authorities to know others by.
type Issued struct {
	Authorities   string `json:"authorities"`
	Kubelet       string `json:"kubelet,omitempty"`
	Serving       string `json:"kubeletServing,omitempty"`
	Proxy         string `json:"kubeProxy,omitempty"`
	NetworkPolicy string `json:"networkPolicy,omitempty"`
}

// Cluster is what every node of a cluster has to agree on. Fields are those of node/config.Agent, by their flags.
type Cluster struct {
	Servers []string `json:"servers"` // "https://address:port", reachable by other machines; at least one
	Peers   []string `json:"peers"`   // "address:port" of nodes that hold the cluster's bundles; the servers' first

	ClusterCIDR          string `json:"clusterCIDR"`
	ServiceCIDR          string `json:"serviceCIDR"`
	ClusterDNS           string `json:"clusterDNS"`
	ClusterDomain        string `json:"clusterDomain"`
	FlannelBackend       string `json:"flannelBackend"`
	FlannelIPv6Masq      bool   `json:"flannelIPv6Masq,omitempty"`
	FlannelExternalIP    bool   `json:"flannelExternalIP,omitempty"`
	DisableNetworkPolicy bool   `json:"disableNetworkPolicy,omitempty"`
	RegistryCopies       int    `json:"registryCopies,omitempty"`

	Airgap     string `json:"airgap"` // the server's version
	Kubernetes string `json:"kubernetes"`
}

// BundleList is what a node holds of bundles, whole.
type BundleList struct {
	Bundles []Bundle `json:"bundles"`
}

// Bundle is one installed bundle.
type Bundle struct {
	Name     string   `json:"name"`
	Version  string   `json:"version"`
	Digest   string   `json:"digest"` // of its manifest: "sha256:…"
	Files    []string `json:"files"`  // the manifest's name and those of its signatures, in the order of the bundle
	Order    int      `json:"order"`  // of installation; the one with the distribution is the first
	Platform []string `json:"platforms"`
}

// Blob is one blob that a machine wants: of a bundle, or of an image.
type Blob struct {
	Digest string `json:"digest"` // "sha256:…"
	Size   int64  `json:"size"`   // bytes
}

// ExchangeRequest tells the server what a machine has got of what it joins for, and asks where to get the rest.
type ExchangeRequest struct {
	Address string   `json:"address"`          // "address:port" where it serves what it has
	Have    []string `json:"have,omitempty"`   // digests that are new since the last exchange; whole and verified
	Failed  []Take   `json:"failed,omitempty"` // what could not be taken, and from whom
	Done    []Take   `json:"done,omitempty"`   // what was taken, and from whom
	Want    []string `json:"want,omitempty"`   // digests that are missing and not being taken
	Slots   int      `json:"slots"`            // how many more it can take at once; 0: none
}

// ExchangeResponse says what to take now, and when to ask again if that is nothing.
type ExchangeResponse struct {
	Take   []Take        `json:"take,omitempty"`
	Wait   time.Duration `json:"wait,omitempty"`   // nanoseconds
	Forgot bool          `json:"forgot,omitempty"` // the server knew nothing of this machine: tell it again of all that it has
}

// Take is one blob to take from one peer.
type Take struct {
	Digest string `json:"digest"`
	From   string `json:"from"`          // "address:port"
	Why    string `json:"why,omitempty"` // it failed: one of the Why constants
}

// Why a blob could not be taken from a peer.
const (
	WhyBytes  = "bytes"  // it gave other bytes than those of the digest, all of them
	WhyAbsent = "absent" // it does not have the blob
	WhyBusy   = "busy"   // it gives to enough others
	WhyBroken = "broken" // it could not be reached, or stopped in the middle
)

// Error is a refusal.
type Error struct {
	Status  int    `json:"-"`       // HTTP status
	Code    string `json:"code"`    // one of the Code constants; empty for an answer that is not of this protocol
	Message string `json:"message"` // what, why, and what to do
}

// Codes of refusals that a joiner decides on.
const (
	CodeToken   = "token"   // unknown, ended, or not for this
	CodeName    = "name"    // the node's name belongs to another machine
	CodeVersion = "version" // Kubernetes' versions do not go together
	CodeRequest = "request" // the request makes no sense
	CodeBusy    = "busy"    // ask again later
	CodeServer  = "server"  // the server failed
)

func (e *Error) Error() string { return e.Message }
