package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"airgap/node/config"
	"airgap/test/site"
)

// testFaults does to the site what must harm only who does it.
func testFaults(t *testing.T, s *node) {
	before := s.started("shell")
	t.Run("a flood of requests", func(t *testing.T) { testFlood(t, s) })
	t.Run("a pod out of memory", func(t *testing.T) { testOutOfMemory(t, s) })
	t.Run("a fork bomb", func(t *testing.T) { testForkBomb(t, s) })
	t.Run("a host port taken by another pod", func(t *testing.T) { testHostPort(t, s) })
	t.Run("the API server's port taken", func(t *testing.T) { testPortTaken(t, s) })
	t.Run("a webhook that nobody answers", func(t *testing.T) { testBrokenWebhook(t, s) })

	if err := s.Ready(); err != nil {
		t.Error(err)
	}
	if after := s.started("shell"); after != before {
		t.Errorf("another pod was started again: %s, before %s", after, before)
	}
}

// hog needs more memory than it may have: tail keeps what may be the last lines.
const hog = `
apiVersion: v1
kind: Pod
metadata: {name: hog}
spec:
  restartPolicy: Never
  containers:
  - name: hog
    image: BUSYBOX
    command: [tail, /dev/zero]
    resources: {limits: {memory: 32Mi}}
`

func testOutOfMemory(t *testing.T, s *node) {
	s.Apply(strings.ReplaceAll(hog, "BUSYBOX", busyboxImage(t)))
	defer s.Kubectl("delete", "pod/hog", "--wait=false")
	site.Eventually(t, patience, func() error {
		return s.KubectlContains("OOMKilled 137", "get", "pod", "hog", "-o",
			"jsonpath={.status.containerStatuses[0].state.terminated.reason} {.status.containerStatuses[0].state.terminated.exitCode}")
	})
	if err := s.KubectlContains("False", "get", "node", "node-1", "-o", `jsonpath={.status.conditions[?(@.type=="MemoryPressure")].status}`); err != nil {
		t.Error(err)
	}
}

// bomb starts processes that wait, until it can start no more.
const bomb = `
apiVersion: v1
kind: Pod
metadata: {name: bomb}
spec:
  restartPolicy: Never
  terminationGracePeriodSeconds: 1
  containers:
  - name: bomb
    image: BUSYBOX
    command: [sh, -c, 'mkfifo /tmp/never; exec 3<>/tmp/never; (while :; do (read x <&3) & done); echo no more; exec sleep 100000']
    resources: {limits: {cpu: 500m}}
`

// maxPodProcesses is the kubelet's podPidsLimit.
const maxPodProcesses = 4096

func testForkBomb(t *testing.T, s *node) {
	busybox := busyboxImage(t)
	s.Apply(strings.ReplaceAll(bomb, "BUSYBOX", busybox))
	defer s.Kubectl("delete", "pod/bomb", "--ignore-not-found", "--wait=false")
	uid := s.Kubectl("get", "pod", "bomb", "-o", "jsonpath={.metadata.uid}")
	site.Eventually(t, patience, func() error { return s.KubectlContains("no more", "logs", "bomb") })
	if err := s.KubectlContains("can't fork", "logs", "bomb"); err != nil {
		t.Error(err)
	}
	if n := processesOfPod(uid); n > maxPodProcesses || n < maxPodProcesses-100 {
		t.Errorf("the bomb has %d processes, want %d at most, and about as many", n, maxPodProcesses)
	}

	s.Kubectl("run", "bystander", "--image="+busybox, "--restart=Never", "--", "sh", "-c", "true & wait; echo started")
	defer s.Kubectl("delete", "pod/bystander", "--wait=false")
	site.Eventually(t, patience, func() error { return s.KubectlContains("started", "logs", "bystander") })

	began := time.Now()
	s.Kubectl("delete", "pod/bomb", "--wait", "--timeout=30s")
	site.Eventually(t, 10*time.Second, func() error {
		if n := processesOfPod(uid); n > 0 {
			return fmt.Errorf("%d processes of the deleted bomb still run", n)
		}
		return nil
	})
	t.Logf("all of the bomb's processes had ended %s after its deletion", time.Since(began).Round(100*time.Millisecond))
}

// processesOfPod counts the processes in the control groups of a pod.
func processesOfPod(uid string) int {
	count := 0
	groups, _ := filepath.Glob("/proc/[0-9]*/cgroup")
	for _, group := range groups {
		if data, _ := os.ReadFile(group); strings.Contains(string(data), "pod"+uid) {
			count++
		}
	}
	return count
}

const hostPort = `
apiVersion: v1
kind: Pod
metadata: {name: NAME}
spec:
  terminationGracePeriodSeconds: 1
  containers: [{name: shell, image: BUSYBOX, command: [sleep, "100000"], ports: [{containerPort: 80, hostPort: 18099}]}]
`

func testHostPort(t *testing.T, s *node) {
	for _, name := range []string{"first", "second"} {
		s.Apply(strings.NewReplacer("BUSYBOX", busyboxImage(t), "NAME", name).Replace(hostPort))
		defer s.Kubectl("delete", "pod/"+name, "--wait=false")
		if name == "first" {
			s.Kubectl("wait", "--for=condition=PodScheduled", "pod/first", "--timeout=30s")
		}
	}
	site.Eventually(t, patience, func() error {
		return s.KubectlContains("didn't have free ports", "get", "pod", "second", "-o", `jsonpath={.status.conditions[?(@.type=="PodScheduled")].message}`)
	})
}

// testPortTaken starts another server on the port that this site's API server has.
func testPortTaken(t *testing.T, s *node) {
	other := filepath.Join(filepath.Dir(s.Paths.DataDir), "other") // a test's own folder may have too long a name for a data folder
	defer os.RemoveAll(config.PathsOf(other).Run())
	said := s.Refuse(1, "server", "--data-dir", other, "--disable-agent", "--node-name", "node-2", "--node-ip", s.IP)
	for _, want := range []string{"airgap: TCP port 6443 (API server) is taken", "--https-listen-port"} {
		if !strings.Contains(said, want) {
			t.Errorf("the server does not say %q:\n%s", want, said)
		}
	}
	if lines := strings.Count(said, "\n"); lines != 1 {
		t.Errorf("it says so in %d lines, want 1:\n%s", lines, said)
	}
}

// brokenWebhook wants to be asked about everything, and nobody answers for it.
const brokenWebhook = `
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {name: broken}
webhooks:
- name: nobody.example.com
  clientConfig: {service: {namespace: default, name: nobody}}
  failurePolicy: Fail
  sideEffects: None
  admissionReviewVersions: [v1]
  rules: [{apiGroups: ["*"], apiVersions: ["*"], resources: ["*/*"], operations: [CREATE, UPDATE, DELETE]}]
`

// While such a webhook stands, nothing can be written, not even the node's lease; what runs goes on. It can be deleted, for webhooks are not
// asked about webhooks, and everything mends itself then.
func testBrokenWebhook(t *testing.T, s *node) {
	s.Apply(brokenWebhook)
	deleted := false
	defer func() {
		if !deleted {
			s.Kubectl("delete", "validatingwebhookconfiguration", "broken")
		}
	}()
	site.Eventually(t, patience, func() error {
		out, err := s.Command("kubectl", "create", "configmap", "refused", "--from-literal=a=b", "--dry-run=server").CombinedOutput()
		if err == nil {
			return errors.New("a config map can still be made")
		}
		for _, want := range []string{`failed calling webhook "nobody.example.com"`, `service "nobody" not found`} {
			if !strings.Contains(string(out), want) {
				return fmt.Errorf("kubectl does not say %q: %s", want, out)
			}
		}
		return nil
	})
	manifest := filepath.Join(s.Paths.DataDir, "server/manifests/meanwhile.yaml")
	if err := os.WriteFile(manifest, []byte("{apiVersion: v1, kind: ConfigMap, metadata: {name: meanwhile, namespace: default}}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	defer os.Remove(manifest)
	site.Eventually(t, patience, func() error {
		log, err := os.ReadFile(filepath.Join(s.Paths.DataDir, "airgap.log"))
		for line := range strings.Lines(string(log)) {
			if strings.Contains(line, "file=meanwhile.yaml") && strings.Contains(line, "nobody.example.com") {
				return nil
			}
		}
		return errors.Join(errors.New("the log does not say why the manifest was not applied"), err)
	})
	if err := s.KubectlContains("uid=", "exec", "shell", "--", "id"); err != nil {
		t.Error("a pod that runs: ", err)
	}

	s.Kubectl("delete", "validatingwebhookconfiguration", "broken")
	deleted = true
	before := s.renewed()
	site.Eventually(t, patience, func() error { return s.KubectlContains("meanwhile", "get", "configmap", "meanwhile") })
	site.Eventually(t, patience, func() error {
		if s.renewed() == before {
			return errors.New("the node's lease is not renewed")
		}
		return s.Ready()
	})
}
