package e2e

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// patience is how long a test waits for what should take seconds.
const patience = 2 * time.Minute

// One node, used as its users do, in the order of a day's work.
func TestNode(t *testing.T) {
	s := newSite(t)
	noResolvers := filepath.Join(t.TempDir(), "resolv.conf") // as on a machine that never had a network
	if err := os.WriteFile(noResolvers, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	s.install(demoBundle(t), "--resolv-conf", noResolvers)

	t.Run("status", func(t *testing.T) { testStatus(t, s) })
	t.Run("completion", func(t *testing.T) { testCompletion(t, s) })
	t.Run("release answers through its service", func(t *testing.T) {
		address := s.kubectl("-n", "demo", "get", "service", "podinfo", "-o", "jsonpath={.spec.clusterIP}")
		eventually(t, patience, func() error {
			return s.contains("podinfo", "nsenter", "--net=/run/netns/"+s.namespace, "curl", "-sS", "-m", "5", "http://"+address+":9898/")
		})
	})
	t.Run("helm lists it", func(t *testing.T) {
		if out := s.airgap("helm", "-n", "demo", "list"); !strings.Contains(out, "deployed") {
			t.Errorf("helm list:\n%s", out)
		}
	})
	t.Run("secrets are encrypted at rest", func(t *testing.T) { testEncryption(t, s) })
	t.Run("files are private", func(t *testing.T) { testModes(t, s) })
	t.Run("anonymous is nobody", func(t *testing.T) {
		out := host(t, "nsenter", "--net=/run/netns/"+s.namespace, "curl", "-sk", "-o", "/dev/null", "-w", "%{http_code}", "https://127.0.0.1:6443/api")
		if out != "401" {
			t.Errorf("an anonymous request got %s, want 401", out)
		}
	})
	t.Run("workload", func(t *testing.T) { testWorkload(t, s) })
	t.Run("service load balancer", func(t *testing.T) { testServiceLB(t, s) })
	t.Run("cluster DNS", func(t *testing.T) { testClusterDNS(t, s) })
	t.Run("network policies", func(t *testing.T) { testNetworkPolicy(t, s) })
	t.Run("images", func(t *testing.T) { testImages(t, s) })
	t.Run("crictl", func(t *testing.T) { testCrictl(t, s) })
	t.Run("ingress", func(t *testing.T) { testIngress(t, s) })
	t.Run("charts and manifests", func(t *testing.T) { testCharts(t, s) })
	t.Run("kubectl top", func(t *testing.T) { testTop(t, s) })
	t.Run("a volume outlives its pod", func(t *testing.T) { testVolume(t, s) })
	t.Run("pod network", func(t *testing.T) { testPodNetwork(t, s) })
	t.Run("another cluster beside it", func(t *testing.T) { testSecondCluster(t, s) })
	t.Run("faults", func(t *testing.T) { testFaults(t, s) })
	t.Run("a killed process is started again", func(t *testing.T) { testKilledProcesses(t, s) })
	t.Run("pods outlive a restart of the service", func(t *testing.T) { testRestart(t, s) })
	t.Run("a disabled service load balancer takes back what it gave", func(t *testing.T) { testDisabledServiceLB(t, s) })
	t.Run("everything comes back after a reboot", func(t *testing.T) { testReboot(t, s) })
	t.Run("a volume outlives a reboot", func(t *testing.T) { testVolumeRemains(t, s) })
	t.Run("a component is disabled", func(t *testing.T) { testDisable(t, s) })
	t.Run("security", func(t *testing.T) { testSecurity(t, s) })
	t.Run("profile cis", func(t *testing.T) { testProfileCIS(t, s) })
	t.Run("uninstall leaves nothing", func(t *testing.T) { testUninstall(t, s) })
}

// contains runs a command and wants text in its output.
func (s *site) contains(text, name string, args ...string) error {
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, out)
	}
	if !strings.Contains(string(out), text) {
		return fmt.Errorf("%s %s: no %q in\n%s", name, strings.Join(args, " "), text, out)
	}
	return nil
}

// kubectlContains is contains for kubectl at the site.
func (s *site) kubectlContains(text string, args ...string) error {
	cmd := s.command(append([]string{"kubectl"}, args...)...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("kubectl %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	if !strings.Contains(string(out), text) {
		return fmt.Errorf("kubectl %s: no %q in\n%s", strings.Join(args, " "), text, out)
	}
	return nil
}

func busyboxImage(t *testing.T) string {
	t.Helper()
	out := host(t, built("bin/airgap"), "inspect", built("dist/system.airgap"), "--key", built("dist/development.pub"))
	for word := range strings.FieldsSeq(out) {
		if strings.HasPrefix(word, "airgap.internal/busybox:") {
			return word
		}
	}
	t.Fatalf("no busybox in the system bundle:\n%s", out)
	return ""
}

const workload = `
apiVersion: v1
kind: ConfigMap
metadata: {name: page}
data: {index.html: "page one"}
---
apiVersion: v1
kind: Secret
metadata: {name: word}
stringData: {word: swordfish}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: web
        image: BUSYBOX
        command: [sh, -c, 'echo ready with $WORD; exec httpd -f -p 8080 -h /page']
        env:
        - {name: WORD, valueFrom: {secretKeyRef: {name: word, key: word}}}
        - {name: REVISION, value: "1"}
        readinessProbe: {httpGet: {port: 8080, path: /index.html}, periodSeconds: 1}
        volumeMounts: [{name: page, mountPath: /page}]
      volumes: [{name: page, configMap: {name: page}}]
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Pod
metadata: {name: shell}
spec:
  terminationGracePeriodSeconds: 1
  containers: [{name: shell, image: BUSYBOX, command: [sleep, "100000"]}]
`

func testWorkload(t *testing.T, s *site) {
	busybox := busyboxImage(t)
	s.apply(strings.ReplaceAll(workload, "BUSYBOX", busybox))
	s.kubectl("rollout", "status", "deployment/web", "--timeout=120s")
	s.kubectl("wait", "--for=condition=Ready", "pod/shell", "--timeout=60s")

	t.Run("service and DNS", func(t *testing.T) {
		for _, name := range []string{"web", "web.default", "web.default.svc.cluster.local"} {
			eventually(t, patience, func() error {
				return s.kubectlContains("page one", "exec", "shell", "--", "timeout", "5", "wget", "-qO-", "http://"+name+"/index.html")
			})
		}
	})
	t.Run("a service reaches the pod that asks", func(t *testing.T) {
		// Replies between pods of one bridge must pass the service's address translation.
		pod := firstLine(s.kubectl("get", "pods", "-l", "app=web", "-o", "name"))
		for range 4 {
			if err := s.kubectlContains("page one", "exec", pod, "--", "timeout", "5", "wget", "-qO-", "http://web/index.html"); err != nil {
				t.Fatal(err)
			}
		}
	})
	t.Run("logs", func(t *testing.T) {
		if err := s.kubectlContains("ready with swordfish", "logs", "deployment/web"); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("exec", func(t *testing.T) {
		if err := s.kubectlContains("uid=", "exec", "shell", "--", "id"); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("port-forward", func(t *testing.T) { testPortForward(t, s) })
	t.Run("changed ConfigMap after a rolling update", func(t *testing.T) {
		s.apply(strings.NewReplacer("BUSYBOX", busybox, "page one", "page two", `value: "1"`, `value: "2"`).Replace(workload))
		s.kubectl("rollout", "status", "deployment/web", "--timeout=120s")
		eventually(t, patience, func() error {
			return s.kubectlContains("page two", "exec", "shell", "--", "timeout", "5", "wget", "-qO-", "http://web/index.html")
		})
		s.kubectl("rollout", "undo", "deployment/web")
		s.kubectl("rollout", "status", "deployment/web", "--timeout=120s")
	})
	t.Run("job", func(t *testing.T) {
		s.kubectl("create", "job", "sum", "--image="+busybox, "--", "sh", "-c", "echo $((6*7))")
		s.kubectl("wait", "--for=condition=Complete", "job/sum", "--timeout=60s")
		if err := s.kubectlContains("42", "logs", "job/sum"); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("delete", func(t *testing.T) {
		s.kubectl("delete", "job/sum", "deployment/web", "--wait", "--timeout=60s")
		eventually(t, patience, func() error {
			if out := s.kubectl("get", "pods", "-l", "app=web", "-o", "name"); out != "" {
				return fmt.Errorf("still there: %s", out)
			}
			return nil
		})
	})
}

func testPortForward(t *testing.T, s *site) {
	cmd := s.command("kubectl", "port-forward", "deployment/web", "18080:8080")
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	if line, err := bufio.NewReader(stdout).ReadString('\n'); err != nil || !strings.Contains(line, "Forwarding") {
		t.Fatalf("port-forward said %q, %v", line, err)
	}
	if err := s.contains("page one", "nsenter", "--net=/run/netns/"+s.namespace, "curl", "-sS", "-m", "5", "http://127.0.0.1:18080/index.html"); err != nil {
		t.Fatal(err)
	}
}

func testEncryption(t *testing.T, s *site) {
	s.kubectl("create", "secret", "generic", "canary", "--from-literal=value=plain-canary-value")
	s.kubectl("create", "configmap", "canary", "--from-literal=value=open-canary-value")
	var all []byte
	for _, file := range []string{"state.db", "state.db-wal"} {
		data, err := os.ReadFile(filepath.Join(s.dataDir, "server/db", file))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		all = append(all, data...)
	}
	if !strings.Contains(string(all), "open-canary-value") {
		t.Fatal("the datastore does not hold what was just written: this test looks in the wrong place")
	}
	if strings.Contains(string(all), "plain-canary-value") {
		t.Error("a secret stands in the datastore in clear text")
	}
}

func testModes(t *testing.T, s *site) {
	for path, want := range map[string]os.FileMode{
		"airgap.yaml": 0o600, "server/tls": 0o700, "server/cred": 0o700, "server/tls/ca.key": 0o600,
		"server/cred/encryption-config.yaml": 0o600, "agent/pki": 0o700, "server/db": 0o700,
	} {
		info, err := os.Stat(filepath.Join(s.dataDir, path))
		if err != nil {
			t.Error(err)
		} else if info.Mode().Perm() != want {
			t.Errorf("%s has mode %o, want %o", path, info.Mode().Perm(), want)
		}
	}
}

// pid finds the process of the site that runs a verb.
func (s *site) pid(verb string) (int, error) {
	for _, pid := range s.processes() {
		line, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if args := strings.Split(string(line), "\x00"); len(args) > 1 && filepath.Base(args[0]) == "airgap" && args[1] == verb {
			return pid, nil
		}
	}
	return 0, fmt.Errorf("no airgap %s runs", verb)
}

// started says since when a pod's container runs.
func (s *site) started(pod string) string {
	s.t.Helper()
	return s.kubectl("get", "pod", pod, "-o", "jsonpath={.status.containerStatuses[0].state.running.startedAt}")
}

func (s *site) ready() error {
	return s.kubectlContains("True", "get", "node", "node-1", "-o", `jsonpath={.status.conditions[?(@.type=="Ready")].status}`)
}

func testKilledProcesses(t *testing.T, s *site) {
	before := s.started("shell")
	for _, verb := range []string{"containerd", "agent", "server"} {
		old, err := s.pid(verb)
		if err != nil {
			t.Fatal(err)
		}
		if err := syscall.Kill(old, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		eventually(t, patience, func() error {
			now, err := s.pid(verb)
			if err == nil && now == old {
				err = errors.New("not yet dead")
			}
			if err != nil {
				return err
			}
			return s.kubectlContains("uid=", "exec", "shell", "--", "id")
		})
	}
	if after := s.started("shell"); after != before {
		t.Errorf("the pod was started again: %s, before %s", after, before)
	}
}

func testRestart(t *testing.T, s *site) {
	before := s.started("shell")
	began := time.Now()
	s.stopServer()
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("stopping took %s, want at most 10 s", took)
	}
	s.startNode()
	eventually(t, patience, func() error { return s.kubectlContains("uid=", "exec", "shell", "--", "id") })
	if after := s.started("shell"); after != before {
		t.Errorf("the pod was started again: %s, before %s", after, before)
	}
}

// stopServer ends the server in order; its supervisor sees an end that it did not ask for.
func (s *site) stopServer() {
	s.t.Helper()
	old, err := s.pid("server")
	if err != nil {
		s.t.Fatal(err)
	}
	if err := syscall.Kill(old, syscall.SIGTERM); err != nil {
		s.t.Fatal(err)
	}
	eventually(s.t, patience, func() error {
		if err := syscall.Kill(old, 0); err == nil {
			return errors.New("the server still stops")
		}
		return nil
	})
}

// startNode starts the node as the installer does on a host without an init system, unless it
// runs.
func (s *site) startNode() {
	s.t.Helper()
	if _, err := s.pid("supervise"); err == nil {
		return
	}
	current := filepath.Join(s.dataDir, "current")
	cmd := exec.Command("nsenter", "--net=/run/netns/"+s.namespace, filepath.Join(current, "airgap"), "supervise",
		"--pid-file", filepath.Join(s.runDir(), "supervise.pid"), "--log", filepath.Join(s.dataDir, "airgap.log"), "--",
		filepath.Join(current, "bin/airgap"), "server", "--data-dir", s.dataDir, "--config", filepath.Join(s.dataDir, "config.yaml"))
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := os.MkdirAll(s.runDir(), 0o711); err != nil {
		s.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	go func() { _ = cmd.Wait() }()
}

// testReboot kills everything at once, clears what a reboot clears, and starts the node again.
func testReboot(t *testing.T, s *site) {
	runDir := s.runDir()
	for range 3 {
		s.killAll()
		time.Sleep(200 * time.Millisecond)
	}
	mounts := host(t, "cat", "/proc/self/mounts")
	for line := range strings.Lines(mounts) {
		if fields := strings.Fields(line); len(fields) > 1 && (strings.HasPrefix(fields[1], s.dataDir) || strings.HasPrefix(fields[1], runDir)) {
			_ = exec.Command("umount", "-l", fields[1]).Run()
		}
	}
	for _, link := range []string{"cni0", "flannel.1"} {
		_ = exec.Command("ip", "-n", s.namespace, "link", "delete", link).Run()
	}
	_ = exec.Command("nsenter", "--net=/run/netns/"+s.namespace, "nft", "flush", "ruleset").Run()
	if err := os.RemoveAll(runDir); err != nil {
		t.Fatal(err)
	}
	s.startNode()
	eventually(t, patience, s.ready)
	eventually(t, patience, func() error {
		return s.kubectlContains("podinfo", "exec", "shell", "--", "timeout", "5", "wget", "-qO-", "http://podinfo.demo:9898/")
	})
}

func firstLine(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	return line
}
