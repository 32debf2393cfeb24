package preflight_test

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"airgap/bundle"
	"airgap/installer/preflight"
	"airgap/installer/preflight/preflighttest"
	"airgap/internal/hostinfo"
	"airgap/node/config"
)

const (
	pass = preflight.Pass
	warn = preflight.Warn
	fail = preflight.Fail
)

// site is the bundle of these tests: 1 GB of layers, and an executable for this machine.
func site() *bundle.Manifest {
	return &bundle.Manifest{
		Name: "site-a", Version: "1.0.0", Platforms: []string{preflight.ThisPlatform()}, IssuedAt: "2026-11-22T09:00:00Z",
		Entries:       []bundle.Entry{{SHA256: "aa", Size: 1e9, Role: bundle.RoleLayer}},
		Distributions: []bundle.Distribution{{Platform: preflight.ThisPlatform(), Version: "1.0.0", Kubernetes: "v1.37.1"}},
	}
}

// subject is a first install of site.
func subject() preflight.Subject {
	return preflight.Subject{Server: config.NewServer(), Version: "1.0.0", Bundles: []*bundle.Manifest{site()}, Init: "systemd", BinDir: "/usr/local/bin"}
}

// version1 makes a machine one with the old control groups.
func version1(f *preflight.Facts) {
	f.Cgroups = hostinfo.Cgroups{Controllers: map[string]string{}}
	for _, name := range []string{"cpu", "cpuacct", "cpuset", "devices", "memory", "pids"} {
		f.Cgroups.Controllers[name] = "/cg/" + name
	}
}

// Every way in which a machine can be unfit, each told by itself, with what comes of it and a remedy; and what a node puts up with.
func TestJudge(t *testing.T) {
	listener := func(s string) hostinfo.Listener { return hostinfo.Listener{Address: netip.MustParseAddrPort(s)} }
	failure := errors.New("operation not supported")
	tests := []struct {
		name    string
		facts   func(*preflight.Facts)
		subject func(*preflight.Subject)
		want    string // of the one finding that is no pass; empty: none
		level   preflight.Level
	}{
		{name: "good"},
		{name: "not root", facts: func(f *preflight.Facts) { f.Root = false }, want: "root: not root", level: fail},
		{name: "not root hides no kernel problem it has not tried", facts: func(f *preflight.Facts) { f.Root, f.Kernel.Overlay = false, failure }, want: "root:", level: fail},
		{name: "not Linux", facts: func(f *preflight.Facts) { f.OS = "darwin" }, subject: func(s *preflight.Subject) { s.Bundles = nil }, want: "platform: this is darwin", level: fail},
		{name: "little memory", facts: func(f *preflight.Facts) { f.Memory.Total = 512 << 20 }, want: "memory: 537 MB", level: fail},
		{name: "some memory", facts: func(f *preflight.Facts) { f.Memory.Total = 1 << 30 }, want: "memory: only 1.07 GB; there is little room", level: warn},
		{name: "kubelet", facts: func(f *preflight.Facts) { f.Kubelets = []hostinfo.Process{{PID: 7, Name: "kubelet"}} }, want: "kubernetes: another Kubernetes runs here: kubelet, process 7", level: fail},
		{name: "rancher", facts: func(f *preflight.Facts) { f.Rancher = true }, want: "kubernetes: /etc/rancher exists", level: warn},
		{name: "tools", facts: func(f *preflight.Facts) { f.MissingTools = []string{"umount"} }, want: "tools: missing: umount", level: fail},
		{name: "selinux", facts: func(f *preflight.Facts) { f.SELinux = true }, want: "selinux: enforcing", level: warn},
		{name: "namespaces", facts: func(f *preflight.Facts) { f.Kernel.Namespaces = failure }, want: "kernel: no namespaces", level: fail},
		{name: "overlay", facts: func(f *preflight.Facts) { f.Kernel.Overlay = failure }, want: "kernel: no overlayfs on /: operation not supported", level: fail},
		{name: "another node", facts: func(f *preflight.Facts) { f.OtherNode = "/srv/other" }, want: "kubernetes: another node, with the data folder /srv/other, runs in this network namespace", level: fail},
		{name: "vxlan", facts: func(f *preflight.Facts) { f.Kernel.VXLAN = failure }, want: "kernel: no vxlan interfaces", level: fail},
		{name: "bridge", facts: func(f *preflight.Facts) { f.Kernel.Bridge = failure }, want: "kernel: no bridge", level: fail},
		{name: "veth", facts: func(f *preflight.Facts) { f.Kernel.Veth = failure }, want: "kernel: no veth", level: fail},
		{name: "nf_tables", facts: func(f *preflight.Facts) { f.Kernel.NFTables = failure }, want: "kernel: no nf_tables", level: fail},
		{name: "bridge filter", facts: func(f *preflight.Facts) { f.BridgeFilter = failure }, want: "kernel: no br_netfilter: operation not supported; services do not work between pods of one node; make modprobe br_netfilter work", level: fail},
		{name: "bridge filter for a pod network of one's own", facts: func(f *preflight.Facts) { f.BridgeFilter = failure }, subject: func(s *preflight.Subject) { s.Server.FlannelBackend = config.FlannelNone }},
		{name: "bridge filter without agent", facts: func(f *preflight.Facts) { f.BridgeFilter = failure }, subject: func(s *preflight.Subject) { s.Server.DisableAgent = true }},
		{name: "settings that the node sets", facts: func(f *preflight.Facts) { f.Sysctls = []error{failure} }},
		{name: "settings that it must not set", facts: func(f *preflight.Facts) { f.Sysctls = []error{failure} }, subject: func(s *preflight.Subject) { s.Server.ProtectKernelDefaults = true }, want: "settings: operation not supported", level: fail},
		{name: "cgroup controllers", facts: func(f *preflight.Facts) { f.Cgroups.Controllers = map[string]string{"cpu": "/cg", "pids": "/cg"} }, want: "cgroups: no memory controller", level: fail},
		{name: "cgroup v1", facts: version1, want: "cgroups: version 1", level: warn},
		{name: "API port", facts: func(f *preflight.Facts) { f.Listeners = []hostinfo.Listener{listener("[::]:6443")} }, want: "ports: TCP port 6443 (API server) is taken by a listener on [::]:6443; the node needs it; stop what listens there, or choose another with --https-listen-port", level: fail},
		{name: "another's port", facts: func(f *preflight.Facts) { f.Listeners = []hostinfo.Listener{listener("[::]:6443")} }, subject: func(s *preflight.Subject) { s.Server.HTTPSListenPort = 7443 }},
		{name: "our own port", facts: func(f *preflight.Facts) { f.Listeners, f.Running = []hostinfo.Listener{listener("[::]:6443")}, true }},
		{name: "loopback port elsewhere", facts: func(f *preflight.Facts) { f.Listeners = []hostinfo.Listener{listener("10.0.0.5:10248")} }},
		{name: "loopback port", facts: func(f *preflight.Facts) { f.Listeners = []hostinfo.Listener{listener("127.0.0.1:10248")} }, want: "ports: TCP port 10248", level: fail},
		{name: "kubelet port without agent", facts: func(f *preflight.Facts) { f.Listeners = []hostinfo.Listener{listener("0.0.0.0:10250")} }, subject: func(s *preflight.Subject) { s.Server.DisableAgent = true }},
		{name: "peer port", facts: func(f *preflight.Facts) { f.Listeners = []hostinfo.Listener{listener("10.0.0.5:6446")} }, want: "ports: TCP port 6446 (what other nodes get)", level: fail},
		{name: "load balancer's port", facts: func(f *preflight.Facts) { f.Listeners = []hostinfo.Listener{listener("127.0.0.1:6444")} }, subject: func(s *preflight.Subject) { s.Agent = true }, want: "ports: TCP port 6444", level: fail},
		{name: "API port on an agent", facts: func(f *preflight.Facts) { f.Listeners = []hostinfo.Listener{listener("[::]:6443")} }, subject: func(s *preflight.Subject) { s.Agent = true }},
		{name: "no server", facts: func(f *preflight.Facts) { f.Server = &preflight.ServerFacts{Err: failure} }, want: "server: operation not supported; nothing can be joined; look whether that machine runs", level: fail},
		{name: "no address", facts: func(f *preflight.Facts) { f.Addresses = nil }, want: "address: no interface but loopback has an IPv4 address, and the pods' network 10.42.0.0/16 is of that family; a node needs one; give an interface an address that stays (ip address add 10.20.30.40/24 dev eth0, until the next boot); where there is no cable, a pair of interfaces will do: ip link add site0 up type veth", level: fail},
		{name: "no IPv6 address", subject: func(s *preflight.Subject) { s.Server.ClusterCIDR = "10.42.0.0/16,fd42::/56" }, want: "address: no interface but loopback has an IPv6 address", level: fail},
		{name: "other address", subject: func(s *preflight.Subject) { s.Server.NodeIP = "10.9.9.9" }, want: "address: --node-ip 10.9.9.9 is no address of this machine; nobody would reach the node; give one of 10.0.0.5", level: fail},
		{name: "own address", subject: func(s *preflight.Subject) { s.Server.NodeIP = "10.0.0.5" }},
		{name: "foreign data folder", facts: func(f *preflight.Facts) { f.Foreign = []string{"photos"} }, want: "data-dir: /var/lib/airgap holds what is not airgap's: photos", level: fail},
		{name: "noexec", facts: func(f *preflight.Facts) { f.Data.NoExec = true }, want: "data-dir: / is mounted noexec", level: fail},
		{name: "read-only", facts: func(f *preflight.Facts) { f.Data.ReadOnly = true }, want: "data-dir: / is mounted read-only", level: fail},
		{name: "no space", facts: func(f *preflight.Facts) { f.Images.FreeBytes = 1 << 30 }, want: "disk: / has 1.07 GB free, the install needs about 4.54 GB (1.00 GB images, 3.00 GB unpacked images, 537 MB reserve); the install would end with a full disk; free 3.46 GB more there", level: fail},
		{name: "no space: of what several share, one copy", facts: func(f *preflight.Facts) { f.Images.FreeBytes = 1 << 30 }, subject: func(s *preflight.Subject) { s.Bundles = append(s.Bundles, site()) },
			want: "disk: / has 1.07 GB free, the install needs about 4.54 GB", level: fail},
		{name: "no space for several bundles", facts: func(f *preflight.Facts) { f.Images.FreeBytes = 5 << 30 }, subject: func(s *preflight.Subject) {
			second := site()
			second.Entries[0].SHA256 = "bb"
			s.Bundles = append(s.Bundles, second)
		}, want: "disk: / has 5.37 GB free, the install needs about 8.54 GB (2.00 GB images, 6.00 GB unpacked images, 537 MB reserve)", level: fail},
		{name: "no space for what waits", facts: func(f *preflight.Facts) { f.Images.FreeBytes = 5 << 30 }, subject: func(s *preflight.Subject) { s.Fetched = true },
			want: "disk: / has 5.37 GB free, the install needs about 5.54 GB (1.00 GB images, 3.00 GB unpacked images, 1.00 GB waiting for import, 537 MB reserve)", level: fail},
		{name: "no space on the file system of the images", facts: func(f *preflight.Facts) {
			f.Images.Parent, f.Images.Device, f.Images.FreeBytes = "/images", 7, 1<<30
		}, want: "disk: /images has 1.07 GB free, the install needs about 4.00 GB (1.00 GB images, 3.00 GB unpacked images)", level: fail},
		{name: "no space beside images of their own", facts: func(f *preflight.Facts) { f.Images.Device, f.Data.FreeBytes = 7, 1<<28 },
			want: "disk: / has 268 MB free, the install needs about 537 MB (537 MB reserve)", level: fail},
		{name: "space, since the blobs are there", facts: func(f *preflight.Facts) {
			f.Images.FreeBytes, f.Images.TotalBytes = 1<<30, 2<<30
			f.HasBlob = func(string) bool { return true }
		}},
		{name: "little space afterwards", facts: func(f *preflight.Facts) { f.Images.FreeBytes = 4_800_000_000 }, want: "disk: / will have about 800 MB of 215 GB free; the node evicts pods when less than 537 MB are free", level: warn},
		{name: "no inodes", facts: func(f *preflight.Facts) { f.Images.FreeInodes = 1000 }, want: "inodes: / has 1000 inodes free", level: fail},
		{name: "inodes made as needed", facts: func(f *preflight.Facts) { f.Images.FreeInodes, f.Images.TotalInodes = 0, 0 }},
		{name: "other platform", subject: func(s *preflight.Subject) { s.Bundles[0].Platforms = []string{"linux/riscv64"} }, want: "platform: bundle site-a 1.0.0 is for linux/riscv64", level: fail},
		{name: "variant", subject: func(s *preflight.Subject) { s.Bundles[0].Platforms = []string{preflight.ThisPlatform() + "/v8"} }},
		{name: "needs a newer airgap", subject: func(s *preflight.Subject) { s.Bundles[0].MinimumAirgap = "2.0.0" }, want: "version: bundle site-a 1.0.0 needs airgap 2.0.0 or newer, this is 1.0.0", level: fail},
		{name: "old airgap will do", subject: func(s *preflight.Subject) { s.Bundles[0].MinimumAirgap = "1.0.0" }},
		{name: "clock in 1970", facts: func(f *preflight.Facts) { f.Now = time.Unix(60, 0) }, want: "clock: the clock says 1970-01-01T00:01:00Z, but the bundle was made at 2026-11-22T09:00:00Z", level: warn},
		{name: "clock in 2099", facts: func(f *preflight.Facts) { f.Now = time.Date(2099, 1, 1, 0, 0, 0, 0, time.UTC) }, want: "clock: the clock says 2099-01-01T00:00:00Z, 72 years after the bundle was made", level: warn},
		{name: "clock nine years on", facts: func(f *preflight.Facts) { f.Now = time.Date(2035, 1, 1, 0, 0, 0, 0, time.UTC) }},

		{name: "another install", facts: func(f *preflight.Facts) { f.Busy = "process 7, since 2026-11-22T09:00:00Z" }, want: "install: another install of /var/lib/airgap is going on: process 7, since 2026-11-22T09:00:00Z", level: fail},
		{name: "no executable", subject: func(s *preflight.Subject) { s.Bundles[0].Distributions = nil }, want: "distribution: bundle site-a 1.0.0 brings no airgap for linux/", level: fail},
		{name: "the executable that is installed", subject: func(s *preflight.Subject) { s.Bundles[0].Distributions = nil }, facts: func(f *preflight.Facts) { f.Installed = true }},
		{name: "the executable of another bundle", subject: func(s *preflight.Subject) {
			first := site()
			first.Distributions = nil
			s.Bundles = []*bundle.Manifest{first, site()}
		}},
		{name: "nothing to start the node", subject: func(s *preflight.Subject) { s.NoBoot = true }, want: "service: no service manager", level: warn},
		{name: "old processor", facts: func(f *preflight.Facts) { f.Arch, f.CPU.Features = "amd64", []string{"cx16", "pni"} }, subject: func(s *preflight.Subject) { s.Bundles = nil },
			want: "cpu: the processor lacks lahf_lm, popcnt, sse4_1, sse4_2, ssse3", level: warn},
		{name: "processor of another kind", facts: func(f *preflight.Facts) { f.Arch, f.CPU.Features = "arm64", []string{"asimd"} }, subject: func(s *preflight.Subject) { s.Bundles = nil },
			want: "cpu: 2, arm64", level: pass},
		{name: "memory that others use", facts: func(f *preflight.Facts) { f.Memory.Available = 200 << 20 }, want: "memory: 8.59 GB, of which only 210 MB are free", level: warn},
		{name: "memory that the node uses", facts: func(f *preflight.Facts) { f.Memory.Available, f.Running = 200<<20, true }},
		{name: "swap", facts: func(f *preflight.Facts) { f.Memory.Swap = 1 << 30 }, want: "swap: 1.07 GB, which pods are kept off", level: pass},
		{name: "no randomness", facts: func(f *preflight.Facts) { f.Unseeded = true }, want: "entropy: the kernel has gathered no randomness yet", level: warn},
		{name: "few files", facts: func(f *preflight.Facts) { f.Limits.Files = 1000 }, want: "limits: fs.file-max is 1000, want at least 20000", level: warn},
		{name: "few files for a process", facts: func(f *preflight.Facts) { f.Limits.OpenFiles = 1024 }, subject: func(s *preflight.Subject) { s.Init = "none" }, want: "limits: a process may open only 1024 files", level: warn},
		{name: "few files for a process, but the unit has its own limit", facts: func(f *preflight.Facts) { f.Limits.OpenFiles = 1024 }},
		{name: "rules", facts: func(f *preflight.Facts) { f.Kernel.Rules, f.RulesTried = failure, true }, want: "kernel: no rules for services: operation not supported; services would not work; use a kernel that has it, or load its module: nft_chain_nat", level: fail},
		{name: "XFS without types", facts: func(f *preflight.Facts) { f.Kernel.DType = failure }, want: "kernel: no types of files in folders of /", level: fail},
		{name: "kernel updated, not rebooted", facts: func(f *preflight.Facts) { f.Kernel.VXLAN, f.ModulesGone = failure, true }, want: "kernel: no vxlan interfaces: operation not supported; pods of different nodes would not reach each other; start the machine again", level: fail},
		{name: "overlay on overlay", facts: func(f *preflight.Facts) { f.Kernel.Overlay, f.Data.Type = failure, "overlay" }, want: "kernel: no overlayfs on /: operation not supported; images are unpacked for it; put the data folder on a file system of its own", level: fail},
		{name: "message queues", facts: func(f *preflight.Facts) { f.NoMQueue = true }, want: "kernel: no file system mqueue", level: fail},
		{name: "kernel without seccomp", facts: func(f *preflight.Facts) {
			f.KernelConfig = hostinfo.KernelConfig{"CONFIG_KEYS": "y", "CONFIG_CGROUP_BPF": "y", "CONFIG_CFS_BANDWIDTH": "y"}
		}, want: "kernel: the kernel was built without CONFIG_SECCOMP_FILTER", level: warn},
		{name: "old kernel with an nft of its own", facts: func(f *preflight.Facts) { f.KernelRelease, f.HostNFT = "5.10.0-28-amd64", true }, want: "kernel: kernel 5.10.0-28-amd64, and the distribution's own nft", level: warn},
		{name: "old kernel", facts: func(f *preflight.Facts) { f.KernelRelease = "5.10.0-28-amd64" }},
		{name: "settings that cannot be set", facts: func(f *preflight.Facts) { f.ReadOnly, f.Differing = []string{"/proc/sys"}, []error{failure} }, want: "settings: operation not supported, and /proc/sys is read-only", level: fail},
		{name: "settings that need not be set", facts: func(f *preflight.Facts) { f.ReadOnly = []string{"/proc/sys"} }},
		{name: "cgroup v1 without devices", facts: func(f *preflight.Facts) {
			version1(f)
			delete(f.Cgroups.Controllers, "devices")
		}, want: "cgroups: no devices controller", level: fail},
		{name: "control groups that cannot be written", facts: func(f *preflight.Facts) { f.ReadOnly = []string{"/cg"} }, want: "cgroups: /cg is mounted read-only", level: fail},
		{name: "Raspberry Pi", facts: func(f *preflight.Facts) {
			f.Model = "Raspberry Pi 4 Model B Rev 1.4"
			delete(f.Cgroups.Controllers, "memory")
		}, want: "cgroups: no memory controller; the kubelet does not start; append cgroup_memory=1 cgroup_enable=memory to the one line of /boot/firmware/cmdline.txt", level: fail},
		{name: "controller switched off", facts: func(f *preflight.Facts) {
			f.CommandLine = []string{"quiet", "cgroup_disable=memory"}
			delete(f.Cgroups.Controllers, "memory")
		}, want: "cgroups: no memory controller; the kubelet does not start; take cgroup_disable=… out", level: fail},
		{name: "no control groups", facts: func(f *preflight.Facts) { f.Cgroups = hostinfo.Cgroups{} }, want: "cgroups: none are mounted; the kubelet does not start; mount them", level: fail},

		{name: "capitals", facts: func(f *preflight.Facts) { f.Hostname = "Node-1" }, want: "hostname: Node-1; the node is called node-1", level: pass},
		{name: "dots", facts: func(f *preflight.Facts) { f.Hostname = "node-1.site.example" }, want: "hostname: node-1.site.example", level: pass},
		{name: "underscore", facts: func(f *preflight.Facts) { f.Hostname = "node_1" }, want: `hostname: "node_1" cannot be a node's name`, level: fail},
		{name: "underscore, and another name given", facts: func(f *preflight.Facts) { f.Hostname = "node_1" }, subject: func(s *preflight.Subject) { s.Server.NodeName = "node-1" }},
		{name: "another name than at the first start", facts: func(f *preflight.Facts) { f.Hostname, f.NodeName = "node_9", "node-1" }, want: "hostname: node_9; the node is called node-1, as it was", level: pass},
		{name: "no name", facts: func(f *preflight.Facts) { f.Hostname = "" }, want: "hostname: the machine has no name", level: fail},
		{name: "long name", facts: func(f *preflight.Facts) { f.Hostname = strings.Repeat("n", 64) }, want: `hostname: "nnn`, level: fail},
		{name: "localhost", facts: func(f *preflight.Facts) { f.Hostname = "localhost.localdomain" }, want: "hostname: the node would be called localhost.localdomain", level: warn},
		{name: "no machine ID", facts: func(f *preflight.Facts) { f.MachineID = "" }, want: "machine-id: there is no /etc/machine-id", level: warn},
		{name: "machine ID of an image", facts: func(f *preflight.Facts) { f.MachineID = "uninitialized" }, want: `machine-id: /etc/machine-id holds "uninitialized"`, level: warn},
		{name: "machine ID of zeros", facts: func(f *preflight.Facts) { f.MachineID = strings.Repeat("0", 32) }, want: "machine-id: /etc/machine-id, 0000", level: warn},
		{name: "no localhost", facts: func(f *preflight.Facts) { f.HostsNames = nil }, want: "hosts: /etc/hosts has no address of loopback for localhost", level: warn},

		{name: "LAN in the pods' network", facts: func(f *preflight.Facts) { f.Addresses = []netip.Addr{netip.MustParseAddr("10.42.7.5")} }, want: "networks: the machine's own address 10.42.7.5 is in the cluster's network 10.42.0.0/16; what the machine sends to its LAN would go to pods; choose another --cluster-cidr", level: fail},
		{name: "route into the services' network", facts: func(f *preflight.Facts) {
			f.Routes = []hostinfo.Route{{Interface: "eth0", Network: netip.MustParsePrefix("10.43.1.0/24")}}
		}, want: "networks: the route to 10.43.1.0/24 by eth0", level: warn},
		{name: "wide route", facts: func(f *preflight.Facts) {
			f.Routes = []hostinfo.Route{{Interface: "eth0", Network: netip.MustParsePrefix("10.0.0.0/8")}}
		}},
		{name: "tunnel's port", facts: func(f *preflight.Facts) { f.Datagrams = []hostinfo.Listener{listener("0.0.0.0:8472")} }, want: "ports: UDP port 8472 (pod network)", level: fail},
		{name: "tunnel's port without tunnel", facts: func(f *preflight.Facts) { f.Datagrams = []hostinfo.Listener{listener("0.0.0.0:8472")} }, subject: func(s *preflight.Subject) { s.Server.FlannelBackend = config.FlannelHostGW }},
		{name: "ingress' port", facts: func(f *preflight.Facts) { f.Listeners = []hostinfo.Listener{listener("0.0.0.0:80")} }, want: "ports: TCP port 80 is taken", level: warn},
		{name: "no ingress", facts: func(f *preflight.Facts) { f.Listeners = []hostinfo.Listener{listener("0.0.0.0:80")} }, subject: func(s *preflight.Subject) { s.Server.Disable = []string{"traefik"} }},
		{name: "no default route", want: "route: no default route, which is fine", level: pass},
		{name: "no nameserver", want: "nameserver: none that pods could reach, which is fine", level: pass},
		{name: "firewalld", facts: func(f *preflight.Facts) { f.Firewalls = []string{"firewalld"} }, want: "firewall: firewalld is on; it turns away pods' packets and other nodes; stop it, or let them through: firewall-cmd --permanent --add-port=6443/tcp --add-port=10250/tcp --add-port=6446/tcp --add-port=8472/udp && firewall-cmd --permanent --zone=trusted --add-interface=cni0 --add-source=10.42.0.0/16 --add-source=10.43.0.0/16 && firewall-cmd --reload", level: warn},
		{name: "ufw on an agent", facts: func(f *preflight.Facts) { f.Firewalls = []string{"ufw"} }, subject: func(s *preflight.Subject) { s.Agent = true }, want: "firewall: ufw is on; it turns away pods' packets and other nodes; stop it, or let them through: ufw allow 10250,6446/tcp && ufw allow 8472/udp && ufw allow from 10.42.0.0/16 && ufw allow from 10.43.0.0/16 && ufw default allow routed", level: warn},
		{name: "firewall of one's own", facts: func(f *preflight.Facts) { f.ClosedChains = []string{"inet filter input"} }, want: "firewall: the firewall's chain inet filter input drops what comes in; it turns away pods' packets and other nodes, unless its rules let them in; add rules to it, and to the file that it comes from (/etc/nftables.conf on many machines): tcp dport { 6443, 10250, 6446 } accept; ip saddr { 10.42.0.0/16, 10.43.0.0/16 } accept; udp dport { 8472 } accept", level: warn},
		{name: "K3s at boot", facts: func(f *preflight.Facts) { f.AtBoot, f.Rancher = []string{"k3s"}, true }, want: "kubernetes: another Kubernetes starts at boot: k3s; after a reboot it takes this node's ports; uninstall it, or keep it off (systemctl disable --now k3s)", level: warn},
		{name: "Docker", facts: func(f *preflight.Facts) { f.Runtimes = []hostinfo.Process{{PID: 7, Name: "dockerd"}} }, want: "runtimes: another container runtime runs here: dockerd, process 7", level: warn},
		{name: "NFS", facts: func(f *preflight.Facts) { f.Data.Type = "nfs4" }, want: "data-dir: / is on a network or user file system (nfs4)", level: fail},
		{name: "stick", facts: func(f *preflight.Facts) { f.Data.Type = "vfat" }, want: "data-dir: / is on vfat", level: fail},
		{name: "memory for a disk", facts: func(f *preflight.Facts) { f.Data.Type = "tmpfs" }, want: "data-dir: / is on tmpfs, in memory", level: warn},
		{name: "read-only configuration", facts: func(f *preflight.Facts) { f.Config.ReadOnly = true }, want: "etc: / is mounted read-only", level: fail},
		{name: "read-only programs", facts: func(f *preflight.Facts) { f.Command.ReadOnly = true }, want: "command: / is mounted read-only", level: warn},
		{name: "little room for logs", facts: func(f *preflight.Facts) { f.Logs.Device, f.Logs.FreeBytes, f.Logs.Parent = 7, 1<<20, "/var/log" }, want: "logs: /var/log, where pods' logs go, has 1.05 MB free", level: warn},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			facts, s := preflighttest.Machine(), subject()
			if test.facts != nil {
				test.facts(&facts)
			}
			if test.subject != nil {
				test.subject(&s)
			}
			findings := preflight.Judge(facts, s)
			found := append(preflight.Only(findings, fail), preflight.Only(findings, warn)...)
			switch {
			case test.level == pass:
				for _, f := range preflight.Only(findings, pass) {
					if strings.HasPrefix(f.String(), test.want) && len(found) == 0 {
						return
					}
				}
				t.Errorf("findings: %v\nof all: %v\nwant a pass: %s", found, findings, test.want)
			case test.want == "":
				if len(found) != 0 {
					t.Errorf("findings: %v", found)
				}
			case len(found) != 1 || !strings.HasPrefix(found[0].String(), test.want) || found[0].Level != test.level || found[0].Remedy == "" || found[0].Why == "":
				t.Errorf("findings: %+v\nwant one %s: %s", found, test.level, test.want)
			}
		})
	}
}

// All problems come in one report, and warnings are none.
func TestJudgeReportsAll(t *testing.T) {
	facts := preflighttest.Machine()
	facts.MissingTools, facts.SELinux, facts.Addresses = []string{"mount"}, true, nil
	err := preflight.Problems(preflight.Judge(facts, subject()))
	var found *preflight.Error
	if !errors.As(err, &found) || len(found.Problems) != 2 {
		t.Fatalf("error %v", err)
	}
	if text := err.Error(); !strings.Contains(text, "2 problems") || strings.Contains(text, "selinux") || strings.Count(text, "\n") != 2 {
		t.Error(text)
	}
}

// A good machine is told so, once for each thing that was looked at.
func TestJudgePasses(t *testing.T) {
	seen := map[string]bool{}
	for _, f := range preflight.Judge(preflighttest.Machine(), subject()) {
		if f.Level != pass || seen[f.Check] || f.Text == "" || f.Why != "" || f.Remedy != "" {
			t.Errorf("finding %+v", f)
		}
		seen[f.Check] = true
	}
	for _, want := range strings.Fields("root platform distribution service cpu memory swap clock entropy limits tools kernel settings cgroups " +
		"hostname machine-id hosts address networks ports route nameserver firewall kubernetes runtimes selinux apparmor data-dir disk inodes etc command") {
		if !seen[want] {
			t.Errorf("nothing is said of %s", want)
		}
	}
}

// With the old control groups pods may swap.
func TestJudgeSwap(t *testing.T) {
	facts := preflighttest.Machine()
	version1(&facts)
	facts.Memory.Swap = 1 << 30
	found := preflight.Only(preflight.Judge(facts, subject()), warn)
	if len(found) != 2 || found[0].Check != "swap" || found[1].Check != "cgroups" {
		t.Errorf("findings: %v", found)
	}
}

func TestDefaultNodeIP(t *testing.T) {
	both := []netip.Addr{netip.MustParseAddr("fd00::5"), netip.MustParseAddr("10.0.0.5"), netip.MustParseAddr("10.0.0.6")}
	for cluster, want := range map[string]string{
		"10.42.0.0/16":           "10.0.0.5",
		"fd42::/56":              "fd00::5",
		"10.42.0.0/16,fd42::/56": "10.0.0.5,fd00::5",
		"fd42::/56,10.42.0.0/16": "fd00::5,10.0.0.5",
	} {
		s := config.NewServer()
		s.ClusterCIDR = cluster
		if got, missing := preflight.DefaultNodeIP(preflight.Facts{Addresses: both}, s); got != want || missing != "" {
			t.Errorf("with %s: %s, missing %q; want %s", cluster, got, missing, want)
		}
	}
}
