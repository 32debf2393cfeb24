package preflight_test

import (
	"cmp"
	"fmt"
	"strings"
	"testing"
	"testing/fstest"

	"airgap/installer/preflight"
	"airgap/installer/preflight/preflighttest"
	"airgap/internal/hostinfo"
)

const (
	root     = "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n"
	proc     = "23 22 0:5 / /proc rw,nosuid - proc proc rw\n"
	version2 = "30 22 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"
	hosts    = "127.0.0.1\tlocalhost\n127.0.1.1\tnode-1\n"
)

// debian12 is a plain Debian 12 on a PC, as its installer leaves it.
func debian12() map[string]string {
	return map[string]string{
		"proc/meminfo":                         "MemTotal: 4008000 kB\nMemAvailable: 3608000 kB\nSwapTotal: 998396 kB\n",
		"proc/cpuinfo":                         "processor : 0\nflags : fpu cx16 lahf_lm popcnt pni sse4_1 sse4_2 ssse3\n",
		"proc/filesystems":                     "nodev\tproc\nnodev\tmqueue\n\text4\n",
		"proc/cmdline":                         "BOOT_IMAGE=/boot/vmlinuz-6.1.0-40-amd64 root=UUID=1 ro quiet\n",
		"proc/self/mountinfo":                  root + proc + version2,
		"proc/self/limits":                     "Max open files 1024 1048576 files\n",
		"proc/self/net/tcp":                    "  sl  local_address rem_address   st\n   0: 00000000:0016 00000000:0000 0A 0:0\n",
		"proc/self/net/route":                  "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\n",
		"proc/sys/fs/file-max":                 "9223372036854775807\n",
		"proc/sys/fs/inotify/max_user_watches": "28000\n", "proc/sys/fs/inotify/max_user_instances": "128\n",
		"proc/sys/kernel/pid_max": "4194304\n", "proc/sys/kernel/random/entropy_avail": "256\n",
		"proc/sys/kernel/hostname":                         "node-1\n",
		"proc/sys/kernel/osrelease":                        "6.1.0-40-amd64\n",
		"proc/1/comm":                                      "systemd\n",
		"proc/1/cmdline":                                   "/sbin/init\x00",
		"sys/fs/cgroup/cgroup.controllers":                 "cpuset cpu io memory hugetlb pids rdma misc\n",
		"sys/module/apparmor/parameters/enabled":           "Y\n",
		"boot/config-6.1.0-40-amd64":                       "CONFIG_KEYS=y\nCONFIG_CGROUP_BPF=y\nCONFIG_SECCOMP_FILTER=y\nCONFIG_CFS_BANDWIDTH=y\n",
		"lib/modules/6.1.0-40-amd64/modules.dep":           "kernel/net/bridge/br_netfilter.ko: kernel/net/bridge/bridge.ko\n",
		"etc/hosts":                                        hosts,
		"etc/machine-id":                                   "0123456789abcdef0123456789abcdef\n",
		"etc/resolv.conf":                                  "nameserver 10.0.0.1\n",
		"etc/systemd/system/multi-user.target.wants/x":     "",
		"usr/bin/mount":                                    "",
		"usr/bin/umount":                                   "",
		"usr/sbin/modprobe":                                "",
		"etc/systemd/system/sockets.target.wants/y.socket": "",
	}
}

// Machines as their files describe them: what is a problem there is found, and nothing else.
func TestMachines(t *testing.T) {
	tests := []struct {
		name   string
		arch   string // empty: amd64
		change func(map[string]string)
		want   string // findings that are no passes, "level check" each
		remedy string // in one of them
	}{
		{name: "Debian 12"},
		{name: "Debian 12 without a nameserver", change: func(m map[string]string) { delete(m, "etc/resolv.conf") }},
		{name: "Debian 11", change: func(m map[string]string) {
			m["proc/sys/kernel/osrelease"] = "5.10.0-28-amd64\n"
			m["lib/modules/5.10.0-28-amd64/modules.dep"] = m["lib/modules/6.1.0-40-amd64/modules.dep"]
		}},
		{name: "Debian 11 with nftables", change: func(m map[string]string) {
			m["proc/sys/kernel/osrelease"] = "5.10.0-28-amd64\n"
			m["lib/modules/5.10.0-28-amd64/modules.dep"] = m["lib/modules/6.1.0-40-amd64/modules.dep"]
			m["usr/sbin/nft"] = ""
		}, want: "warn kernel", remedy: "/current/bin/nft"},
		{name: "kernel without what runc wants", change: func(m map[string]string) {
			m["boot/config-6.1.0-40-amd64"] = "CONFIG_KEYS=y\nCONFIG_SECCOMP_FILTER=y\n"
		}, want: "fail kernel, warn kernel", remedy: "CONFIG_CGROUP_BPF"},
		{name: "Raspberry Pi OS as it comes", arch: "arm64", change: func(m map[string]string) {
			m["proc/device-tree/model"] = "Raspberry Pi 4 Model B Rev 1.4\x00"
			m["proc/cpuinfo"] = "processor : 0\nFeatures : fp asimd\n"
			m["proc/cmdline"] = "coherent_pool=1M cgroup_disable=memory console=tty1\n"
			m["sys/fs/cgroup/cgroup.controllers"] = "cpuset cpu io pids\n"
		}, want: "fail cgroups", remedy: "cmdline.txt"},
		{name: "kernel updated, and not started again", change: func(m map[string]string) {
			delete(m, "lib/modules/6.1.0-40-amd64/modules.dep")
			m["lib/modules/6.1.0-41-amd64/modules.dep"] = ""
		}, want: "fail kernel", remedy: "start the machine again"},
		{name: "container without privileges", change: func(m map[string]string) {
			m["proc/self/mountinfo"] = "22 1 0:50 / / rw - overlay overlay rw\n" + proc + "24 23 0:5 /sys /proc/sys ro,nosuid - proc proc rw\n" +
				"30 22 0:26 / /sys/fs/cgroup ro,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"
		}, want: "fail settings, fail cgroups", remedy: "all privileges"},
		{name: "ip netns exec", change: func(m map[string]string) { m["proc/self/mountinfo"] = root + proc },
			want: "fail cgroups", remedy: "nsenter --net="},
		{name: "image that was never booted", change: func(m map[string]string) {
			m["etc/machine-id"], m["proc/sys/kernel/hostname"] = "uninitialized\n", "localhost\n"
		}, want: "warn hostname, warn machine-id", remedy: "systemd-machine-id-setup"},
		{name: "after K3s, behind ufw", change: func(m map[string]string) {
			m["etc/rancher/k3s/k3s.yaml"] = ""
			m["etc/systemd/system/multi-user.target.wants/k3s.service"] = ""
			m["etc/ufw/ufw.conf"] = "ENABLED=yes\n"
		}, want: "warn firewall, warn kubernetes", remedy: "ufw allow 6443,10250,6446/tcp"},
		{name: "Red Hat's", change: func(m map[string]string) {
			m["sys/fs/selinux/enforce"] = "1"
			m["proc/7/comm"], m["proc/7/cmdline"] = "firewalld\n", "/usr/bin/python3\x00/usr/sbin/firewalld\x00"
			delete(m, "sys/module/apparmor/parameters/enabled")
		}, want: "warn firewall, warn selinux", remedy: "firewall-cmd --reload"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			files := debian12()
			if test.change != nil {
				test.change(files)
			}
			tree := fstest.MapFS{}
			for name, content := range files {
				tree[name] = &fstest.MapFile{Data: []byte(content)}
			}
			facts, err := preflight.FromFiles(hostinfo.Host{FS: tree})
			if err != nil {
				t.Fatal(err)
			}
			good := preflighttest.Machine() // what no files tell
			facts.Root, facts.OS, facts.Arch, facts.Now, facts.Addresses, facts.HasBlob = good.Root, good.OS, cmp.Or(test.arch, "amd64"), good.Now, good.Addresses, good.HasBlob
			facts.Data, facts.Images, facts.Spool, facts.Logs, facts.Config, facts.Command = good.Data, good.Images, good.Spool, good.Logs, good.Config, good.Command
			facts.Differing = []error{fmt.Errorf("kernel setting vm.overcommit_memory is 0")}
			s := subject()
			s.Bundles = nil
			var got []string
			remedies := ""
			for _, f := range preflight.Judge(facts, s) {
				if f.Level != pass {
					got = append(got, string(f.Level)+" "+f.Check)
					remedies += f.Remedy + "\n"
				}
			}
			if strings.Join(got, ", ") != test.want || !strings.Contains(remedies, test.remedy) {
				t.Errorf("findings: %s\nwant %s; remedies:\n%s", strings.Join(got, ", "), test.want, remedies)
			}
		})
	}
}
