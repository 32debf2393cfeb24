package preflight

import (
	"errors"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"airgap/internal/hostinfo"
	"airgap/node/config"
	"airgap/node/kernel"
)

// builtIn are what a node needs of a kernel and what cannot be tried in passing. They are looked up where the kernel's configuration is known.
var builtIn = []struct {
	option string
	level  Level
	why    string
}{
	{"CONFIG_KEYS", Fail, "each container has a keyring"},
	{"CONFIG_CGROUP_BPF", Fail, "with cgroup v2 the devices of containers are held back by it"},
	{"CONFIG_SECCOMP_FILTER", Warn, "pods that ask for a seccomp profile do not start"},
	{"CONFIG_CFS_BANDWIDTH", Warn, "pods with a CPU limit do not start"},
}

// kernel judges what the kernel has: tried where that can be done.
func (c *checker) kernel() {
	f := c.facts
	var works []string
	if f.Root {
		for _, feature := range c.features() {
			if feature.err != nil {
				c.fail(feature.why, c.kernelRemedy(feature.err, feature.module), "no %s: %v", feature.name, feature.err)
			} else {
				works = append(works, feature.name)
			}
		}
	}
	if f.NoMQueue {
		c.fail("no container starts without it", "use a kernel with CONFIG_POSIX_MQUEUE", "no file system mqueue")
	}
	for _, b := range builtIn {
		if !f.KernelConfig.Lacks(b.option) || b.option == "CONFIG_CGROUP_BPF" && f.Cgroups.Version() != 2 {
			continue
		}
		c.findings = append(c.findings, Finding{Check: c.name, Level: b.level, Text: "the kernel was built without " + b.option, Why: b.why, Remedy: "use a kernel with " + b.option})
	}
	c.oldTables()
	text := f.KernelRelease
	if len(works) > 0 {
		text += "; tried, and work: " + strings.Join(works, ", ")
	}
	c.otherwise("%s", text)
}

// feature is something of the kernel that was tried.
type feature struct {
	name   string
	module string // that has it on most kernels
	err    error
	why    string
}

// features lists those that the subject needs.
func (c *checker) features() []feature {
	k, s := c.facts.Kernel, c.Server
	all := []feature{{"namespaces", "", k.Namespaces, "containers are made of them"}}
	if s.DisableAgent {
		return all
	}
	all = append(all,
		feature{"overlayfs on " + c.facts.Data.Parent, "overlay", k.Overlay, "images are unpacked for it"},
		feature{"types of files in folders of " + c.facts.Data.Parent, "", k.DType, "containerd refuses to unpack images there"},
		feature{"bridge interfaces", "bridge", k.Bridge, "pods are connected by one"},
		feature{"veth interfaces", "veth", k.Veth, "pods are connected by them"},
		feature{"nf_tables", "nf_tables", k.NFTables, "services and network policies are made of its rules"},
	)
	if c.facts.RulesTried {
		all = append(all, feature{"rules for services", "nft_chain_nat, nft_masq, nft_fib_inet, nft_numgen, nft_reject_inet and nft_ct", k.Rules, "services would not work"})
	}
	if s.FlannelConf == "" {
		switch s.FlannelBackend {
		case config.FlannelVXLAN:
			all = append(all, feature{"vxlan interfaces", "vxlan", k.VXLAN, "pods of different nodes would not reach each other"})
		case config.FlannelWireGuard:
			all = append(all, feature{"wireguard interfaces", "wireguard", k.WireGuard, "pods of different nodes would not reach each other"})
		}
	}
	if s.FlannelBackend != config.FlannelNone {
		all = append(all, feature{kernel.BridgeFilter, kernel.BridgeFilter, c.facts.BridgeFilter, "services do not work between pods of one node"})
	}
	return all
}

// kernelRemedy is what to do about a feature that does not work.
func (c *checker) kernelRemedy(err error, module string) string {
	switch {
	case errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES):
		return "this looks like a container that is not allowed to: run it on the machine itself, or give the container all privileges"
	case c.facts.ModulesGone:
		return "start the machine again: its kernel was updated, and the modules of the one that runs are gone"
	case module == "overlay" && c.facts.Data.Type == "overlay":
		return "put the data folder on a file system of its own (--data-dir): this one is a container's, and overlays do not nest"
	case module == "vxlan" || module == "wireguard":
		return "load its module (modprobe " + module + "), or, with all nodes on one network, choose --flannel-backend host-gw"
	case module == "":
		return "use a kernel, or a file system, that has it"
	case module == kernel.BridgeFilter:
		return "make modprobe " + module + " work (packages kmod and linux-modules-extra of the distribution), or use a kernel that has it"
	default:
		return "use a kernel that has it, or load its module: " + module
	}
}

// oldTables warns where the distribution's own nft may fail on the rules that the node's makes: it did before 1.0.1, which came with
// kernels of 5.13 (https://issues.k8s.io/122743).
func (c *checker) oldTables() {
	major, minor, err := hostinfo.KernelVersion(c.facts.KernelRelease)
	if err == nil && (major < 5 || major == 5 && minor < 13) && c.facts.HostNFT {
		c.warn("an nft before 1.0.1 may not be able to list or change rules while the node runs", "use the node's own, "+c.Server.DataDir+"/current/bin/nft; or a newer distribution",
			"kernel %s, and the distribution's own nft is likely as old", c.facts.KernelRelease)
	}
}

// settings judges the kernel's settings that a node changes, or must not.
func (c *checker) settings() {
	f := c.facts
	if c.Server.ProtectKernelDefaults {
		for _, wrong := range f.Sysctls {
			c.fail("--protect-kernel-defaults forbids the node to set it", "set it before the install", "%v", wrong)
		}
	}
	if slices.Contains(f.ReadOnly, kernel.Root) {
		for _, wrong := range f.Differing {
			c.fail("the node sets it at each start", "set it outside, where /proc/sys can be written", "%s, and %s is read-only", wrong, kernel.Root)
		}
	}
	c.otherwise("what the node needs is set, or is set by it")
}

// cgroups judges the control groups.
func (c *checker) cgroups() {
	f := c.facts
	needed := []string{"cpu", "memory", "pids"}
	if f.Cgroups.Unified == "" || f.Cgroups.Version() == 1 { // the kubelet and runc want these there
		needed = append(needed, "cpuacct", "cpuset", "devices")
	}
	missing := f.Cgroups.Missing(needed...)
	switch {
	case len(f.Cgroups.Controllers) == 0:
		c.fail("the kubelet does not start", c.cgroupRemedy(), "none are mounted")
	case len(missing) > 0:
		c.fail("the kubelet does not start", c.cgroupRemedy(), "no %s controller", strings.Join(missing, ", no "))
	case f.Cgroups.Version() == 1:
		c.warn("Kubernetes will drop it", "boot with systemd.unified_cgroup_hierarchy=1 when you can", "version 1")
	}
	for _, point := range f.ReadOnly {
		if point != kernel.Root {
			c.fail("the kubelet makes a group for each pod", "run it on the machine itself, or give the container all privileges", "%s is mounted read-only", point)
		}
	}
	c.otherwise("version %d, with %s", f.Cgroups.Version(), strings.Join(needed, ", "))
}

// cgroupRemedy says how the missing controllers are had on this machine.
func (c *checker) cgroupRemedy() string {
	f := c.facts
	const pi = "cgroup_memory=1 cgroup_enable=memory"
	switch {
	case len(f.Cgroups.Controllers) == 0:
		return "mount them (mount -t cgroup2 cgroup2 /sys/fs/cgroup); if this is `ip netns exec`, which hides them, use nsenter --net=/run/netns/NAME"
	case strings.Contains(f.Model, "Raspberry Pi"):
		return "append " + pi + " to the one line of /boot/firmware/cmdline.txt (before Debian 12: /boot/cmdline.txt), and start the machine again"
	case slices.ContainsFunc(f.CommandLine, func(arg string) bool { return strings.HasPrefix(arg, "cgroup_disable=") }):
		return "take cgroup_disable=… out of the kernel's command line, and start the machine again"
	default:
		return "enable them on the kernel's command line (" + pi + "; with GRUB: GRUB_CMDLINE_LINUX in /etc/default/grub, then update-grub), and start the machine again"
	}
}
