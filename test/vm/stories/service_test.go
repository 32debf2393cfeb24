package stories

import (
	"strings"
	"testing"
	"time"

	"airgap/test/vm"
)

// database is a pod that does at its end what databases do, and says so on the machine's disk; and a pod that does not want to end.
const database = `mkdir -p /var/lib/db && airgap kubectl apply -f - <<'END'
apiVersion: v1
kind: Pod
metadata: {name: database}
spec:
  terminationGracePeriodSeconds: 30
  volumes: [{name: data, hostPath: {path: /var/lib/db}}]
  containers:
  - name: db
    image: airgap.internal/busybox:1.35.0
    command: [sh, -c, "trap 'echo term >>/data/end; sleep 2; echo synced >>/data/end; exit 0' TERM; while :; do sleep 0.2; done"]
    lifecycle: {preStop: {exec: {command: [sh, -c, "echo hook >>/data/end"]}}}
    volumeMounts: [{name: data, mountPath: /data}]
---
apiVersion: v1
kind: Pod
metadata: {name: stubborn}
spec:
  terminationGracePeriodSeconds: 5
  containers:
  - {name: c, image: "airgap.internal/busybox:1.35.0", command: [sh, -c, "trap '' TERM; while :; do sleep 0.2; done"]}
END
airgap kubectl wait --for=condition=Ready pod/database pod/stubborn --timeout=180s`

// pods lists each pod with its identity and how often its containers were started again.
const pods = `airgap kubectl get pods -A --sort-by=.metadata.uid -o 'jsonpath={range .items[*]}{.metadata.uid} {.metadata.name} {.status.containerStatuses[*].restartCount}{"\n"}{end}'`

// identities lists each pod with its identity alone.
const identities = pods + ` | cut -d' ' -f1,2`

// answers fails until a pod can be looked into, for which its node must know it.
const answers = `airgap kubectl exec database -- true`

// shutDown switches the machine off in order and on again: the pods have ended in order, and are the same ones afterwards.
func shutDown(t *testing.T, m *vm.Machine) {
	before := m.Run(identities)
	took := m.Shutdown(shutdownPatience)
	t.Logf("off %.0f s after poweroff, with all pods", took.Seconds())
	if took > 85*time.Second {
		t.Errorf("the machine was waited for until something was killed: %s", took)
	}
	began := time.Now()
	m.Boot()
	if end := m.Run("cat /var/lib/db/end"); end != "hook\nterm\nsynced" {
		t.Errorf("the database ended with %q, want its hook, its signal and its last write", end)
	}
	m.Eventually(healthyPatience, healthy, explain)
	t.Logf("the site answers %.0f s after the machine was switched on again, %.0f s after its login", time.Since(began).Seconds(), (time.Since(began) - m.Login).Seconds())
	m.Eventually(healthyPatience, answers)
	if after := m.Run(identities); after != before {
		t.Errorf("the pods are other ones after the boot:\n%s", difference(before, after))
	}
}

// The service under systemd: it says when it is ready, comes back when it is killed, leaves the pods alone when it is started
// again, and ends them in order when the machine is switched off.
func TestServiceUnderSystemd(t *testing.T) {
	m := installed(t)
	m.Run(database)

	state := m.Run("systemctl show airgap -p ActiveState -p StatusText -p WatchdogUSec -p NRestarts; systemctl status airgap | head -12; journalctl -u airgap -b --no-pager | grep -i 'unknown\\|ignoring' || true")
	for _, want := range []string{"ActiveState=active", "StatusText=serving Kubernetes on", "WatchdogUSec=10min", "NRestarts=0"} {
		if !strings.Contains(state, want) {
			t.Errorf("no %s in:\n%s", want, state)
		}
	}
	t.Log(state)
	m.Run("test -e /etc/sysctl.d/airgap.conf && grep -q br_netfilter /etc/modules-load.d/airgap.conf")

	shutDown(t, m)

	before := m.Run(pods)
	began := time.Now()
	m.Run("systemctl restart airgap")
	t.Logf("systemctl restart returns, with the API server serving, after %.1f s", time.Since(began).Seconds())
	m.Eventually(healthyPatience, answers)
	t.Logf("a pod can be looked into %.1f s after the begin of the restart", time.Since(began).Seconds())

	m.Run(`kill -KILL $(systemctl show -p MainPID --value airgap)`)
	began = time.Now()
	m.Eventually(healthyPatience, `test "$(systemctl show -p NRestarts --value airgap)" = 1 && `+answers)
	t.Logf("and %.1f s after a kill", time.Since(began).Seconds())
	if after := m.Run(pods); after != before {
		t.Errorf("a restart of the service started containers again:\n%s", difference(before, after))
	}
	m.Run("airgap support -o /root && tar tzf /root/airgap-support-*.tar.gz | grep -q logs/service.txt")
}

// The same under OpenRC.
func TestServiceUnderOpenRC(t *testing.T) {
	m := vm.Start(t, vm.OpenRC)
	m.Run(addressed)
	m.Plug(siteStick(t, vm.Ext4))
	m.Run(mount + " && " + install)
	m.Eventually(healthyPatience, healthy, explain)
	m.Run(database)
	t.Log(m.Run("rc-service airgap status; ls -l /etc/runlevels/default/airgap"))

	before := m.Run(pods)
	began := time.Now()
	m.Run("rc-service airgap restart")
	m.Eventually(healthyPatience, answers)
	t.Logf("a pod can be looked into %.1f s after the begin of the restart", time.Since(began).Seconds())
	if after := m.Run(pods); after != before {
		t.Errorf("a restart of the service started containers again:\n%s", difference(before, after))
	}
	shutDown(t, m)
}
