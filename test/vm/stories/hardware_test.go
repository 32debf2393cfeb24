package stories

import (
	"testing"
	"time"

	"airgap/test/vm"
)

// The smallest machine runs the system and podinfo, and nothing on it is killed for want of memory.
func TestSmallestMachine(t *testing.T) {
	m := vm.New(t, vm.Hardware{Image: vm.Debian12, MemoryMiB: *memory})
	m.Boot()
	m.Run(addressed)
	m.Plug(siteStick(t, vm.FAT32))
	m.Run(mount)
	m.Run(install)
	m.Eventually(healthyPatience, healthy, explain)
	restarts := m.Run(restarted)
	for end := time.Now().Add(*stable); time.Now().Before(end); time.Sleep(20 * time.Second) {
		m.Eventually(time.Minute, healthy)
	}
	if now := m.Run(restarted); now != restarts {
		t.Errorf("restarts were %s, and are %s", restarts, now)
	}
	if out, code := m.Try("dmesg | grep -i 'out of memory\\|oom-kill'"); code == 0 {
		t.Errorf("memory ran out: %s", out)
	}
	t.Log(m.Run("free -m; " +
		`for p in /proc/[0-9]*; do pss=$(awk '/^Pss:/{print $2}' $p/smaps_rollup 2>/dev/null); [ -z "$pss" ] || echo "$((pss/1024)) MiB $(tr '\0' ' ' <$p/cmdline | cut -c1-80)"; done | sort -rn | head -12`))
}

// restarted prints how often the service and each container have been started again.
const restarted = `systemctl show -p NRestarts --value airgap; airgap kubectl get pods -A -o 'jsonpath={.items[*].status.containerStatuses[*].restartCount}'`

// A machine whose battery is flat comes up in 1970, another in 2099: it becomes a site all the same, and stays one when it is
// switched on with another time.
func TestWrongClock(t *testing.T) {
	for _, year := range []int{1970, 2099} {
		t.Run(time.Date(year, 1, 1, 0, 0, 0, 0, time.UTC).Format("2006"), func(t *testing.T) {
			m := vm.New(t, vm.Hardware{Image: vm.Debian12, Clock: time.Date(year, 1, 2, 3, 4, 5, 0, time.UTC)})
			m.Boot()
			m.Run(addressed)
			m.Plug(siteStick(t, vm.FAT32))
			m.Run(mount)
			t.Log(m.Run(install))
			m.Eventually(time.Minute, healthy)
			t.Log(m.Run("date -u"))
			m.CutPower()
			m.Boot()
			m.Eventually(healthyPatience, healthy, explain)
			m.Hardware.Clock = time.Time{} // somebody has set it
			m.CutPower()
			m.Boot()
			m.Eventually(healthyPatience, healthy, explain)
			t.Log(m.Run("date -u"))
		})
	}
}
