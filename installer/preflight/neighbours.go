package preflight

import "strings"

func (c *checker) kubernetes() {
	f := c.facts
	for _, p := range f.Kubelets {
		c.fail("two cannot share a machine's network", "uninstall the other cluster first", "another Kubernetes runs here: %s, process %d", p.Name, p.PID)
	}
	if f.OtherNode != "" {
		c.fail("two cannot share a machine's network", "uninstall it, or install in a network namespace of its own",
			"another node, with the data folder %s, runs in this network namespace", f.OtherNode)
	}
	if len(f.Kubelets) == 0 {
		switch {
		case len(f.AtBoot) > 0:
			c.warn("after a reboot it takes this node's ports", "uninstall it, or keep it off (systemctl disable --now "+strings.Join(f.AtBoot, " ")+")",
				"another Kubernetes starts at boot: %s", strings.Join(f.AtBoot, ", "))
		case f.Rancher:
			c.warn("two cannot share a machine's network", "make sure that it is stopped for good", "/etc/rancher exists: K3s or RKE2 is or was installed here")
		}
	}
	c.otherwise("no other runs here")
}

func (c *checker) runtimes() {
	for _, p := range c.facts.Runtimes {
		why := "both fill the same disk, and neither knows what the other needs"
		if p.Name == "dockerd" {
			why = "it makes the machine drop forwarded packets; the node lets pods' through, but not where old iptables (legacy) is used"
		}
		c.warn(why, "stop it for good if nothing needs it (systemctl disable --now docker containerd crio)", "another container runtime runs here: %s, process %d", p.Name, p.PID)
	}
	c.otherwise("no other runs here")
}

func (c *checker) selinux() {
	if c.facts.SELinux {
		c.warn("pods may not be able to read their volumes", "set it to permissive (setenforce 0, and SELINUX=permissive in /etc/selinux/config) if they cannot", "enforcing, and this version brings no policy")
		return
	}
	c.pass("not enforcing")
}

// apparmor is fine either way: containerd loads its profile where it can, and does without where not.
func (c *checker) apparmor() {
	if c.facts.AppArmor {
		c.pass("on")
		return
	}
	c.pass("off")
}
