package e2e

import (
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"airgap/test/site"
)

// A second machine becomes a node of the first one's cluster with nothing but the cable between them.
func TestTwoMachines(t *testing.T) {
	nodes := site.New(t, "node-1", "node-2", "node-3")
	first, second, third := &node{nodes[0]}, &node{nodes[1]}, &node{nodes[2]}
	first.Install(demoBundle(t), "--announce")

	t.Run("a wrong token is refused", func(t *testing.T) { testWrongTokens(t, first, second.within(t)) })
	t.Run("found on the LAN", func(t *testing.T) {
		if out := second.within(t).Airgap("discover", "--timeout", "2s"); !strings.Contains(out, first.URL()+"  node node-1") {
			t.Errorf("discover:\n%s", out)
		}
	})
	if !t.Run("joins with no stick", func(t *testing.T) { testJoinOverLAN(t, first, second.within(t)) }) {
		return
	}
	t.Run("pods of both talk, as a policy allows", func(t *testing.T) { testTalk(t, first.within(t)) })
	t.Run("what is pushed to one runs on the other", func(t *testing.T) { testPushedAcross(t, first.within(t), second.within(t)) })
	t.Run("status knows the site", func(t *testing.T) { testSiteStatus(t, first.within(t), second.within(t)) })
	t.Run("a name that is taken is refused", func(t *testing.T) {
		cmd := third.JoinCommand(first.URL(), first.Token())
		cmd.Args = append(cmd.Args, "--node-name", "node-2") // the last one counts
		wantRefusal(t, cmd, "node-2")
		if err := first.NodeReady("node-2"); err != nil {
			t.Error(err)
		}
	})
	t.Run("check asks the server", func(t *testing.T) { testCheckServer(t, first.within(t), third.within(t)) })
	t.Run("a third finds the server by itself", func(t *testing.T) {
		site.MustOutput(t, third.JoinCommand("discover", first.within(t).Token()))
		site.Eventually(t, 10*time.Second, func() error { return first.NodeReady("node-3") })
	})
	t.Run("uninstall takes the node away", func(t *testing.T) { testLeave(t, first, second.within(t)) })
}

// wantRefusal wants a command to fail with one line that has the text, and perhaps a hint, and to leave nothing behind.
func wantRefusal(t *testing.T, cmd *exec.Cmd, text string) {
	t.Helper()
	var stderr strings.Builder
	cmd.Stderr = &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() < 1 {
		t.Fatalf("%s ended with %v, want a refusal:\n%s", strings.Join(cmd.Args, " "), err, stderr.String())
	}
	lines := strings.Split(strings.TrimSpace(stderr.String()), "\n")
	if len(lines) > 2 || len(lines) == 2 && !strings.HasPrefix(lines[1], "  hint: ") || !strings.Contains(lines[0], text) {
		t.Errorf("the refusal is not one line with %q:\n%s", text, stderr.String())
	}
}

func testWrongTokens(t *testing.T, first, second *node) {
	token := first.Token()
	hash, secret, _ := strings.Cut(token, "::")
	id, _, _ := strings.Cut(secret, ".")
	for name, test := range map[string]struct{ token, text string }{
		"another secret":  {hash + "::" + id + ".0123456789abcdef", "token"},
		"another cluster": {"K10" + strings.Repeat("0", 64) + "::" + secret, "another cluster"},
		"nonsense":        {"K10abc::node:x", "token"},
	} {
		t.Run(name, func(t *testing.T) {
			wantRefusal(t, second.JoinCommand(first.URL(), test.token), test.text)
		})
	}
	if _, err := second.PID("supervise"); err == nil {
		t.Error("a node runs on the machine that was refused")
	}
}

func testJoinOverLAN(t *testing.T, first, second *node) {
	began := time.Now()
	out := second.Join(first.within(t).Node)
	took := time.Since(began)
	site.Eventually(t, 10*time.Second, func() error { return first.NodeReady("node-2") })
	t.Logf("node-2 is Ready %.1f s after the start of its install, %d MB came over the LAN:\n%s", took.Seconds(), second.Received()/1e6, out)
	images := second.Airgap("crictl", "images")
	for _, want := range []string{"airgap.internal/busybox", "airgap.internal/pause", "localhost:5000/podinfo"} {
		if !strings.Contains(images, want) {
			t.Errorf("no image %s on the second machine:\n%s", want, images)
		}
	}
	for _, p := range second.Processes() {
		if strings.Contains(strings.Join(p.Args, " "), "--token") {
			t.Errorf("a token shows in the list of processes: %q", p.Args)
		}
	}
}

// talking is a server on one machine, and a friend and a foe on another.
const talking = `
apiVersion: v1
kind: Namespace
metadata: {name: NAMESPACE}
---
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: NAMESPACE, labels: {app: web}}
spec:
  terminationGracePeriodSeconds: 1
  nodeSelector: {kubernetes.io/hostname: SERVER}
  containers:
  - name: web
    image: BUSYBOX
    command: [sh, -c, 'echo page > /tmp/index.html; echo serving; exec httpd -f -p 8080 -h /tmp']
    readinessProbe: {httpGet: {port: 8080, path: /index.html}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: NAMESPACE}
spec: {selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Pod
metadata: {name: friend, namespace: NAMESPACE, labels: {app: friend}}
spec:
  terminationGracePeriodSeconds: 1
  nodeSelector: {kubernetes.io/hostname: CLIENT}
  containers: [{name: shell, image: BUSYBOX, command: [sleep, "100000"]}]
---
apiVersion: v1
kind: Pod
metadata: {name: foe, namespace: NAMESPACE, labels: {app: foe}}
spec:
  terminationGracePeriodSeconds: 1
  nodeSelector: {kubernetes.io/hostname: CLIENT}
  containers: [{name: shell, image: BUSYBOX, command: [sleep, "100000"]}]
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: friends, namespace: NAMESPACE}
spec:
  podSelector: {matchLabels: {app: web}}
  policyTypes: [Ingress]
  ingress: [{from: [{podSelector: {matchLabels: {app: friend}}}]}]
`

// testTalk has pods of each machine ask one of the other, by the name of its service.
func testTalk(t *testing.T, s *node) {
	for namespace, machines := range map[string][2]string{"to-first": {"node-1", "node-2"}, "to-second": {"node-2", "node-1"}} {
		s.Apply(strings.NewReplacer("BUSYBOX", busyboxImage(t), "NAMESPACE", namespace, "SERVER", machines[0], "CLIENT", machines[1]).Replace(talking))
	}
	for _, namespace := range []string{"to-first", "to-second"} {
		s.Kubectl("-n", namespace, "wait", "--for=condition=Ready", "pod", "--all", "--timeout=60s")
		ask := func(pod string) error {
			return s.KubectlContains("page", "-n", namespace, "exec", pod, "--", "timeout", "5", "wget", "-qO-", "http://web/index.html")
		}
		site.Eventually(t, 30*time.Second, func() error { return ask("friend") })
		site.Eventually(t, 30*time.Second, func() error {
			if ask("foe") == nil {
				return errors.New(namespace + ": the foe gets through")
			}
			return ask("friend")
		})
	}
}

func testSiteStatus(t *testing.T, first, second *node) {
	site.Eventually(t, patience, func() error { // the second tells what it has within a minute
		out, _ := first.Command("status").CombinedOutput()
		for _, want := range []string{"node-1 Ready", "other node    node-2 Ready", "10.99.0.2", "demo 1.0.0"} {
			if !strings.Contains(string(out), want) {
				return fmt.Errorf("status of the first has no %q:\n%s", want, out)
			}
		}
		if strings.Contains(string(out), "lacks") {
			return fmt.Errorf("something is lacking:\n%s", out)
		}
		return nil
	})
	site.Eventually(t, patience, func() error {
		out, err := second.Command("status").CombinedOutput()
		for _, want := range []string{"node-2, agent", "10.99.0.1:6443 reached", "kubelet", "certificates  4 good", "healthy       yes"} {
			if !strings.Contains(string(out), want) {
				return fmt.Errorf("status of the second has no %q: %v\n%s", want, err, out)
			}
		}
		return nil
	})
}

// testCheckServer asks what would come of a join, of a machine that could and under a name that is taken.
func testCheckServer(t *testing.T, first, third *node) {
	check := func(name string) *exec.Cmd {
		cmd := third.Command("check", "--server", first.URL(), "--data-dir", third.Paths.DataDir, "--node-name", name)
		cmd.Env = append(cmd.Env, "AIRGAP_TOKEN="+first.Token())
		return cmd
	}
	out := site.MustOutput(t, check("node-3"))
	for _, want := range []string{"warn  clone ", "  node-3 has the machine ID", "this machine can take the install"} {
		if !strings.Contains(out, want) {
			t.Errorf("check does not say %q:\n%s", want, out)
		}
	}
	if out, err := check("node-2").CombinedOutput(); err == nil || !strings.Contains(string(out), "the name node-2 belongs to another machine") {
		t.Errorf("check of a name that is taken: %v\n%s", err, out)
	}
	if left := first.Kubectl("-n", "kube-system", "get", "secrets", "-o", "name"); strings.Contains(left, "node-3") {
		t.Errorf("a check took the name:\n%s", left)
	}
}

func testLeave(t *testing.T, first, second *node) {
	testUninstall(t, second)
	if out := first.Kubectl("get", "nodes", "-o", "name"); strings.Contains(out, "node-2") {
		t.Errorf("the node is still there:\n%s", out)
	}
}
