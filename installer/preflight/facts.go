package preflight

import (
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"airgap/internal/hostinfo"
	"airgap/node/config"
	"airgap/node/kernel"
)

// Facts is what a preflight knows of the machine.
type Facts struct {
	Root     bool
	OS, Arch string // as in Go: "linux", "amd64"
	Now      time.Time
	Unseeded bool // the kernel has no randomness yet

	Memory hostinfo.Memory
	CPU    hostinfo.CPU
	Limits hostinfo.Limits

	Model         string // of a board
	CommandLine   []string
	KernelRelease string
	KernelConfig  hostinfo.KernelConfig // nil: not known
	NoMQueue      bool
	ModulesGone   bool
	Cgroups       hostinfo.Cgroups
	ReadOnly      []string        // mounts that a node writes to and cannot
	Kernel        hostinfo.Kernel // not tried without root
	RulesTried    bool            // Kernel.Rules says something
	BridgeFilter  error           // why br_netfilter is not there and cannot be loaded; nil: it is, or can be
	Sysctls       []error         // protected settings of the kernel that are not what a node needs
	Differing     []error         // settings of all kinds that a node would change
	HostNFT       bool            // the distribution has an nft of its own

	Data, Images, Spool Volume // the data folder, containerd's, and where what comes from other nodes waits
	Logs                Volume // of pods
	Config              Volume // of the configuration, and of the service
	Command             Volume // of the command `airgap`
	Foreign             []string

	Hostname    string
	MachineID   string
	HostsNames  map[string][]netip.Addr
	Nameservers []string
	Listeners   []hostinfo.Listener // TCP
	Datagrams   []hostinfo.Listener // UDP
	Addresses   []netip.Addr
	Routes      []hostinfo.Route

	DefaultRoute bool
	Firewalls    []string // programs
	ClosedChains []string // of nf_tables, which drop what comes in by default; not known without root
	MissingTools []string

	Kubelets []hostinfo.Process // of other clusters, in this network namespace
	Runtimes []hostinfo.Process // other managers of containers there
	Rancher  bool               // /etc/rancher: K3s or RKE2 is or was here
	AtBoot   []string           // services of other clusters that start at boot
	SELinux  bool               // enforcing
	AppArmor bool

	// What the installer knows of its own.

	Installed bool   // the data folder has a node
	NodeName  string // of that node, which keeps it whatever the host is called; empty: not known
	Running   bool   // and it runs
	OtherNode string // data folder of a node of ours that runs in this network namespace
	Busy      string // who installs here at this moment; empty: nobody

	Server *ServerFacts // nil unless the machine is to join for the first time

	HasBlob func(hex string) bool // containerd's store has this blob already
}

// ServerFacts is what a machine that is to join sees of the server, before it has told it anything.
type ServerFacts struct {
	Err                 error     // why it cannot be joined
	NotBefore, NotAfter time.Time // of its certificate, which the authorities of the token have signed
}

// Volume is a place for files, and the file system that it is or will be on.
type Volume struct {
	Path   string // wanted
	Parent string // it, or what of it is there already
	Type   string // of the file system: "ext4"
	hostinfo.Disk
}

// Look looks at the machine for a node with the data folder of s.Server. nft is the program to try rules with, if there is one. It changes
// nothing. What is read from files is read from host; addresses, disks and the kernel are this machine's.
func Look(host hostinfo.Host, s Subject, nft string) (Facts, error) {
	p := config.PathsOf(s.Server.DataDir)
	f, err := FromFiles(host)
	if err != nil {
		return f, err
	}
	f.Root, f.OS, f.Arch, f.Now = os.Geteuid() == 0, runtime.GOOS, runtime.GOARCH, time.Now()
	_, err = unix.Getrandom(make([]byte, 1), unix.GRND_NONBLOCK)
	f.Unseeded = err == unix.EAGAIN
	f.Sysctls, f.Differing = kernel.Wrong(kernel.Root, kernel.Settings), kernel.Differing(kernel.Root, kernel.Settings)
	mounts, err := host.Mounts()
	if err != nil {
		return f, err
	}
	config := "/etc" // a service's files go there, whatever the data folder
	if s.Init == "none" {
		config = filepath.Dir(p.ConfigFile())
	}
	for _, v := range []struct {
		volume *Volume
		path   string
	}{
		{&f.Data, p.DataDir}, {&f.Images, p.Containerd()}, {&f.Spool, p.Agent()}, {&f.Logs, p.PodLogs()},
		{&f.Config, config}, {&f.Command, s.BinDir},
	} {
		if *v.volume, err = volumeAt(v.path, mounts); err != nil {
			return f, err
		}
	}
	if f.Addresses, err = hostinfo.Addresses(); err != nil {
		return f, err
	}
	if f.Kubelets, err = Kubelets(host); err != nil {
		return f, err
	}
	if f.Runtimes, err = sharing(host, "dockerd", "containerd", "crio", "conmon"); err != nil {
		return f, err
	}
	if f.Root {
		if f.ClosedChains, err = hostinfo.ClosedChains(); err != nil {
			f.ClosedChains = nil // no nf_tables, as the kernel's check says
		}
		f.RulesTried = nft != ""
		f.Kernel = hostinfo.ProbeKernel(f.Data.Parent, nft)
	}
	return f, nil
}

// FromFiles reads everything that a machine tells by its files: what Look finds without asking a kernel.
func FromFiles(h hostinfo.Host) (f Facts, err error) {
	if f.Memory, err = h.Memory(); err != nil {
		return f, err
	}
	if f.CPU, err = h.CPU(); err != nil {
		return f, err
	}
	if f.Limits, err = h.Limits(); err != nil {
		return f, err
	}
	f.Model, f.CommandLine = h.Model(), h.CommandLine()
	f.KernelRelease, f.ModulesGone, f.NoMQueue = h.KernelRelease(), h.ModulesGone(), !h.FileSystem("mqueue")
	if f.KernelConfig, err = h.KernelConfig(); err != nil {
		return f, err
	}
	f.BridgeFilter = h.BridgeFilter()
	mounts, err := h.Mounts()
	if err != nil {
		return f, err
	}
	f.Cgroups = h.Cgroups(mounts)
	for _, point := range append(f.Cgroups.Hierarchies(), kernel.Root) {
		if m, found := hostinfo.MountOf(mounts, point); found && m.ReadOnly() {
			f.ReadOnly = append(f.ReadOnly, point)
		}
	}
	f.Hostname, f.MachineID, f.HostsNames = h.Hostname(), h.MachineID(), h.HostsNames()
	f.Nameservers = h.Nameservers()
	if f.Listeners, err = h.Listeners(); err != nil {
		return f, err
	}
	if f.Datagrams, err = h.UDPListeners(); err != nil {
		return f, err
	}
	if f.DefaultRoute, err = h.DefaultRoute(); err != nil {
		return f, err
	}
	if f.Routes, err = h.Routes(); err != nil {
		return f, err
	}
	processes, err := h.Processes()
	if err != nil {
		return f, err
	}
	f.Firewalls = h.Firewalls(processes)
	f.MissingTools, f.HostNFT = h.MissingTools("mount", "umount"), len(h.MissingTools("nft")) == 0
	f.Rancher = h.Exists("/etc/rancher")
	f.AtBoot = h.StartsAtBoot("kubelet", "k3s", "k3s-agent", "rke2-server", "rke2-agent", "k0scontroller", "k0sworker", "snap.microk8s.daemon-kubelite")
	f.SELinux, f.AppArmor = h.SELinuxEnforcing(), h.AppArmor()
	return f, nil
}

// volumeAt finds the file system that a folder is on, or will be.
func volumeAt(path string, mounts []hostinfo.Mount) (Volume, error) {
	v := Volume{Path: path, Parent: hostinfo.ExistingParent(path)}
	var err error
	if v.Disk, err = hostinfo.DiskAt(v.Parent); err != nil {
		return v, err
	}
	real, err := filepath.EvalSymlinks(v.Parent)
	if err != nil {
		return v, err
	}
	m, _ := hostinfo.MountOf(mounts, real)
	v.Type = m.Type
	return v, nil
}

// Kubelets lists the kubelets of other clusters that share this process's network namespace.
func Kubelets(h hostinfo.Host) ([]hostinfo.Process, error) {
	return sharing(h, "kubelet", "kubelite", "k3s-server", "k3s-agent")
}

// sharing lists the processes of these names that share this process's network namespace: no node of ours has one. Those elsewhere,
// as in a container of kind's, are in nobody's way.
func sharing(h hostinfo.Host, names ...string) ([]hostinfo.Process, error) {
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
		if !slices.Contains(names, p.Name) {
			continue
		}
		if theirs, err := h.NetworkNamespace(p.PID); err == nil && theirs == mine {
			found = append(found, p)
		}
	}
	return found, nil
}
