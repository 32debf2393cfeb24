package hostinfo

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"testing/fstest"
)

// machine describes a host by the files that matter.
func machine(files map[string]string) Host {
	m := fstest.MapFS{}
	for name, content := range files {
		m[name] = &fstest.MapFile{Data: []byte(content)}
	}
	return Host{FS: m}
}

func TestMounts(t *testing.T) {
	h := machine(map[string]string{"proc/self/mountinfo": `22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 22 0:26 / /run rw,nosuid - tmpfs tmpfs rw,size=1k
41 22 8:2 / /mnt/usb\040stick ro,noexec - vfat /dev/sdb1 ro
52 30 0:4 net:[4026532300] /run/netns/cni-1 rw shared:5 master:2 - nsfs nsfs rw
60 22 8:3 / /mnt/usb\040stick rw - ext4 /dev/sdc1 rw
`})
	mounts, err := h.Mounts()
	if err != nil {
		t.Fatal(err)
	}
	if len(mounts) != 5 || mounts[2].Point != "/mnt/usb stick" || !mounts[2].ReadOnly() || mounts[0].ReadOnly() {
		t.Fatalf("mounts = %+v", mounts)
	}
	if mounts[3].Root != "net:[4026532300]" || mounts[3].Type != "nsfs" {
		t.Errorf("namespace mount = %+v", mounts[3])
	}
	for name, want := range map[string]int{
		"/var/lib/airgap": 22, "/run/airgap": 30, "/running": 22, "/run": 30, "/": 22,
		"/mnt/usb stick/x": 60, // the later mount hides the earlier
	} {
		if m, ok := MountOf(mounts, name); !ok || m.ID != want {
			t.Errorf("MountOf(%s) = %d, want %d", name, m.ID, want)
		}
	}
	if _, err := machine(map[string]string{"proc/self/mountinfo": "nonsense\n"}).Mounts(); err == nil {
		t.Error("nonsense accepted")
	}
}

func TestCgroups(t *testing.T) {
	const controllers = "sys/fs/cgroup/cgroup.controllers"
	tests := []struct {
		name        string
		mountinfo   string
		files       map[string]string
		version     int
		missing     []string
		hierarchies []string
	}{
		{
			name:        "v2",
			mountinfo:   "30 1 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup rw\n",
			files:       map[string]string{controllers: "cpuset cpu io memory pids\n"},
			version:     2,
			hierarchies: []string{"/sys/fs/cgroup"},
		},
		{
			name: "v1 with two controllers in one hierarchy, and an empty v2",
			mountinfo: "30 1 0:26 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n" +
				"31 1 0:27 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n" +
				"32 1 0:28 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n" +
				"33 1 0:29 / /sys/fs/cgroup/unified rw - cgroup2 cgroup rw\n",
			files:       map[string]string{"sys/fs/cgroup/unified/cgroup.controllers": "\n"},
			version:     1,
			missing:     []string{"pids"},
			hierarchies: []string{"/sys/fs/cgroup/cpu,cpuacct", "/sys/fs/cgroup/memory", "/sys/fs/cgroup/systemd", "/sys/fs/cgroup/unified"},
		},
		{name: "none", mountinfo: "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n", version: 0, missing: []string{"cpu", "memory", "pids"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			files := map[string]string{"proc/self/mountinfo": test.mountinfo}
			for name, content := range test.files {
				files[name] = content
			}
			h := machine(files)
			mounts, err := h.Mounts()
			if err != nil {
				t.Fatal(err)
			}
			c := h.Cgroups(mounts)
			if got := c.Version(); got != test.version {
				t.Errorf("version = %d, want %d", got, test.version)
			}
			if got := c.Missing("cpu", "memory", "pids"); !slices.Equal(got, test.missing) {
				t.Errorf("missing = %v, want %v", got, test.missing)
			}
			got := slices.DeleteFunc(c.Hierarchies(), func(s string) bool { return s == "" })
			if test.hierarchies != nil && !slices.Equal(got, test.hierarchies) {
				t.Errorf("hierarchies = %v, want %v", got, test.hierarchies)
			}
		})
	}
}

func TestListeners(t *testing.T) {
	const head = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt\n"
	h := machine(map[string]string{
		"proc/self/net/tcp": head +
			"   0: 0100007F:280A 00000000:0000 0A 00000000:00000000 00:00000000 00000000\n" +
			"   1: 0100007F:C350 0100007F:280A 01 00000000:00000000 00:00000000 00000000\n",
		"proc/self/net/tcp6": head +
			"   0: 00000000000000000000000000000000:192B 00000000000000000000000000000000:0000 0A 0:0\n",
	})
	all, err := h.Listeners()
	if err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(all) != "[{127.0.0.1:10250} {[::]:6443}]" {
		t.Fatalf("listeners = %v", all)
	}
	tests := []struct {
		address string
		port    int
		taken   bool
	}{
		{"127.0.0.1", 10250, true},
		{"10.0.0.5", 10250, false},
		{"0.0.0.0", 10250, true},
		{"", 10250, true},
		{"10.0.0.5", 6443, true},
		{"10.0.0.5", 6444, false},
	}
	for _, test := range tests {
		address, _ := netip.ParseAddr(test.address)
		taken := slices.ContainsFunc(all, func(l Listener) bool { return l.Takes(address, test.port) })
		if taken != test.taken {
			t.Errorf("port %d of %q taken = %v, want %v", test.port, test.address, taken, test.taken)
		}
	}
}

// What the kernel really shows is parsed as what we did.
func TestListenersOfThisMachine(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	want := netip.MustParseAddrPort(l.Addr().String())
	all, err := This().Listeners()
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(all, Listener{Address: want}) {
		t.Errorf("%v is not among %v", want, all)
	}
}

func TestDefaultRoute(t *testing.T) {
	const head = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n"
	tests := []struct {
		name, route, route6 string
		want                bool
	}{
		{"none", "eth0\t0000000A\t00000000\t0001\t0\t0\t0\t000000FF\t0\t0\t0\n", "", false},
		{"IPv4", "eth0\t00000000\t0100000A\t0003\t0\t0\t0\t00000000\t0\t0\t0\n", "", true},
		{"IPv6 unreachable default only", "", "00000000000000000000000000000000 00 00000000000000000000000000000000 00 00000000000000000000000000000000 ffffffff 1 0 200200 lo\n", false},
		{"IPv6", "", "00000000000000000000000000000000 00 00000000000000000000000000000000 00 fe800000000000000000000000000001 00000400 1 0 3 eth0\n", true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			h := machine(map[string]string{"proc/self/net/route": head + test.route, "proc/self/net/ipv6_route": test.route6})
			got, err := h.DefaultRoute()
			if err != nil || got != test.want {
				t.Errorf("DefaultRoute = %v, %v; want %v", got, err, test.want)
			}
		})
	}
}

func TestMachine(t *testing.T) {
	h := machine(map[string]string{
		"proc/meminfo":           "MemTotal:        2048 kB\nMemFree: 1 kB\n",
		"usr/bin/mount":          "",
		"sys/fs/selinux/enforce": "1",
		"proc/7/comm":            "kubelet\n",
		"proc/7/cmdline":         "/usr/bin/kubelet\x00--config\x00\x00",
		"proc/2/comm":            "kthreadd\n",
		"proc/2/cmdline":         "",
	})
	if m, err := h.Memory(); m != (Memory{Total: 2 << 20}) || err != nil {
		t.Errorf("memory = %+v, %v", m, err)
	}
	if got := h.MissingTools("mount", "umount"); !slices.Equal(got, []string{"umount"}) {
		t.Errorf("missing tools = %v", got)
	}
	if !h.SELinuxEnforcing() || h.Systemd() {
		t.Error("SELinux or systemd misread")
	}
	all, err := h.Processes()
	if err != nil || len(all) != 2 || all[0].Args != nil || all[1].Name != "kubelet" || len(all[1].Args) != 3 {
		t.Errorf("processes = %+v, %v", all, err)
	}
}

// The probes leave no trace: neither interfaces, nor mounts, nor files.
// What a killed probe has left is removed by the next one; that of a probe at work stays.
func TestRemoveProbes(t *testing.T) {
	dir := t.TempDir()
	names := []string{ProbePrefix + "2147483647-1", ProbePrefix + "1-1", "photos"}
	for _, name := range names {
		if err := os.MkdirAll(filepath.Join(dir, name, "l"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := RemoveProbes(dir); err != nil {
		t.Fatal(err)
	}
	for i, name := range names {
		if _, err := os.Stat(filepath.Join(dir, name)); (err == nil) != (i > 0) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestProbeKernelLeavesNothing(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	dir := t.TempDir()
	mountsBefore, _ := This().Mounts()
	linksBefore, _ := net.Interfaces()
	nft, _ := exec.LookPath("nft")
	k := ProbeKernel(dir, nft)
	t.Logf("%+v", k)
	if k.Namespaces != nil {
		t.Skipf("no namespaces here: %v", k.Namespaces)
	}
	mountsAfter, _ := This().Mounts()
	linksAfter, _ := net.Interfaces()
	left, _ := os.ReadDir(dir)
	if len(mountsAfter) != len(mountsBefore) || len(linksAfter) != len(linksBefore) || len(left) != 0 {
		t.Errorf("left behind: %d→%d mounts, %d→%d links, files %v",
			len(mountsBefore), len(mountsAfter), len(linksBefore), len(linksAfter), left)
	}
}
