package installer

import (
	"fmt"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"time"

	"airgap/bundle"
	"airgap/internal/progress"
	"airgap/node/config"
	"airgap/node/kernel"
)

// Figures that a machine must reach.
const (
	minMemoryBytes  = 900 << 20 // a control plane, an agent and containerd take 400 MB before any pod
	lowMemoryBytes  = 1800 << 20
	evictionPercent = 10 // the kubelet evicts pods when less of the disk is free
)

// Finding is one thing that a preflight has to say.
type Finding struct {
	Check   string `json:"check"`   // what was looked at: "disk", "ports"
	Text    string `json:"text"`    // what is wrong, with the object and figures
	Remedy  string `json:"remedy"`  // what to do
	Warning bool   `json:"warning"` // does not stop an install
}

func (f Finding) String() string { return fmt.Sprintf("%s: %s; %s", f.Check, f.Text, f.Remedy) }

// PreflightError carries every problem that a preflight found.
type PreflightError struct {
	Problems []Finding
}

func (e *PreflightError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "the machine cannot take this install: %d problem", len(e.Problems))
	if len(e.Problems) != 1 {
		b.WriteByte('s')
	}
	for _, p := range e.Problems {
		b.WriteString("\n  " + p.String())
	}
	return b.String()
}

// preflight judges facts for a node as o describes it and, unless m is nil, for bundle m.
// It reports everything, not just the first problem.
func preflight(f Facts, o *Options, m *bundle.Manifest) []Finding {
	c := &checker{facts: f, options: o, manifest: m}
	c.machine()
	c.kernel()
	c.network()
	c.server()
	c.dataDir()
	if m != nil {
		c.bundle(m)
		c.space(m)
		c.clock(m)
	}
	return c.findings
}

type checker struct {
	facts    Facts
	options  *Options
	manifest *bundle.Manifest
	findings []Finding
}

func (c *checker) problem(check, remedy, format string, args ...any) {
	c.findings = append(c.findings, Finding{Check: check, Text: fmt.Sprintf(format, args...), Remedy: remedy})
}

func (c *checker) warn(check, remedy, format string, args ...any) {
	c.findings = append(c.findings, Finding{Check: check, Text: fmt.Sprintf(format, args...), Remedy: remedy, Warning: true})
}

func (c *checker) machine() {
	f := c.facts
	if f.OS != "linux" {
		c.problem("platform", "install on Linux", "this is %s", f.OS)
	}
	if !f.Root {
		c.problem("root", "run it as root, e.g. with sudo", "not root: images, mounts and the service need it")
	}
	switch {
	case f.MemoryBytes < minMemoryBytes:
		c.problem("memory", "use a larger machine", "%s, a node needs at least %s", progress.Bytes(f.MemoryBytes), progress.Bytes(minMemoryBytes))
	case f.MemoryBytes < lowMemoryBytes:
		c.warn("memory", "expect little room for pods", "only %s", progress.Bytes(f.MemoryBytes))
	}
	for _, p := range f.Kubelets {
		c.problem("kubernetes", "uninstall the other cluster first", "another Kubernetes runs here: %s, process %d", p.Name, p.PID)
	}
	if f.OtherNode != "" {
		c.problem("kubernetes", "uninstall it, or install in a network namespace of its own",
			"another node, with the data folder %s, runs in this network namespace", f.OtherNode)
	}
	if f.Rancher && len(f.Kubelets) == 0 {
		c.warn("kubernetes", "make sure that it is stopped for good", "/etc/rancher exists: K3s or RKE2 is or was installed here")
	}
	if len(f.MissingTools) > 0 {
		c.problem("tools", "install the distribution's mount and util-linux packages", "missing: %s", strings.Join(f.MissingTools, ", "))
	}
	if f.SELinux {
		c.warn("selinux", "set it to permissive if pods cannot read their files", "enforcing, and this version brings no policy")
	}
}

func (c *checker) kernel() {
	f := c.facts
	if f.Root {
		const remedy = "use a kernel that has it, or load its module"
		for _, feature := range []struct {
			name string
			err  error
		}{
			{"namespaces", f.Kernel.Namespaces},
			{"overlayfs on " + f.DataParent, f.Kernel.Overlay},
			{"bridge interfaces", f.Kernel.Bridge},
			{"veth interfaces", f.Kernel.Veth},
			{"nf_tables", f.Kernel.NFTables},
		} {
			if feature.err != nil {
				c.problem("kernel", remedy, "no %s: %v", feature.name, feature.err)
			}
		}
	}
	if c.options.Server.ProtectKernelDefaults {
		for _, wrong := range f.Sysctls {
			c.problem("kernel", "set it before the install", "%v", wrong)
		}
	}
	if f.Root {
		c.flannel()
	}
	if s := c.options.Server; f.BridgeFilter != nil && !s.DisableAgent && s.FlannelBackend != config.FlannelNone {
		c.problem("kernel", "make modprobe "+kernel.BridgeFilter+" work (packages kmod and linux-modules-extra of the distribution), or use a kernel that has it",
			"no %s, without which services do not work between pods of one node: %v", kernel.BridgeFilter, f.BridgeFilter)
	}
	if missing := f.Cgroups.Missing("cpu", "memory", "pids"); len(missing) > 0 {
		c.problem("cgroups", "mount the control groups, or enable the controllers on the kernel's command line (cgroup_enable=memory)",
			"no %s controller", strings.Join(missing, ", no "))
	} else if f.Cgroups.Version() == 1 {
		c.warn("cgroups", "boot with systemd.unified_cgroup_hierarchy=1 when you can", "version 1, which Kubernetes will drop")
	}
}

// flannel checks that the kernel has what the chosen backend of Flannel needs.
func (c *checker) flannel() {
	s := c.options.Server
	if s.DisableAgent || s.FlannelConf != "" {
		return
	}
	err, module := error(nil), ""
	switch s.FlannelBackend {
	case config.FlannelVXLAN:
		err, module = c.facts.Kernel.VXLAN, "vxlan"
	case config.FlannelWireGuard:
		err, module = c.facts.Kernel.WireGuard, "wireguard"
	}
	if err != nil {
		c.problem("kernel", "load its module (modprobe "+module+"), or, with all nodes on one network, choose --flannel-backend host-gw",
			"no %s interfaces: %v", module, err)
	}
}

func (c *checker) network() {
	f, s := c.facts, c.options.Server
	if !f.Running {
		for _, port := range c.options.ports() {
			for _, l := range f.Listeners {
				if l.Takes(port.address, port.number) {
					c.problem("ports", "stop what listens there, or choose another with --"+port.flag,
						"TCP port %d (%s) is taken by a listener on %s", port.number, port.use, l.Address)
					break
				}
			}
		}
	}
	if s.NodeIP == "" {
		if _, missing := defaultNodeIP(f, s); missing != "" {
			c.problem("address", "give an interface an address, or say which to use with --node-ip",
				"no interface but loopback has an %s address, and the pods' network %s is of that family", missing, s.ClusterCIDR)
		}
		return
	}
	for text := range strings.SplitSeq(s.NodeIP, ",") {
		address, err := netip.ParseAddr(strings.TrimSpace(text))
		switch {
		case err != nil:
			c.problem("address", "give an IP address", "--node-ip %q is none", text)
		case !slices.Contains(f.Addresses, address.Unmap()):
			c.problem("address", "give one of "+join(f.Addresses), "--node-ip %s is no address of this machine", address)
		}
	}
}

// port is one that a node listens on.
type port struct {
	number  int
	address netip.Addr // invalid: all
	flag    string
	use     string
}

func (o *Options) ports() []port {
	s := o.Server
	loopback := netip.AddrFrom4([4]byte{127, 0, 0, 1})
	bind, _ := netip.ParseAddr(s.BindAddress)
	all := []port{{s.HTTPSListenPort, bind, "https-listen-port", "API server"}}
	if o.agent {
		all = []port{{s.LBServerPort, loopback, "lb-server-port", "API server, whichever answers"}}
	}
	if s.DisableAgent {
		return all
	}
	return append(all,
		port{s.PeerPort, netip.Addr{}, "peer-port", "what other nodes get"},
		port{s.KubeletPort, netip.Addr{}, "kubelet-port", "kubelet"},
		port{s.KubeletHealthPort, loopback, "kubelet-healthz-port", "kubelet's health"},
		port{s.ProxyHealthPort, loopback, "kube-proxy-healthz-port", "kube-proxy's health"},
		port{s.ProxyMetricsPort, loopback, "kube-proxy-metrics-port", "kube-proxy's metrics"},
		port{s.RegistryPort, loopback, "registry-port", "image mirror"})
}

// defaultNodeIP are the addresses that a node without --node-ip gets, separated by commas: the first of each family that the
// pods' networks have, in their order. missing is the family that no interface has an address of, or empty.
func defaultNodeIP(f Facts, s *config.Server) (addresses, missing string) {
	networks, err := s.ClusterNetworks()
	if err != nil {
		return "", ""
	}
	var chosen []string
	for _, network := range networks {
		is4 := network.Addr().Is4()
		i := slices.IndexFunc(f.Addresses, func(a netip.Addr) bool { return a.Is4() == is4 })
		if i < 0 {
			return "", map[bool]string{true: "IPv4", false: "IPv6"}[is4]
		}
		chosen = append(chosen, f.Addresses[i].String())
	}
	return strings.Join(chosen, ","), ""
}

func (c *checker) dataDir() {
	f, dir := c.facts, c.options.Server.DataDir
	if len(f.Foreign) > 0 {
		shown := f.Foreign[:min(3, len(f.Foreign))]
		c.problem("data-dir", "choose an empty folder with --data-dir: an uninstall removes it whole",
			"%s holds what is not airgap's: %s", dir, strings.Join(shown, ", "))
	}
	if f.Disk.NoExec {
		c.problem("data-dir", "remount it with exec, or choose another --data-dir", "%s is mounted noexec, and the executables live there", f.DataParent)
	}
	if f.Disk.ReadOnly {
		c.problem("data-dir", "remount it writable, or choose another --data-dir", "%s is mounted read-only", f.DataParent)
	}
}

func (c *checker) bundle(m *bundle.Manifest) {
	want := c.facts.OS + "/" + c.facts.Arch
	if !slices.ContainsFunc(m.Platforms, func(p string) bool { return samePlatform(p, want) }) {
		c.problem("platform", "build the bundle with platforms: ["+want+"]", "bundle %s %s is for %s, this machine is %s",
			m.Name, m.Version, strings.Join(m.Platforms, ", "), want)
	}
	if older(c.options.Version, m.MinimumAirgap) {
		c.problem("version", "use that version's executable", "bundle %s %s needs airgap %s or newer, this is %s", m.Name, m.Version, m.MinimumAirgap, c.options.Version)
	}
}

// clock finds a clock that is certainly wrong: certificates made now would not be valid yet when it
// is put right, or the bundle's not yet.
func (c *checker) clock(m *bundle.Manifest) {
	issued, behind := clockBehind(c.facts, m)
	if behind {
		c.warn("clock", "the installer raises it to that; set it right when you can",
			"the clock says %s, but the bundle was made at %s", c.facts.Now.UTC().Format(time.RFC3339), issued.Format(time.RFC3339))
	}
}

// clockBehind says whether the machine's clock is before the bundle's issue time, and what that is.
func clockBehind(f Facts, m *bundle.Manifest) (issued time.Time, behind bool) {
	issued, err := time.Parse(time.RFC3339, m.IssuedAt)
	return issued, err == nil && f.Now.Before(issued)
}

// samePlatform says whether a bundle's platform, "linux/arm64/v8", is the machine's "linux/arm64".
func samePlatform(of, machine string) bool {
	return of == machine || strings.HasPrefix(of, machine+"/")
}

// thisPlatform is the platform of the machine.
func thisPlatform() string { return runtime.GOOS + "/" + runtime.GOARCH }

func join(addresses []netip.Addr) string {
	texts := make([]string, len(addresses))
	for i, a := range addresses {
		texts[i] = a.String()
	}
	return strings.Join(texts, ", ")
}
