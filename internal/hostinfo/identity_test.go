package hostinfo

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

func TestIdentity(t *testing.T) {
	h := machine(map[string]string{
		"proc/sys/kernel/hostname": "Node-1.site\n",
		"etc/machine-id":           "0123456789abcdef0123456789abcdef\n",
		"proc/device-tree/model":   "Raspberry Pi 4 Model B Rev 1.4\x00",
		"proc/cmdline":             "console=ttyS0 cgroup_disable=memory quiet\n",
		"etc/hosts": "127.0.0.1\tlocalhost\n127.0.1.1 Node-1.site node-1 # by the installer of Debian\n" +
			"::1 localhost ip6-localhost\nnonsense here\n#10.0.0.9 other\n",
	})
	if h.Hostname() != "Node-1.site" || h.MachineID() != "0123456789abcdef0123456789abcdef" || h.Model() != "Raspberry Pi 4 Model B Rev 1.4" {
		t.Errorf("hostname %q, machine ID %q, model %q", h.Hostname(), h.MachineID(), h.Model())
	}
	if got := h.CommandLine(); !slices.Equal(got, []string{"console=ttyS0", "cgroup_disable=memory", "quiet"}) {
		t.Errorf("command line %q", got)
	}
	if got := fmt.Sprint(h.HostsNames()); got != "map[ip6-localhost:[::1] localhost:[127.0.0.1 ::1] node-1:[127.0.1.1] node-1.site:[127.0.1.1]]" {
		t.Errorf("names in /etc/hosts: %s", got)
	}

	bare := machine(map[string]string{"proc/sys/kernel/hostname": "(none)\n"})
	if bare.Hostname() != "" || bare.MachineID() != "" || bare.Model() != "" || len(bare.HostsNames()) != 0 || bare.AppArmor() {
		t.Errorf("a bare machine has %q, %q, %q, %v", bare.Hostname(), bare.MachineID(), bare.Model(), bare.HostsNames())
	}
}

func TestNameservers(t *testing.T) {
	for name, test := range map[string]struct {
		conf string
		want []string
	}{
		"empty":           {"", nil},
		"loopback":        {"nameserver 127.0.0.53\nnameserver ::1\n", nil},
		"one to use":      {"search site\nnameserver 127.0.0.53\nnameserver 10.0.0.1\n", []string{"10.0.0.1"}},
		"IPv6":            {"nameserver fd00::1", []string{"fd00::1"}},
		"comment":         {"# nameserver 10.0.0.1\n;nameserver 10.0.0.2\n", nil},
		"broken":          {"nameserver\nnameserver nowhere\n", nil},
		"options after":   {"nameserver 10.0.0.1 # ours\n", []string{"10.0.0.1"}},
		"unspecified too": {"nameserver 0.0.0.0\n", nil},
	} {
		t.Run(name, func(t *testing.T) {
			if got := Nameservers(test.conf); !slices.Equal(got, test.want) {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
}

func TestNameserversOfAHost(t *testing.T) {
	h := machine(map[string]string{"etc/resolv.conf": "nameserver 127.0.0.53\n", "run/systemd/resolve/resolv.conf": "nameserver 10.0.0.1\n"})
	if got := h.Nameservers(); !slices.Equal(got, []string{"10.0.0.1"}) {
		t.Errorf("behind systemd-resolved: %q", got)
	}
	if got := machine(nil).Nameservers(); got != nil {
		t.Errorf("without a file: %q", got)
	}
}

// Chains of nf_tables as nft makes them, in a network namespace of the test's own.
func TestClosedChains(t *testing.T) {
	nft, err := exec.LookPath("nft")
	if err != nil || os.Geteuid() != 0 {
		t.Skip("needs root and nft")
	}
	onThread(func() {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			t.Errorf("unshare: %v", err)
			return
		}
		for _, step := range []struct{ rules, want string }{
			{"add table inet filter; add chain inet filter input { type filter hook input priority 0; policy accept; }", "[]"},
			{"add chain inet filter forward { type filter hook forward priority 0; policy drop; }; add chain inet filter some", "[]"},
			{"add table ip old; add chain ip old INPUT { type filter hook input priority 5; policy drop; }", "[ip old INPUT]"},
		} {
			if out, err := exec.Command(nft, step.rules).CombinedOutput(); err != nil {
				t.Errorf("nft: %v: %s", err, out)
				return
			}
			if got, err := ClosedChains(); err != nil || fmt.Sprint(got) != step.want {
				t.Errorf("after %q: %v, %v; want %s", step.rules, got, err, step.want)
			}
		}
	})
}

func TestFirewallsAndServices(t *testing.T) {
	firewalld := []Process{{PID: 1, Name: "systemd"}, {PID: 7, Name: "firewalld"}}
	on := machine(map[string]string{
		"etc/ufw/ufw.conf": "# comment: ENABLED=yes\nENABLED=yes\n",
		"etc/systemd/system/multi-user.target.wants/k3s.service": "",
		"etc/runlevels/default/kubelet":                          "",
	})
	off := machine(map[string]string{"etc/ufw/ufw.conf": "ENABLED=no\nLOGLEVEL=low\n"})
	if got := on.Firewalls(firewalld); !slices.Equal(got, []string{"firewalld", "ufw"}) {
		t.Errorf("firewalls %q", got)
	}
	if got := off.Firewalls(nil); got != nil {
		t.Errorf("firewalls %q where none is on", got)
	}
	if got := on.StartsAtBoot("k3s", "kubelet", "k3s-agent"); !slices.Equal(got, []string{"k3s", "kubelet"}) {
		t.Errorf("start at boot: %q", got)
	}
}
