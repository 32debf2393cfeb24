package config

import (
	"syscall"
	"time"
)

// Defaults that are not zero.
const (
	DefaultDataDir         = "/var/lib/airgap"
	DefaultConfigFile      = "/etc/airgap/config.yaml"
	DefaultKubeconfig      = "/etc/airgap/airgap.yaml" // admin's kubeconfig, 0600
	DefaultPrivateRegistry = "/etc/airgap/registries.yaml"
	DefaultHTTPSListenPort = 6443
	DefaultClusterCIDR     = "10.42.0.0/16"
	DefaultServiceCIDR     = "10.43.0.0/16"
	DefaultClusterDomain   = "cluster.local"
	DefaultNodePorts       = "30000-32767"
	DefaultLBServerPort    = 6444
	DefaultPeerPort        = 6446
	DefaultRegistryCopies  = 2

	DefaultShutdownGracePeriod = time.Minute
	MaxShutdownGracePeriod     = 10 * time.Minute
)

// Agent is the half of a node that runs pods: containerd, kubelet, kube-proxy, network.
type Agent struct {
	DataDir    string // root of everything the node keeps; absolute
	NodeName   string // lower-case DNS name; empty: the host's name
	NodeIP     string // address other nodes reach this one by, two for dual stack; empty: found at start
	NodeLabels []string
	NodeTaints []string
	ResolvConf string // kubelet's --resolv-conf; empty: a usable one is found, or an empty one made

	// Ports of the node's own listeners; all but the kubelet's and the peers' on loopback. A second node on
	// the same network namespace needs others.
	KubeletPort       int // 10250
	KubeletHealthPort int // 10248
	ProxyHealthPort   int // 10256
	ProxyMetricsPort  int // 10249
	RegistryPort      int // 6445; the image mirror
	LBServerPort      int // 6444; the API server, whichever answers, on a machine that has none itself
	PeerPort          int // 6446; what this node has for its peers, on all addresses

	// Images that the node does not hold.
	PrivateRegistry                string // registries.yaml; empty: per DataDir, see Paths
	SystemDefaultRegistry          string // "host[:port][/path]" that has the system images; empty: bundles alone have them
	DisableDefaultRegistryEndpoint bool   // where registries.yaml has a mirror, do not ask the registry itself

	RegistryCopies int // nodes that keep an image that was pushed; the same on all nodes of a cluster

	FlannelBackend    string // FlannelVXLAN…
	FlannelIface      string // interface to other nodes; empty: the one with NodeIP
	FlannelConf       string // Flannel's own configuration file (net-conf.json) to use instead of what the fields say
	FlannelCNIConf    string // CNI configuration list to use instead of the packaged one
	FlannelIPv6Masq   bool   // hide pods' IPv6 addresses behind the node's, as is done with IPv4
	FlannelExternalIP bool   // nodes reach each other by NodeExternalIP
	NodeExternalIP    string // address by which the world reaches this node, two for dual stack

	Snapshotter   string   // containerd's: "overlayfs"
	PauseImage    string   // empty: the packaged one
	KubeletArgs   []string // "key=value", given to the kubelet last
	KubeProxyArgs []string
	Debug         bool // log at DebugVerbosity
	EnablePprof   bool // serve Go's profiles on unix sockets in Paths.Run

	DisableNetworkPolicy bool // enforce no NetworkPolicies

	ShutdownGracePeriod time.Duration // for all pods together to end at the machine's shutdown; 0: they are not stopped in order

	ProtectKernelDefaults bool     // refuse to start rather than change the kernel's settings
	Profiles              []string // sets of settings, see Profile…

	// What an agent must know of its cluster. A server fills it in for its own agent.
	ServerURL     string // https://host:port
	ClusterCIDR   string // comma-separated for dual stack
	ServiceCIDR   string
	ClusterDNS    string // empty: the tenth address of each service network
	ClusterDomain string
}

// Server is a node with a control plane.
type Server struct {
	Agent

	BindAddress      string // listener of the API server; empty: all
	AdvertiseAddress string // empty: NodeIP
	HTTPSListenPort  int
	TLSSANs          []string
	Announce         bool   // --announce: let machines of the LAN find this server
	NodePorts        string // --service-node-port-range

	Kubeconfig     string // where the admin's kubeconfig is written; empty: per DataDir, see Paths
	KubeconfigMode string // octal, "0600"

	Tokens // what other machines join with; never handed to the agent

	SecretsEncryption bool // of a new datastore; later `airgap secrets-encrypt` changes it

	DatastoreEndpoint string // as ParseDatastore; empty: SQLite under DataDir
	DatastoreCAFile   string // PEM files for TLS to the datastore
	DatastoreCertFile string
	DatastoreKeyFile  string

	Snapshots Snapshots // of SQLite

	Disable          []string // packaged components to leave out
	IngressKinds     []string // what the packaged ingress controller serves beside Ingresses, Ingress…; empty: per profile, see ServesKinds
	DisableHelm      bool     // --disable-helm-controller: HelmCharts are left to another controller
	LocalStoragePath string   // --default-local-storage-path: folder of the StorageClass local-path; empty: per DataDir, see Paths
	DisableAgent     bool     // control plane only

	APIServerArgs         []string
	SchedulerArgs         []string
	ControllerManagerArgs []string
}

// NewServer returns a Server with every default set that does not depend on the host.
func NewServer() *Server {
	return &Server{
		Agent:           *NewAgent(),
		HTTPSListenPort: DefaultHTTPSListenPort,
		NodePorts:       DefaultNodePorts,
		KubeconfigMode:  "0600",

		SecretsEncryption: true,
		Snapshots:         Snapshots{Cron: DefaultSnapshotCron, Retention: DefaultSnapshotRetention, Name: DefaultSnapshotName},
	}
}

// NewAgent returns an Agent with every default set that does not depend on the host.
func NewAgent() *Agent {
	return &Agent{
		DataDir:           DefaultDataDir,
		KubeletPort:       10250,
		KubeletHealthPort: 10248,
		ProxyHealthPort:   10256,
		ProxyMetricsPort:  10249,
		RegistryPort:      6445,
		LBServerPort:      DefaultLBServerPort,
		PeerPort:          DefaultPeerPort,
		RegistryCopies:    DefaultRegistryCopies,
		FlannelBackend:    FlannelVXLAN,
		Snapshotter:       "overlayfs",

		ShutdownGracePeriod: DefaultShutdownGracePeriod,
		ClusterCIDR:         DefaultClusterCIDR,
		ServiceCIDR:         DefaultServiceCIDR,
		ClusterDomain:       DefaultClusterDomain,
	}
}

// CipherSuites of every listener, for TLS 1.2: those with forward secrecy and authenticated encryption. TLS 1.3
// has no others.
var CipherSuites = []string{
	"TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
	"TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
	"TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
	"TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
	"TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
	"TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
}

// RouteProtocol marks the routes that a node adds to the kernel's table, so that they are
// known as its own when it is removed. It is one of the numbers that no routing daemon has
// (linux/rtnetlink.h, /etc/iproute2/rt_protos).
const RouteProtocol = 97

// PolicyTable is the nf_tables table, of family inet, in which a node enforces NetworkPolicies.
const PolicyTable = "airgap-policy"

// DebugVerbosity is klog's level of detail with --debug.
const DebugVerbosity = 4

// StopTimeout bounds an orderly stop of all processes of a node; what still runs
// then is killed.
const StopTimeout = 8 * time.Second

// WatchdogTimeout is how long a node may show no sign of life before its service manager starts it again. It is long:
// a machine that is slow, or swaps, is not helped by that.
const WatchdogTimeout = 10 * time.Minute

// RestartSignal makes a server end in order, and with an error, so that whoever looks after it starts it again:
// what is asked to end by SIGTERM stays ended. It is not SIGHUP, which a terminal sends too.
const RestartSignal = syscall.SIGUSR1
