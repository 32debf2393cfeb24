package installer

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"airgap/bundle"
	"airgap/internal/hostinfo"
	"airgap/node/config"
)

// Every way in which a machine can be unfit, each told by itself and with a remedy.
func TestPreflight(t *testing.T) {
	listener := func(s string) hostinfo.Listener { return hostinfo.Listener{Address: netip.MustParseAddrPort(s)} }
	failure := errors.New("operation not supported")
	tests := []struct {
		name    string
		facts   func(*Facts)
		options func(*Options)
		bundle  func(*bundle.Manifest)
		want    string // of the one finding; empty: none
		warning bool
	}{
		{name: "good"},
		{name: "not root", facts: func(f *Facts) { f.Root = false }, want: "root: not root"},
		{name: "not root hides no kernel problem it has not tried", facts: func(f *Facts) { f.Root, f.Kernel.Overlay = false, failure }, want: "root:"},
		{name: "not Linux", facts: func(f *Facts) { f.OS = "darwin" }, bundle: func(m *bundle.Manifest) { m.Platforms = []string{"darwin/amd64"} }, want: "platform: this is darwin"},
		{name: "little memory", facts: func(f *Facts) { f.MemoryBytes = 512 << 20 }, want: "memory: 537 MB"},
		{name: "some memory", facts: func(f *Facts) { f.MemoryBytes = 1 << 30 }, want: "memory: only 1.07 GB", warning: true},
		{name: "kubelet", facts: func(f *Facts) { f.Kubelets = []hostinfo.Process{{PID: 7, Name: "kubelet"}} }, want: "kubernetes: another Kubernetes runs here: kubelet, process 7"},
		{name: "rancher", facts: func(f *Facts) { f.Rancher = true }, want: "kubernetes: /etc/rancher exists", warning: true},
		{name: "tools", facts: func(f *Facts) { f.MissingTools = []string{"umount"} }, want: "tools: missing: umount"},
		{name: "selinux", facts: func(f *Facts) { f.SELinux = true }, want: "selinux: enforcing", warning: true},
		{name: "namespaces", facts: func(f *Facts) { f.Kernel.Namespaces = failure }, want: "kernel: no namespaces"},
		{name: "overlay", facts: func(f *Facts) { f.Kernel.Overlay = failure }, want: "kernel: no overlayfs on /: operation not supported"},
		{name: "another node", facts: func(f *Facts) { f.OtherNode = "/srv/other" }, want: "kubernetes: another node, with the data folder /srv/other, runs in this network namespace"},
		{name: "vxlan", facts: func(f *Facts) { f.Kernel.VXLAN = failure }, want: "kernel: no vxlan interfaces"},
		{name: "bridge", facts: func(f *Facts) { f.Kernel.Bridge = failure }, want: "kernel: no bridge"},
		{name: "veth", facts: func(f *Facts) { f.Kernel.Veth = failure }, want: "kernel: no veth"},
		{name: "nf_tables", facts: func(f *Facts) { f.Kernel.NFTables = failure }, want: "kernel: no nf_tables"},
		{name: "bridge filter", facts: func(f *Facts) { f.BridgeFilter = failure }, want: "kernel: no br_netfilter, without which services do not work between pods of one node: operation not supported; make modprobe br_netfilter work"},
		{name: "bridge filter for a pod network of one's own", facts: func(f *Facts) { f.BridgeFilter = failure }, options: func(o *Options) { o.Server.FlannelBackend = config.FlannelNone }},
		{name: "bridge filter without agent", facts: func(f *Facts) { f.BridgeFilter = failure }, options: func(o *Options) { o.Server.DisableAgent = true }},
		{name: "settings that the node sets", facts: func(f *Facts) { f.Sysctls = []error{failure} }},
		{name: "settings that it must not set", facts: func(f *Facts) { f.Sysctls = []error{failure} }, options: func(o *Options) { o.Server.ProtectKernelDefaults = true }, want: "kernel: operation not supported"},
		{name: "cgroup controllers", facts: func(f *Facts) { f.Cgroups.Controllers = map[string]string{"cpu": "/cg", "pids": "/cg"} }, want: "cgroups: no memory controller"},
		{name: "cgroup v1", facts: func(f *Facts) { f.Cgroups.Unified = "" }, want: "cgroups: version 1", warning: true},
		{name: "API port", facts: func(f *Facts) { f.Listeners = []hostinfo.Listener{listener("[::]:6443")} }, want: "ports: TCP port 6443 (API server) is taken by a listener on [::]:6443; stop what listens there, or choose another with --https-listen-port"},
		{name: "another's port", facts: func(f *Facts) { f.Listeners = []hostinfo.Listener{listener("[::]:6443")} }, options: func(o *Options) { o.Server.HTTPSListenPort = 7443 }},
		{name: "our own port", facts: func(f *Facts) { f.Listeners, f.Running = []hostinfo.Listener{listener("[::]:6443")}, true }},
		{name: "loopback port elsewhere", facts: func(f *Facts) { f.Listeners = []hostinfo.Listener{listener("10.0.0.5:10248")} }},
		{name: "loopback port", facts: func(f *Facts) { f.Listeners = []hostinfo.Listener{listener("127.0.0.1:10248")} }, want: "ports: TCP port 10248"},
		{name: "kubelet port without agent", facts: func(f *Facts) { f.Listeners = []hostinfo.Listener{listener("0.0.0.0:10250")} }, options: func(o *Options) { o.Server.DisableAgent = true }},
		{name: "peer port", facts: func(f *Facts) { f.Listeners = []hostinfo.Listener{listener("10.0.0.5:6446")} }, want: "ports: TCP port 6446 (what other nodes get)"},
		{name: "load balancer's port", facts: func(f *Facts) { f.Listeners = []hostinfo.Listener{listener("127.0.0.1:6444")} }, options: func(o *Options) { o.agent = true }, want: "ports: TCP port 6444"},
		{name: "API port on an agent", facts: func(f *Facts) { f.Listeners = []hostinfo.Listener{listener("[::]:6443")} }, options: func(o *Options) { o.agent = true }},
		{name: "no server", facts: func(f *Facts) { f.Server = &ServerFacts{Err: failure} }, want: "server: operation not supported; look whether that machine runs"},
		{name: "no address", facts: func(f *Facts) { f.Addresses = nil }, want: "address: no interface but loopback"},
		{name: "no IPv6 address", options: func(o *Options) { o.Server.ClusterCIDR = "10.42.0.0/16,fd42::/56" }, want: "address: no interface but loopback has an IPv6 address"},
		{name: "other address", options: func(o *Options) { o.Server.NodeIP = "10.9.9.9" }, want: "address: --node-ip 10.9.9.9 is no address of this machine; give one of 10.0.0.5"},
		{name: "own address", options: func(o *Options) { o.Server.NodeIP = "10.0.0.5" }},
		{name: "foreign data folder", facts: func(f *Facts) { f.Foreign = []string{"photos"} }, want: "data-dir: /var/lib/airgap holds what is not airgap's: photos"},
		{name: "noexec", facts: func(f *Facts) { f.Disk.NoExec = true }, want: "data-dir: / is mounted noexec"},
		{name: "read-only", facts: func(f *Facts) { f.Disk.ReadOnly = true }, want: "data-dir: / is mounted read-only"},
		{name: "no space", facts: func(f *Facts) { f.Disk.FreeBytes = 1 << 30 }, want: "disk: / has 1.07 GB free, the install needs about 4.54 GB (1.00 GB from the bundle, 3.00 GB unpacked, 537 MB reserve); free 3.46 GB more there"},
		{name: "space, since the blobs are there", facts: func(f *Facts) {
			f.Disk.FreeBytes, f.Disk.TotalBytes = 1<<30, 2<<30
			f.HasBlob = func(string) bool { return true }
		}},
		{name: "little space afterwards", facts: func(f *Facts) { f.Disk.FreeBytes = 10 << 30 }, want: "disk: / will have about", warning: true},
		{name: "no inodes", facts: func(f *Facts) { f.Disk.FreeInodes = 1000 }, want: "disk: / has 1000 inodes free"},
		{name: "inodes made as needed", facts: func(f *Facts) { f.Disk.FreeInodes, f.Disk.TotalInodes = 0, 0 }},
		{name: "other platform", bundle: func(m *bundle.Manifest) { m.Platforms = []string{"linux/riscv64"} }, want: "platform: bundle site-a 1.0.0 is for linux/riscv64"},
		{name: "variant", bundle: func(m *bundle.Manifest) { m.Platforms = []string{thisPlatform() + "/v8"} }},
		{name: "needs a newer airgap", bundle: func(m *bundle.Manifest) { m.MinimumAirgap = "2.0.0" }, want: "version: bundle site-a 1.0.0 needs airgap 2.0.0 or newer, this is 1.0.0"},
		{name: "old airgap will do", bundle: func(m *bundle.Manifest) { m.MinimumAirgap = "1.0.0" }},
		{name: "clock in 1970", facts: func(f *Facts) { f.Now = time.Unix(60, 0) }, want: "clock: the clock says 1970-01-01T00:01:00Z, but the bundle was made at 2026-11-22T09:00:00Z", warning: true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			facts := goodFacts()
			o := &Options{Server: config.NewServer(), Version: "1.0.0"}
			m := &bundle.Manifest{Name: "site-a", Version: "1.0.0", Platforms: []string{thisPlatform()}, IssuedAt: "2026-11-22T09:00:00Z",
				Entries: []bundle.Entry{{SHA256: "aa", Size: 1e9, Role: bundle.RoleLayer}}}
			if test.facts != nil {
				test.facts(&facts)
			}
			if test.options != nil {
				test.options(o)
			}
			if test.bundle != nil {
				test.bundle(m)
			}
			found := preflight(facts, o, m)
			if test.want == "" {
				if len(found) != 0 {
					t.Errorf("findings: %v", found)
				}
				return
			}
			if len(found) != 1 || !strings.HasPrefix(found[0].String(), test.want) || found[0].Warning != test.warning || found[0].Remedy == "" {
				t.Errorf("findings: %+v\nwant one: %s", found, test.want)
			}
		})
	}
}

// All problems come in one report, and warnings are none.
func TestPreflightReportsAll(t *testing.T) {
	facts := goodFacts()
	facts.MissingTools, facts.SELinux, facts.Addresses = []string{"mount"}, true, nil
	err := problems(preflight(facts, &Options{Server: config.NewServer()}, nil))
	var preflight *PreflightError
	if !errors.As(err, &preflight) || len(preflight.Problems) != 2 {
		t.Fatalf("error %v", err)
	}
	if text := err.Error(); !strings.Contains(text, "2 problems") || strings.Contains(text, "selinux") || strings.Count(text, "\n") != 2 {
		t.Error(text)
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
		if got, missing := defaultNodeIP(Facts{Addresses: both}, s); got != want || missing != "" {
			t.Errorf("with %s: %s, missing %q; want %s", cluster, got, missing, want)
		}
	}
}
