package e2e

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"airgap/test/site"
)

// One node, used as its users do, in the order of a day's work.
func TestNode(t *testing.T) {
	s := newNode(t)
	noResolvers := filepath.Join(t.TempDir(), "resolv.conf") // as on a machine that never had a network
	if err := os.WriteFile(noResolvers, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	s.Install(demoBundle(t), "--resolv-conf", noResolvers)

	run := func(name string, test func(*testing.T, *node)) {
		t.Run(name, func(t *testing.T) { test(t, s.within(t)) })
	}
	run("status", testStatus)
	run("shutdown", testShutdown)
	run("completion", testCompletion)
	t.Run("release answers through its service", func(t *testing.T) {
		address := s.Kubectl("-n", "demo", "get", "service", "podinfo", "-o", "jsonpath={.spec.clusterIP}")
		site.Eventually(t, patience, func() error {
			return site.Contains("podinfo", s.Inside("curl", "-sS", "-m", "5", "http://"+address+":9898/"))
		})
	})
	t.Run("helm lists it", func(t *testing.T) {
		if out := s.Airgap("helm", "-n", "demo", "list"); !strings.Contains(out, "deployed") {
			t.Errorf("helm list:\n%s", out)
		}
	})
	run("secrets are encrypted at rest", testEncryption)
	run("files are private", testModes)
	t.Run("anonymous is nobody", func(t *testing.T) {
		out := site.MustOutput(t, s.Inside("curl", "-sk", "-o", "/dev/null", "-w", "%{http_code}", "https://127.0.0.1:6443/api"))
		if out != "401" {
			t.Errorf("an anonymous request got %s, want 401", out)
		}
	})
	run("workload", testWorkload)
	run("service load balancer", testServiceLB)
	run("cluster DNS", testClusterDNS)
	run("network policies", testNetworkPolicy)
	run("images", testImages)
	run("every way to write a name", testNames)
	run("signatures of images", testSignatures)
	run("a key in the cluster", testKeyInCluster)
	run("own images", testOwnImages)
	run("crictl", testCrictl)
	run("ingress", testIngress)
	run("charts and manifests", testCharts)
	run("OpenAPI documents", testOpenAPIDocuments)
	run("kubectl top", testTop)
	run("a volume outlives its pod", testVolume)
	run("pod network", testPodNetwork)
	run("another cluster beside it", testSecondCluster)
	run("joining", testJoin)
	run("faults", testFaults)
	run("a killed process is started again", testKilledProcesses)
	run("pods outlive a restart of the service", testRestart)
	run("a disabled service load balancer takes back what it gave", testDisabledServiceLB)
	run("everything comes back after a reboot", testReboot)
	run("a volume outlives a reboot", testVolumeRemains)
	run("a component is disabled", testDisable)
	run("security", testSecurity)
	run("profile cis", testProfileCIS)
	run("uninstall leaves nothing", testUninstall)
}

func busyboxImage(t testing.TB) string {
	t.Helper()
	out := host(t, site.Built("bin/airgap"), "inspect", site.Built("dist/system.airgap"), "--key", site.Built("dist/development.pub"))
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

func testWorkload(t *testing.T, s *node) {
	busybox := busyboxImage(t)
	s.Apply(strings.ReplaceAll(workload, "BUSYBOX", busybox))
	s.Kubectl("rollout", "status", "deployment/web", "--timeout=120s")
	s.Kubectl("wait", "--for=condition=Ready", "pod/shell", "--timeout=60s")

	t.Run("service and DNS", func(t *testing.T) {
		for _, name := range []string{"web", "web.default", "web.default.svc.cluster.local"} {
			site.Eventually(t, patience, func() error {
				return s.KubectlContains("page one", "exec", "shell", "--", "timeout", "5", "wget", "-qO-", "http://"+name+"/index.html")
			})
		}
	})
	t.Run("a service reaches the pod that asks", func(t *testing.T) {
		// Replies between pods of one bridge must pass the service's address translation.
		pod := firstLine(s.Kubectl("get", "pods", "-l", "app=web", "-o", "name"))
		for range 4 {
			if err := s.KubectlContains("page one", "exec", pod, "--", "timeout", "5", "wget", "-qO-", "http://web/index.html"); err != nil {
				t.Fatal(err)
			}
		}
	})
	t.Run("logs", func(t *testing.T) {
		if err := s.KubectlContains("ready with swordfish", "logs", "deployment/web"); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("exec", func(t *testing.T) {
		if err := s.KubectlContains("uid=", "exec", "shell", "--", "id"); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("port-forward", func(t *testing.T) { testPortForward(t, s) })
	t.Run("changed ConfigMap after a rolling update", func(t *testing.T) {
		s.Apply(strings.NewReplacer("BUSYBOX", busybox, "page one", "page two", `value: "1"`, `value: "2"`).Replace(workload))
		s.Kubectl("rollout", "status", "deployment/web", "--timeout=120s")
		site.Eventually(t, patience, func() error {
			return s.KubectlContains("page two", "exec", "shell", "--", "timeout", "5", "wget", "-qO-", "http://web/index.html")
		})
		s.Kubectl("rollout", "undo", "deployment/web")
		s.Kubectl("rollout", "status", "deployment/web", "--timeout=120s")
	})
	t.Run("job", func(t *testing.T) {
		s.Kubectl("create", "job", "sum", "--image="+busybox, "--", "sh", "-c", "echo $((6*7))")
		s.Kubectl("wait", "--for=condition=Complete", "job/sum", "--timeout=60s")
		if err := s.KubectlContains("42", "logs", "job/sum"); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("delete", func(t *testing.T) {
		s.Kubectl("delete", "job/sum", "deployment/web", "--wait", "--timeout=60s")
		site.Eventually(t, patience, func() error {
			if out := s.Kubectl("get", "pods", "-l", "app=web", "-o", "name"); out != "" {
				return fmt.Errorf("still there: %s", out)
			}
			return nil
		})
	})
}

func testPortForward(t *testing.T, s *node) {
	cmd := s.Command("kubectl", "port-forward", "deployment/web", "18080:8080")
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
	if err := site.Contains("page one", s.Inside("curl", "-sS", "-m", "5", "http://127.0.0.1:18080/index.html")); err != nil {
		t.Fatal(err)
	}
}

func testEncryption(t *testing.T, s *node) {
	s.Kubectl("create", "secret", "generic", "canary", "--from-literal=value=plain-canary-value")
	s.Kubectl("create", "configmap", "canary", "--from-literal=value=open-canary-value")
	if !s.inDatastore(t, "open-canary-value") {
		t.Fatal("the datastore does not hold what was just written: this test looks in the wrong place")
	}
	if s.inDatastore(t, "plain-canary-value") {
		t.Error("a secret stands in the datastore in clear text")
	}
}

// inDatastore says whether a text can be read in SQLite's files.
func (s *node) inDatastore(t *testing.T, text string) bool {
	t.Helper()
	for _, file := range []string{"state.db", "state.db-wal"} {
		data, err := os.ReadFile(filepath.Join(s.Paths.DataDir, "server/db", file))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		if strings.Contains(string(data), text) {
			return true
		}
	}
	return false
}

func testModes(t *testing.T, s *node) {
	for path, want := range map[string]os.FileMode{
		"airgap.yaml": 0o600, "server/tls": 0o700, "server/cred": 0o700, "server/tls/ca.key": 0o600,
		"server/cred/encryption-config.yaml": 0o600, "agent/pki": 0o700, "server/db": 0o700,
	} {
		info, err := os.Stat(filepath.Join(s.Paths.DataDir, path))
		if err != nil {
			t.Error(err)
		} else if info.Mode().Perm() != want {
			t.Errorf("%s has mode %o, want %o", path, info.Mode().Perm(), want)
		}
	}
}

// started says since when a pod's container runs.
func (s *node) started(pod string) string {
	s.T.Helper()
	return s.Kubectl("get", "pod", pod, "-o", "jsonpath={.status.containerStatuses[0].state.running.startedAt}")
}

func testKilledProcesses(t *testing.T, s *node) {
	before := s.started("shell")
	for _, verb := range []string{"containerd", "agent", "server"} {
		old, err := s.PID(verb)
		if err != nil {
			t.Fatal(err)
		}
		if err := syscall.Kill(old, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		site.Eventually(t, patience, func() error {
			now, err := s.PID(verb)
			if err == nil && now == old {
				err = errors.New("not yet dead")
			}
			if err != nil {
				return err
			}
			return s.KubectlContains("uid=", "exec", "shell", "--", "id")
		})
	}
	if after := s.started("shell"); after != before {
		t.Errorf("the pod was started again: %s, before %s", after, before)
	}
}

func testRestart(t *testing.T, s *node) {
	before := s.started("shell")
	began := time.Now()
	s.StopServer()
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("stopping took %s, want at most 10 s", took)
	}
	s.StartNode("server")
	site.Eventually(t, patience, func() error { return s.KubectlContains("uid=", "exec", "shell", "--", "id") })
	if after := s.started("shell"); after != before {
		t.Errorf("the pod was started again: %s, before %s", after, before)
	}
}

// testReboot kills everything at once, clears what a reboot clears, and starts the node again.
func testReboot(t *testing.T, s *node) {
	s.Reboot()
	s.StartNode("server")
	site.Eventually(t, patience, s.Ready)
	site.Eventually(t, patience, func() error {
		return s.KubectlContains("podinfo", "exec", "shell", "--", "timeout", "5", "wget", "-qO-", "http://podinfo.demo:9898/")
	})
}

func firstLine(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	return line
}
