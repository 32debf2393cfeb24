package preflight

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"airgap/bundle"
	"airgap/internal/progress"
)

// Figures that a machine must reach.
const (
	minMemoryBytes = 900 << 20 // a control plane, an agent and containerd take 400 MB before any pod
	lowMemoryBytes = 1800 << 20
	minFreeMemory  = 450 << 20

	minOpenFiles  = 4096
	minFiles      = 20_000
	minInstances  = 64 // kubelet, containerd and the server take a dozen; each `logs -f` one more
	minProcessIDs = 16_384
)

// longAfter is how long after its bundle was made an install is surely not: the clock is wrong.
const longAfter = 10 * 365 * 24 * time.Hour

func (c *checker) install() {
	if c.facts.Busy != "" {
		c.fail("one at a time", "wait for it, then run again; --wait waits", "another install of %s is going on: %s", c.Server.DataDir, c.facts.Busy)
	}
}

func (c *checker) root() {
	if c.facts.Root {
		c.pass("it is root")
		return
	}
	c.fail("images, mounts and the service need it", "run it as root, e.g. with sudo", "not root")
}

func (c *checker) platform() {
	f := c.facts
	if f.OS != "linux" {
		c.fail("nodes run containers of Linux", "install on Linux", "this is %s", f.OS)
	}
	machine := f.OS + "/" + f.Arch
	for _, m := range c.Bundles {
		if !slices.ContainsFunc(m.Platforms, func(p string) bool { return SamePlatform(p, machine) }) {
			c.fail("nothing in it would run here", "build the bundle with platforms: ["+machine+"]", "bundle %s %s is for %s, this machine is %s",
				m.Name, m.Version, strings.Join(m.Platforms, ", "), machine)
		}
	}
	c.otherwise("%s", machine)
}

func (c *checker) version() {
	for _, m := range c.Bundles {
		if Older(c.Version, m.MinimumAirgap) {
			c.fail("it may hold what this one does not understand", "use that version's executable", "bundle %s %s needs airgap %s or newer, this is %s", m.Name, m.Version, m.MinimumAirgap, c.Version)
		}
	}
}

// distribution finds out whether there will be an executable to run.
func (c *checker) distribution() {
	if len(c.Bundles) == 0 || c.facts.Installed {
		return
	}
	for _, m := range c.Bundles {
		for _, d := range m.Distributions {
			if SamePlatform(d.Platform, ThisPlatform()) {
				c.pass("airgap %s with Kubernetes %s comes with bundle %s %s", d.Version, d.Kubernetes, m.Name, m.Version)
				return
			}
		}
	}
	m := c.Bundles[0]
	c.fail("there would be nothing to run", "build it from system.airgap (leave `from` out), or install a bundle that has one first",
		"bundle %s %s brings no airgap for %s, and this machine has none", m.Name, m.Version, ThisPlatform())
}

func (c *checker) service() {
	if c.NoBoot {
		c.warn("the node does not start again after a reboot", "have `airgap install` run at boot, or say --init none if that is as it should be",
			"no service manager that is known runs here")
		return
	}
	c.pass("run by: %s", c.Init)
}

func (c *checker) cpu() {
	cpu := c.facts.CPU
	if missing := cpu.MissingV2(); c.facts.Arch == "amd64" && len(missing) > 0 {
		c.warn("the node runs; images built for x86-64-v2, as RHEL 9's and those made from it, do not", "for such images, use a newer processor, or let the virtual machine see the host's",
			"the processor lacks %s", strings.Join(missing, ", "))
	}
	c.otherwise("%d, %s", cpu.Count, c.facts.Arch)
}

func (c *checker) memory() {
	m := c.facts.Memory
	switch {
	case m.Total < minMemoryBytes:
		c.fail(fmt.Sprintf("a node needs at least %s", progress.Bytes(minMemoryBytes)), "use a larger machine", "%s", progress.Bytes(m.Total))
	case m.Total < lowMemoryBytes:
		c.warn("there is little room for pods", "try --profile edge, and --disable what the site does not use", "only %s", progress.Bytes(m.Total))
	case m.Available < minFreeMemory && !c.facts.Running:
		c.warn("the node would push others out of memory, or be pushed", "see what takes it (ps aux --sort=-rss), and stop what is not needed",
			"%s, of which only %s are free", progress.Bytes(m.Total), progress.Bytes(m.Available))
	}
	c.otherwise("%s, %s of it free", progress.Bytes(m.Total), progress.Bytes(m.Available))
}

// swap is fine: the kubelet is told to accept it, and with cgroup v2 gives pods none.
func (c *checker) swap() {
	switch swap := c.facts.Memory.Swap; {
	case swap == 0:
		c.pass("none")
	case c.facts.Cgroups.Version() != 1:
		c.pass("%s, which pods are kept off", progress.Bytes(swap))
	default:
		c.warn("pods that run out of memory are slow for long, instead of being restarted", "swapoff -a, and take it out of /etc/fstab; or boot with cgroup v2, which keeps pods off it",
			"%s, and cgroup v1 lets pods use it", progress.Bytes(swap))
	}
}

// clock finds a clock that is certainly wrong: certificates made now would not be valid yet when it
// is put right, or the bundle's not yet.
func (c *checker) clock() {
	now := c.facts.Now.UTC().Format(time.RFC3339)
	var latest time.Time
	for _, m := range c.Bundles {
		if issued, err := time.Parse(time.RFC3339, m.IssuedAt); err == nil && issued.After(latest) {
			latest = issued
		}
	}
	switch {
	case latest.IsZero():
	case c.facts.Now.Before(latest):
		c.warn("certificates made now would count as expired too early", "the installer raises it to that; set it right when you can",
			"the clock says %s, but the bundle was made at %s", now, latest.Format(time.RFC3339))
	case c.facts.Now.Sub(latest) > longAfter:
		c.warn("if that is wrong, the certificates made now are not valid yet on the day the clock is put right, and the cluster stands still",
			"set the clock before the install, e.g. date -u -s '2026-11-23 09:00'",
			"the clock says %s, %d years after the bundle was made (%s)", now, int(c.facts.Now.Sub(latest).Hours()/24/365), latest.Format(time.RFC3339))
	}
	c.otherwise("%s", now)
}

// ClockBehind says whether the machine's clock is before the bundle's issue time, and what that is.
func ClockBehind(f Facts, m *bundle.Manifest) (issued time.Time, behind bool) {
	issued, err := time.Parse(time.RFC3339, m.IssuedAt)
	return issued, err == nil && f.Now.Before(issued)
}

func (c *checker) entropy() {
	if c.facts.Unseeded {
		c.warn("the install waits until it has, for no key can be made before", "type on the keyboard or move data; a virtual machine wants a virtio-rng device",
			"the kernel has gathered no randomness yet")
		return
	}
	c.pass("the kernel's random numbers are ready")
}

func (c *checker) limits() {
	l := c.facts.Limits
	const remedy = "put a higher value into /etc/sysctl.d, and run sysctl --system"
	for _, limit := range []struct {
		name    string
		value   int64
		minimum int64
		why     string
	}{
		{"fs.file-max", l.Files, minFiles, "programs fail with \"too many open files\""},
		{"fs.inotify.max_user_instances", l.Instances, minInstances, "pods are not followed: \"too many open files\" from kubelet and containerd"},
		{"kernel.pid_max", l.ProcessIDs, minProcessIDs, "few pods use up all process IDs"},
	} {
		if limit.value < limit.minimum {
			c.warn(limit.why, remedy, "%s is %d, want at least %d", limit.name, limit.value, limit.minimum)
		}
	}
	if c.Init == "none" && l.OpenFiles >= 0 && l.OpenFiles < minOpenFiles {
		c.warn("the node inherits that, and fails with \"too many open files\"", "ulimit -Hn 65536 before the install", "a process may open only %d files", l.OpenFiles)
	}
	c.otherwise("%d open files, %d inotify instances, %d process IDs", l.Files, l.Instances, l.ProcessIDs)
}

func (c *checker) tools() {
	if missing := c.facts.MissingTools; len(missing) > 0 {
		c.fail("the kubelet mounts volumes with them", "install the distribution's mount and util-linux packages", "missing: %s", strings.Join(missing, ", "))
		return
	}
	c.pass("mount, umount")
}
