package stories

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"airgap/test/vm"
)

var (
	installCuts = flag.Int("cuts", 3, "how often the power is cut during installs")
	upgradeCuts = flag.Int("upgrade-cuts", 3, "how often the power is cut during upgrades")
	loadCuts    = flag.Int("load-cuts", 3, "how often the power is cut while the API is written to")
	stable      = flag.Duration("stable", 2*time.Minute, "how long the smallest machine has to run")
	bound       = flag.Bool("bound", false, "fail if an install takes too long: for a host that does nothing else meanwhile")
	saved       = flag.String("installed", "", "the `folder` of a machine that has the bundle installed, which is made if it is not there; for stories that begin with one")
	memory      = flag.Int("memory", 1024, "of the smallest machine, `MiB`")
)

// What technicians type.
const (
	// addressed gives a machine an address that stays, without any network interface or cable.
	addressed = `set -e
if command -v ifup; then
	printf '%s\n' 'auto site0' 'iface site0 inet static' '  pre-up ip link add site0 type dummy' '  address 10.20.30.40/24' >/etc/network/interfaces.d/site
	ifup site0
else
	printf '%s\n' '[NetDev]' 'Name=site0' 'Kind=dummy' >/etc/systemd/network/site.netdev
	printf '%s\n' '[Match]' 'Name=site0' '[Network]' 'Address=10.20.30.40/24' >/etc/systemd/network/site.network
	systemctl enable --now systemd-networkd
fi`
	mount   = "mkdir -p /media/stick && mount -o ro /dev/disk/by-label/AIRGAP /media/stick"
	install = "/media/stick/airgap install /media/stick/site.airgap --key /media/stick/site.pub"
	// explained says what the node says of itself if the install before it has failed.
	explained = ` || { code=$?; ` + explain + `; exit $code; }`
	// explain says what somebody would ask for whose node does not become healthy.
	explain = `date -u; airgap status; airgap kubectl get pods -A -o wide; airgap kubectl get events -A | tail -n 20; tail -n 60 /var/lib/airgap/airgap.log 2>/dev/null || journalctl -u airgap -n 60 --no-pager`
	// healthy fails until the node is Ready and podinfo answers. It waits within kubectl: each start of that takes seconds of an
	// emulated processor, and the node has no other.
	healthy = `set -e
airgap kubectl wait --for=condition=Ready node --all --timeout=60s
airgap kubectl -n kube-system rollout status deployment/coredns --timeout=60s
airgap kubectl -n demo rollout status deployment/podinfo --timeout=60s
address=$(airgap kubectl -n demo get service podinfo -o 'jsonpath={.spec.clusterIP}')
exec 3<>/dev/tcp/$address/9898
printf 'GET /healthz HTTP/1.0\r\n\r\n' >&3
grep -q '200 OK' <&3`
)

// healthyPatience is for a machine that has booted until its site answers; half a minute on an idle host, four on one
// that compiles meanwhile.
const healthyPatience = 10 * time.Minute

// shutdownPatience is for a machine that is told to switch off until it is: systemd kills what is left after 90 seconds.
const shutdownPatience = 4 * time.Minute

// fromStickToSite is the story of every kind of machine: the site runs, comes back by itself after a power cut, and
// can be taken away again. Flags are those of the install.
func fromStickToSite(t *testing.T, image vm.Image, format vm.Format, flags ...string) {
	m := vm.Start(t, image)
	m.Run(addressed)
	before := m.Run(trace)

	m.Plug(siteStick(t, format))
	m.Run(mount)
	began := time.Now()
	said := m.Run(install + " " + strings.Join(flags, " ") + explained)
	took := time.Since(began)
	t.Logf("%s\ninstalled in %.0f s, the machine takes %.0f s to its login", said, took.Seconds(), m.Login.Seconds())
	if most := 3*m.Login + time.Minute; *bound && took > most {
		t.Errorf("from the stick to the site in %.0f s, want at most three times the boot and a minute, %.0f s", took.Seconds(), most.Seconds())
	}
	m.Eventually(time.Minute, healthy)

	m.CutPower()
	began = time.Now()
	m.Boot()
	m.Eventually(healthyPatience, healthy, explain)
	t.Logf("the site answers %.0f s after the power was back", time.Since(began).Seconds())

	m.Run("airgap uninstall --yes")
	if changed := difference(before, m.Run(trace)); changed != "" {
		t.Errorf("the uninstall left the machine other than it was:\n%s", changed)
	}
}

// installed returns a machine that has booted, with the bundle on it and nothing else done to it. The install is done once.
func installed(t *testing.T) *vm.Machine {
	t.Helper()
	if *saved == "" {
		*saved = filepath.Join(bundles, "installed")
	}
	if _, err := os.Stat(*saved); errors.Is(err, fs.ErrNotExist) {
		m := vm.Start(t, vm.Debian12)
		m.Run(addressed)
		m.Plug(siteStick(t, vm.FAT32))
		m.Run(mount)
		m.Run(install + explained + " && umount /media/stick")
		m.Eventually(healthyPatience, healthy, explain)
		m.Shutdown(shutdownPatience)
		if err := os.MkdirAll(*saved+".new", 0o755); err != nil {
			t.Fatal(err)
		}
		m.Save(*saved + ".new")
		if err := os.Rename(*saved+".new", *saved); err != nil {
			t.Fatal(err)
		}
	}
	m := vm.New(t, vm.Hardware{Image: vm.Debian12, Saved: *saved})
	m.Boot()
	m.Eventually(healthyPatience, healthy, explain)
	return m
}

// trace is what an uninstall must leave as it was: all that a node makes is among it.
const trace = `set +e
find /etc /usr/local /opt -not -path '/etc/mtab' | sort
ls -d /* /var/lib/*
cut -d' ' -f2 /proc/mounts | grep -v '^/media/stick\|^/run/user\|^/run/credentials\|^/proc\|^/sys\|^/dev'
ip -o link | cut -d: -f2; ip route show table all | grep -v fe80:; ip rule
[ -z "$(command -v nft)" ] || nft list ruleset
find /sys/fs/cgroup -type d -name '*airgap*' -o -type d -name '*kubepods*'
for p in /proc/[0-9]*; do tr '\0' ' ' <$p/cmdline; echo; done 2>/dev/null | grep '^[^ ]*\(airgap\|containerd\|runc\|pause\)'
true`

// difference lists the lines that only one of two texts has.
func difference(before, after string) string {
	count := map[string]int{}
	for line := range strings.Lines(before) {
		count[strings.TrimSpace(line)]--
	}
	for line := range strings.Lines(after) {
		count[strings.TrimSpace(line)]++
	}
	var b strings.Builder
	for line, n := range count {
		switch {
		case n > 0:
			fmt.Fprintf(&b, "+ %s\n", line)
		case n < 0:
			fmt.Fprintf(&b, "- %s\n", line)
		}
	}
	return b.String()
}
