package config

import (
	"crypto/sha256"
	"encoding/hex"
	"path/filepath"
)

// Paths is where each thing of the node with one data folder lies. Everything durable is
// under the data folder; sockets and other state of the running node are under /run,
// so that a reboot clears them.
type Paths struct {
	DataDir string
	ID      string // names the node's cgroup and run folder: "airgap", or "airgap-<8 hex>" for a data folder other than the default
}

// PathsOf returns the paths of the node whose data folder is dataDir, absolute and clean.
func PathsOf(dataDir string) Paths {
	p := Paths{DataDir: filepath.Clean(dataDir), ID: "airgap"}
	if p.DataDir != DefaultDataDir {
		sum := sha256.Sum256([]byte(p.DataDir))
		p.ID = "airgap-" + hex.EncodeToString(sum[:4])
	}
	return p
}

func (p Paths) isDefault() bool { return p.DataDir == DefaultDataDir }

func (p Paths) join(elem ...string) string {
	return filepath.Join(append([]string{p.DataDir}, elem...)...)
}

// Run is the folder of sockets, pid files and other volatile state.
func (p Paths) Run() string { return filepath.Join("/run", p.ID) }

// ContainerdSocket is where containerd serves GRPC.
func (p Paths) ContainerdSocket() string { return filepath.Join(p.Run(), "containerd.sock") }

// ContainerdState is containerd's state folder.
func (p Paths) ContainerdState() string { return filepath.Join(p.Run(), "containerd") }

// ServerPID holds the process ID of the running `airgap server` (or `airgap agent` on an agent).
func (p Paths) ServerPID() string { return filepath.Join(p.Run(), "airgap.pid") }

// CgroupRoot is the cgroup, relative to each hierarchy's mount, that holds all pods.
func (p Paths) CgroupRoot() string { return "/" + p.ID }

// ConfigFile is the node's YAML configuration.
func (p Paths) ConfigFile() string {
	if p.isDefault() {
		return DefaultConfigFile
	}
	return p.join("config.yaml")
}

// Kubeconfig is the administrator's kubeconfig.
func (p Paths) Kubeconfig() string {
	if p.isDefault() {
		return DefaultKubeconfig
	}
	return p.join("airgap.yaml")
}

// PrivateRegistry is where registries.yaml is looked for: mirrors of registries, and how to talk to them.
func (p Paths) PrivateRegistry() string {
	if p.isDefault() {
		return DefaultPrivateRegistry
	}
	return p.join("registries.yaml")
}

// Versions holds one folder per unpacked distribution, named by the digest of its payload.
func (p Paths) Versions() string { return p.join("data") }

// Current is the symbolic link to the running version in Versions. Switching it is the
// moment at which an install or upgrade takes effect.
func (p Paths) Current() string { return p.join("current") }

// Previous is the symbolic link to the version in Versions that ran before the current one.
func (p Paths) Previous() string { return p.join("previous") }

// Trial is there while an upgrade has switched to a version that has not proved itself yet.
func (p Paths) Trial() string { return p.join("install", "trial.json") }

// Server is the folder of the control plane: db, tls, cred, manifests.
func (p Paths) Server() string { return p.join("server") }

// DB is the folder of the SQLite datastore.
func (p Paths) DB() string { return p.join("server", "db") }

// Database is the file of the SQLite datastore; K3s' name.
func (p Paths) Database() string { return p.join("server", "db", "state.db") }

// Snapshots is where snapshots of the server go that are told no other folder; 0700.
func (p Paths) Snapshots() string { return p.join("server", "db", "snapshots") }

// Identity is what makes a cluster itself beside its datastore, and so belongs into each snapshot of it: authorities,
// keys and tokens, by the name that each has there.
func (p Paths) Identity() map[string]string {
	return map[string]string{
		"tls": p.TLS(), "cred": p.Cred(), "token": p.join("server", "token"), "agent-token": p.join("server", "agent-token"),
	}
}

// TLS holds the cluster's certificate authorities, and the control plane's certificates and keys; 0700.
func (p Paths) TLS() string { return p.join("server", "tls") }

// Cred holds the control plane's kubeconfigs, and the secrets encryption key; 0700.
func (p Paths) Cred() string { return p.join("server", "cred") }

// Manifests is the folder that the deployer follows.
func (p Paths) Manifests() string { return p.join("server", "manifests") }

// Agent is the folder of the half that runs pods.
func (p Paths) Agent() string { return p.join("agent") }

// Containerd is containerd's root: content, metadata and snapshots.
func (p Paths) Containerd() string { return p.join("agent", "containerd") }

// ContentBlobs is where containerd's content store has its blobs, each named by the hex digits of its SHA-256.
func (p Paths) ContentBlobs() string {
	return filepath.Join(p.Containerd(), "io.containerd.content.v1.content", "blobs", "sha256")
}

// PinnedImages is a folder of lists, <bundle>.txt, of the image references, one a line, that
// must never be collected as garbage.
func (p Paths) PinnedImages() string { return p.join("agent", "images") }

// ImageRecord lists the images that containerd has, so that its store can be made anew without the stick.
func (p Paths) ImageRecord() string { return p.join("agent", "images.json") }

// AgentEtc holds generated configuration: containerd's, the kubelet's, CNI's.
func (p Paths) AgentEtc() string { return p.join("agent", "etc") }

// RegistryHosts is containerd's config_path: where it reads which host to ask for a registry's images.
func (p Paths) RegistryHosts() string { return p.join("agent", "etc", "containerd", "certs.d") }

// AgentPKI holds the node's own credentials; 0700.
// KernelSettings holds what the kernel's settings were before the first start, for an uninstall to put back.
func (p Paths) KernelSettings() string { return p.join("agent", "kernel-settings.json") }

func (p Paths) AgentPKI() string { return p.join("agent", "pki") }

// WireGuardKey is the node's private key in the pod network of flannel-backend wireguard-native.
func (p Paths) WireGuardKey() string { return p.join("agent", "pki", "wireguard.key") }

// Kubelet is the kubelet's root folder: volumes and pod state.
func (p Paths) Kubelet() string { return p.join("agent", "kubelet") }

// CNIState is where host-local keeps its leases.
func (p Paths) CNIState() string { return p.join("agent", "cni") }

// PolicySocket is where the agent answers the CNI plugin airgap-policy.
func (p Paths) PolicySocket() string { return filepath.Join(p.Run(), "policy.sock") }

// PolicyState is the folder in which the agent notes the networks of the node's pods.
func (p Paths) PolicyState() string { return filepath.Join(p.Run(), "policy") }

// PodManifests is the folder of static pods.
func (p Paths) PodManifests() string { return p.join("agent", "pod-manifests") }

// PodLogs is where container logs are kept.
func (p Paths) PodLogs() string {
	if p.isDefault() {
		return "/var/log/pods"
	}
	return p.join("agent", "logs")
}

// Storage is the folder of the volumes that the StorageClass local-path makes.
func (p Paths) Storage() string { return p.join("storage") }

// Install is the installer's own folder: journal, reports, accepted versions.
func (p Paths) Install() string { return p.join("install") }

// Bundles is what is kept of installed bundles beside their images, so that other machines can have them whole; 0700.
func (p Paths) Bundles() string { return p.join("bundles") }

// Trust is the trust store: the public keys that this machine accepts.
func (p Paths) Trust() string { return p.join("trust") }

// Log is where a node that no service manager runs writes its log.
func (p Paths) Log() string { return p.join("airgap.log") }

// UnitName is the name of the node's service.
func (p Paths) UnitName() string { return p.ID }
