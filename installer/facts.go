package installer

import (
	"net/netip"
	"os"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"airgap/internal/hostinfo"
	"airgap/node/config"
	"airgap/node/kernel"
)

// Facts is what a preflight knows of the machine.
type Facts struct {
	Root        bool
	OS, Arch    string // as in Go: "linux", "amd64"
	Now         time.Time
	MemoryBytes int64

	Cgroups hostinfo.Cgroups
	Kernel  hostinfo.Kernel // not tried without root
	Sysctls []error         // protected settings of the kernel that are not what a node needs

	BridgeFilter error // why br_netfilter is not there and cannot be loaded; nil: it is, or can be

	Disk       hostinfo.Disk
	DataParent string   // the existing folder that Disk was read at: the data folder or above it
	Foreign    []string // entries of the data folder that are not a node's

	Listeners    []hostinfo.Listener
	Addresses    []netip.Addr
	DefaultRoute bool

	Kubelets     []hostinfo.Process // of other clusters, in this network namespace
	OtherNode    string             // data folder of a node of ours that runs in this network namespace
	Rancher      bool               // /etc/rancher: K3s or RKE2 is or was here
	MissingTools []string
	SELinux      bool // enforcing
	Running      bool // this data folder's own node runs

	Server *ServerFacts // nil unless the machine is to join for the first time

	HasBlob func(hex string) bool // containerd's store has this blob already
}

// gatherFacts looks at the machine. It changes nothing.
func gatherFacts(o *Options, p config.Paths) (Facts, error) {
	f := Facts{
		Root:         os.Geteuid() == 0,
		OS:           runtime.GOOS,
		Arch:         runtime.GOARCH,
		Now:          time.Now(),
		DataParent:   hostinfo.ExistingParent(p.DataDir),
		Rancher:      o.host.Exists("/etc/rancher"),
		MissingTools: o.host.MissingTools("mount", "umount"),
		SELinux:      o.host.SELinuxEnforcing(),
		Sysctls:      kernel.Wrong(kernel.Root, kernel.Settings),
		BridgeFilter: o.host.BridgeFilter(),
		Foreign:      foreignEntries(p.DataDir),
		HasBlob:      func(hex string) bool { return blobExists(p, hex) },
	}
	var err error
	if f.MemoryBytes, err = o.host.MemoryBytes(); err != nil {
		return f, err
	}
	mounts, err := o.host.Mounts()
	if err != nil {
		return f, err
	}
	f.Cgroups = o.host.Cgroups(mounts)
	if f.Root {
		f.Kernel = hostinfo.ProbeKernel(f.DataParent)
	}
	if f.Disk, err = hostinfo.DiskAt(f.DataParent); err != nil {
		return f, err
	}
	if f.Listeners, err = o.host.Listeners(); err != nil {
		return f, err
	}
	if f.Addresses, err = hostinfo.Addresses(); err != nil {
		return f, err
	}
	if f.DefaultRoute, err = o.host.DefaultRoute(); err != nil {
		return f, err
	}
	if f.Running, err = newService(o, p).running(); err != nil {
		return f, err
	}
	if f.Kubelets, err = kubelets(o.host); err != nil {
		return f, err
	}
	if o.Join != nil && !isAgent(p) {
		f.Server = lookAtServer(o.Join)
	}
	if f.Root {
		f.OtherNode, err = otherClaimant(p.DataDir)
	}
	return f, err
}

// kubelets lists the kubelets that share this process's network namespace. Those elsewhere, as
// in a container of kind's, are in nobody's way.
func kubelets(h hostinfo.Host) ([]hostinfo.Process, error) {
	mine, err := h.NetworkNamespace(os.Getpid())
	if err != nil {
		return nil, err
	}
	all, err := h.Processes()
	if err != nil {
		return nil, err
	}
	var found []hostinfo.Process
	for _, p := range all {
		if p.Name != "kubelet" && p.Name != "k3s-server" && p.Name != "k3s-agent" {
			continue
		}
		if theirs, err := h.NetworkNamespace(p.PID); err == nil && theirs == mine {
			found = append(found, p)
		}
	}
	return found, nil
}

// foreignEntries lists what is in the data folder and no node's.
func foreignEntries(dataDir string) []string {
	ours := map[string]bool{"lost+found": true}
	for _, name := range dataEntries {
		ours[name] = true
	}
	entries, err := os.ReadDir(dataDir)
	if err != nil {
		return nil // there is none
	}
	var foreign []string
	for _, entry := range entries {
		if !ours[entry.Name()] {
			foreign = append(foreign, entry.Name())
		}
	}
	return foreign
}

// containerdEntry is containerd's folder, below that of the agent.
const containerdEntry = "agent/containerd"

// dataEntries is everything that a node and its installer keep in the data folder.
var dataEntries = []string{
	"data", "current", "server", "agent", "install", "bundles", "trust", "storage",
	"config.yaml", "config.yaml.d", "airgap.yaml", "airgap.log", "airgap.log.1",
}

func setSystemClock(t time.Time) error {
	tv := unix.NsecToTimeval(t.UnixNano())
	return unix.Settimeofday(&tv)
}
