package e2e

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"airgap/node/config"
	"airgap/test/site"
)

// TestAgent is a cluster of a server and an agent, used across the LAN and through its troubles.
func TestAgent(t *testing.T) {
	nodes := site.New(t, "node-1", "node-2")
	first, second := &node{nodes[0]}, &node{nodes[1]}
	first.Install(site.Built("dist/system.airgap"))
	joinAgent(t, first, second)
	site.Eventually(t, patience, func() error { return first.NodeReady("node-2") })
	first.Apply(strings.ReplaceAll(agentWorkload, "BUSYBOX", busyboxImage(t)))
	first.Kubectl("wait", "--for=condition=Ready", "pod/near", "pod/far", "--timeout=90s")

	for _, test := range []struct {
		name string
		run  func(t *testing.T, first, second *node)
	}{
		{"services and DNS between machines", testAgentServices},
		{"logs, exec, port-forward and top", testAgentStreams},
		{"the site is known from the API", testAgentAnnotations},
		{"an image that only the other node has", testAgentForeignImage},
		{"memory", testAgentMemory},
		{"the LAN is cut", testAgentCut},
		{"a reboot while the server is down", testAgentReboot},
		{"a deleted node stays deleted", testAgentDeleted},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, first.within(t), second.within(t)) })
	}
}

// joinAgent makes second a node of first's cluster, with nothing but the LAN between them.
func joinAgent(t *testing.T, first, second *node) {
	t.Helper()
	token := strings.TrimSpace(first.Airgap("token", "create"))
	second.Airgap(second.InstallArgs("--server", "https://"+first.IP+":6443", "--token", token, "--node-label", "site=far")...)
}

// agentWorkload is a pod with a service on each of two nodes.
var agentWorkload = strings.NewReplacer("NAME", "near", "NODE", "node-1").Replace(pinnedPod) + "---" +
	strings.NewReplacer("NAME", "far", "NODE", "node-2").Replace(pinnedPod)

const pinnedPod = `
apiVersion: v1
kind: Pod
metadata: {name: NAME, labels: {app: NAME}}
spec:
  nodeName: NODE
  terminationGracePeriodSeconds: 1
  containers:
  - name: web
    image: BUSYBOX
    command: [sh, -c, "mkdir /tmp/w; echo this is NAME > /tmp/w/index.html; echo NAME is up; exec httpd -f -p 8080 -h /tmp/w"]
---
apiVersion: v1
kind: Service
metadata: {name: NAME}
spec:
  selector: {app: NAME}
  ports: [{port: 8080}]
`

func testAgentServices(t *testing.T, first, _ *node) {
	for _, ask := range []struct{ from, to string }{{"near", "far"}, {"far", "near"}, {"near", "near"}, {"far", "far"}} {
		site.Eventually(t, patience, func() error {
			return first.KubectlContains("this is "+ask.to, "exec", ask.from, "--", "timeout", "5", "wget", "-qO-", "http://"+ask.to+".default.svc.cluster.local:8080/")
		})
	}
}

func testAgentStreams(t *testing.T, first, _ *node) {
	site.Eventually(t, patience, func() error { return first.KubectlContains("far is up", "logs", "far") })
	if out := first.Kubectl("exec", "far", "--", "hostname"); strings.TrimSpace(out) != "far" {
		t.Errorf("exec says %q", out)
	}
	forward := first.Command("kubectl", "port-forward", "pod/far", "18080:8080")
	if err := forward.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = forward.Process.Kill(); _ = forward.Wait() }()
	client := &http.Client{Transport: &http.Transport{DialContext: first.Dial, DisableKeepAlives: true}, Timeout: 5 * time.Second}
	site.Eventually(t, patience, func() error {
		answer, err := client.Get("http://127.0.0.1:18080/")
		if err != nil {
			return err
		}
		defer answer.Body.Close()
		if body, err := io.ReadAll(answer.Body); err != nil || !strings.Contains(string(body), "this is far") {
			return fmt.Errorf("port-forward brings %q, %w", body, err)
		}
		return nil
	})
	site.Eventually(t, patience, func() error { return first.KubectlContains("node-2", "top", "nodes") })
}

func testAgentAnnotations(t *testing.T, first, second *node) {
	for _, want := range []string{`"airgap.internal/peer-port":"6446"`, `"airgap.internal/version":"0.`, `"airgap.internal/bundles":"system=`} {
		site.Eventually(t, patience, func() error {
			return first.KubectlContains(want, "get", "node", "node-2", "-o", "jsonpath={.metadata.annotations}")
		})
	}
	if err := first.KubectlContains("node-2", "get", "nodes", "-l", "site=far"); err != nil {
		t.Error(err)
	}
	site.Eventually(t, patience, func() error {
		state, err := config.ReadAgentState(second.Paths)
		if err == nil && (state.Node != "node-2" || state.Problem != "" || len(state.Servers) != 1 || state.Servers[0].Address != first.IP+":6443") {
			err = fmt.Errorf("the agent says of itself: %+v", state)
		}
		return err
	})
	if _, err := os.Stat(second.Paths.LearnedServers()); err != nil {
		t.Errorf("the servers are not remembered: %v", err)
	}
}

// maxAgentBytes is what agent and containerd may take on a machine without a control plane, at rest.
const maxAgentBytes = 180e6

func testAgentMemory(t *testing.T, _, second *node) {
	site.Eventually(t, patience, func() error {
		var sum int64
		for _, verb := range []string{"agent", "containerd"} {
			pid, err := second.PID(verb)
			if err != nil {
				return err
			}
			sum += pssBytes(t, pid)
		}
		if sum > maxAgentBytes {
			return fmt.Errorf("agent and containerd take %d MB, want %d", sum/1e6, int64(maxAgentBytes)/1e6)
		}
		t.Logf("agent and containerd take %d MB", sum/1e6)
		return nil
	})
}

// pssBytes is a process's proportional set size.
func pssBytes(t *testing.T, pid int) int64 {
	t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		var kib int64
		if n, _ := fmt.Sscanf(line, "Pss: %d kB", &kib); n == 1 {
			return kib << 10
		}
	}
	t.Fatalf("process %d has no Pss", pid)
	return 0
}

// testAgentCut loses every packet of the agent's machine, silently, until the cluster has noticed, and some more.
func testAgentCut(t *testing.T, first, second *node) {
	agent, err := second.PID("agent")
	if err != nil {
		t.Fatal(err)
	}
	started := first.Kubectl("get", "pod", "far", "-o", "jsonpath={.status.containerStatuses[0].containerID}")
	logged := logSize(t, second)
	second.Lossy(1)
	cut := time.Now()
	site.Eventually(t, 30*time.Second, func() error { // dead connections are noticed
		state, err := config.ReadAgentState(second.Paths)
		if err == nil && state.Servers[0].Problem == "" {
			err = errors.New("the agent still believes in its server")
		}
		return err
	})
	t.Logf("noticed after %v", time.Since(cut).Round(time.Second))
	site.Eventually(t, patience, func() error {
		return first.KubectlContains("Unknown", "get", "node", "node-2", "-o", `jsonpath={.status.conditions[?(@.type=="Ready")].status}`)
	})
	time.Sleep(cutFor() - time.Since(cut))
	lines := logSize(t, second) - logged
	second.Heal()
	healed := time.Now()
	site.Eventually(t, time.Minute, func() error { return first.NodeReady("node-2") })
	t.Logf("cut for %v, Ready %v after it healed; the agent logged %d kB meanwhile", healed.Sub(cut).Round(time.Second), time.Since(healed).Round(time.Second), lines/1000)
	if now, err := second.PID("agent"); err != nil || now != agent {
		t.Errorf("the agent was started again: process %d, then %d, %v", agent, now, err)
	}
	if now := first.Kubectl("get", "pod", "far", "-o", "jsonpath={.status.containerStatuses[0].containerID}"); now != started {
		t.Errorf("the pod's container was %s, now it is %s", started, now)
	}
}

// cutFor is how long the LAN is cut at least: AIRGAP_TEST_CUT, such as 10m.
func cutFor() time.Duration {
	d, err := time.ParseDuration(os.Getenv("AIRGAP_TEST_CUT"))
	if err != nil {
		return 0
	}
	return d
}

func logSize(t *testing.T, n *node) int64 {
	t.Helper()
	info, err := os.Stat(n.Paths.Log())
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

func testAgentReboot(t *testing.T, first, second *node) {
	if err := os.WriteFile(second.Paths.ConfigFile(), []byte("node-label: [site=far]\n"), 0o600); err != nil { // neither server nor token
		t.Fatal(err)
	}
	second.Reboot()
	first.StopNode()
	second.StartNode("agent")
	time.Sleep(10 * time.Second)
	agent, err := second.PID("agent")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := second.PID("containerd"); err != nil {
		t.Error(err)
	}
	first.StartNode("server")
	site.Eventually(t, patience, func() error {
		return first.KubectlContains("this is far", "exec", "near", "--", "timeout", "5", "wget", "-qO-", "http://far.default.svc.cluster.local:8080/")
	})
	if now, err := second.PID("agent"); err != nil || now != agent {
		t.Errorf("the agent did not wait, but was started again: process %d, then %d, %v", agent, now, err)
	}
}

func testAgentDeleted(t *testing.T, first, second *node) {
	first.Kubectl("delete", "node", "node-2") // ends kube-proxy, and so the agent, which starts again
	site.Eventually(t, patience, func() error {
		state, err := config.ReadAgentState(second.Paths)
		if err == nil && !strings.Contains(state.Problem, "deleted from the cluster") {
			err = fmt.Errorf("the agent's problem is %q", state.Problem)
		}
		return err
	})
	time.Sleep(5 * time.Second)
	if out, err := first.Command("kubectl", "get", "node", "node-2").CombinedOutput(); err == nil {
		t.Errorf("the node has registered itself again:\n%s", out)
	}
	log, err := os.ReadFile(second.Paths.Log())
	if err != nil || !strings.Contains(string(log), "this node was deleted from the cluster") {
		t.Errorf("the log does not tell of it: %v", err)
	}
}
