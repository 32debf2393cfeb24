package stories

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"airgap/test/site"
)

const (
	mostJoinRatio  = 1.5              // of the first machine's time from the stick
	mostAgentMB    = 180              // proportional set size of agent and containerd on a second machine
	mostUntilReady = 60 * time.Second // after the LAN is healed
	restBeforePSS  = 60 * time.Second
	joinPatience   = 6 * time.Minute // of a join that has to wait for something
	slowBits       = 80_000_000
	lossyShare     = 0.01
	halfwayBytes   = 40 << 20 // of a join: well after its beginning and before its end
)

// A site of a server and three agents, each of which comes in its own way, and what becomes of it.
func TestSite(t *testing.T) {
	nodes := site.New(t, "node-1", "node-2", "node-3", "node-4", "spare")
	first, second, third, fourth, spare := nodes[0], nodes[1], nodes[2], nodes[3], nodes[4]
	cloned := "node-2 has the machine ID (/etc/machine-id) of node node-1"

	began := time.Now()
	first.Install(site.Built("dist/system.airgap"))
	fromStick := time.Since(began)

	ok := t.Run("the second machine, over the LAN", func(t *testing.T) {
		began := time.Now()
		out := second.Within(t).Join(first.Within(t))
		took := time.Since(began)
		site.Eventually(t, 10*time.Second, func() error { return first.NodeReady("node-2") })
		ratio := took.Seconds() / fromStick.Seconds()
		if ratio > mostJoinRatio {
			t.Errorf("it took %.2f times as long as the first", ratio)
		}
		tell(t, "second machine with no stick, from `install --server` to Ready", fmt.Sprintf("≤ %.1f × the first from the stick", mostJoinRatio),
			"%.1f s, the first %.1f s: %.2f ×; %d MB over the LAN", took.Seconds(), fromStick.Seconds(), ratio, second.Received()/1e6)
		if !strings.Contains(out, cloned) { // all machines here have the host's
			t.Errorf("the install does not say %q:\n%s", cloned, out)
		}
		tell(t, "a machine with the machine ID of another", "told", "`%s`", cloned)
	})
	if !ok {
		return
	}
	t.Run("the LAN goes down in mid-join", func(t *testing.T) { interruptedJoin(t, first, third.Within(t)) })
	t.Run("a full disk", func(t *testing.T) { fullDisk(t, first, spare.Within(t)) })
	t.Run("the first machine dies in mid-join", func(t *testing.T) { killedFirst(t, first.Within(t), fourth.Within(t)) })
	t.Run("memory of a second machine", func(t *testing.T) { agentMemory(t, second.Within(t)) })
	t.Run("the LAN is cut", func(t *testing.T) { cut(t, first.Within(t), second.Within(t)) })
	t.Run("a node is replaced under its name", func(t *testing.T) { replace(t, first.Within(t), fourth.Within(t), spare.Within(t)) })
}

// startJoin starts a join and waits until half of it has come. The caller waits for its end.
func startJoin(t *testing.T, first, n *site.Node) (join *exec.Cmd, said *strings.Builder) {
	t.Helper()
	n.Slow(slowBits)
	join, said = n.JoinCommand(first.URL(), first.Within(t).Token()), &strings.Builder{}
	join.Stdout, join.Stderr = said, said
	before := n.Received()
	if err := join.Start(); err != nil {
		t.Fatal(err)
	}
	site.Eventually(t, joinPatience, func() error {
		if got := n.Received() - before; got < halfwayBytes {
			return fmt.Errorf("%d MB have come", got/1e6)
		}
		return nil
	})
	return join, said
}

// killedFirst kills all of the server's own processes in mid-join, as a power cut would, and starts it again.
func killedFirst(t *testing.T, first, n *site.Node) {
	n.Lossy(lossyShare)
	join, said := startJoin(t, first, n)
	first.Signal(syscall.SIGKILL, "supervise", "server", "agent", "containerd")
	time.Sleep(10 * time.Second)
	first.StartNode("server")
	began := time.Now()
	site.Eventually(t, 2*time.Minute, first.Ready)
	runs := finishJoin(t, first, n, join, said)
	tell(t, fmt.Sprintf("first machine killed for 10 s in mid-join, at %d Mbit/s and with %.0f %% of the packets lost each way", slowBits/1_000_000, lossyShare*100),
		"resumed", "Ready %.1f s after its start, %d run(s) of the install, %d MB over the LAN in all", time.Since(began).Seconds(), runs, n.Received()/1e6)
}

// fullDisk joins with a disk that is too small, and wants to be told so.
func fullDisk(t *testing.T, first, n *site.Node) {
	site.MustOutput(t, exec.Command("mount", "-t", "tmpfs", "-o", "size=300m", "tmpfs", n.Paths.DataDir))
	defer func() {
		if err := n.Unmount(); err != nil {
			t.Error(err)
		}
		site.MustOutput(t, exec.Command("umount", n.Paths.DataDir))
	}()
	out, err := n.JoinCommand(first.URL(), first.Within(t).Token()).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "disk") {
		t.Errorf("the install on a small disk: %v\n%s", err, out)
	}
	if err := first.Within(t).NodeReady(n.Name); err == nil {
		t.Error("it is a node all the same")
	}
	tell(t, "a disk of 300 MB on the machine that joins", "refused, told", "`%s`", lastError(string(out)))
}

// finishJoin waits for a join that was disturbed, and runs it again if it gave up.
func finishJoin(t *testing.T, first, n *site.Node, join *exec.Cmd, said *strings.Builder) (runs int) {
	t.Helper()
	if err := join.Wait(); err != nil {
		t.Logf("the install gave up: %v\n%s", err, said)
		n.Join(first)
		runs = 1
	}
	site.Eventually(t, 30*time.Second, func() error { return first.NodeReady(n.Name) })
	return runs + 1
}

func interruptedJoin(t *testing.T, first, n *site.Node) {
	join, said := startJoin(t, first, n)
	n.Unplug()
	time.Sleep(20 * time.Second)
	n.Heal()
	healed := time.Now()
	runs := finishJoin(t, first.Within(t), n, join, said)
	tell(t, "LAN down for 20 s in mid-join", "resumed", "Ready %.1f s after, %d run(s) of the install, %d MB over the LAN in all",
		time.Since(healed).Seconds(), runs, n.Received()/1e6)
}

var pssLine = regexp.MustCompile(`(?m)^Pss: +(\d+) kB$`)

// agentMemory measures agent and containerd of a machine that rests.
func agentMemory(t *testing.T, n *site.Node) {
	time.Sleep(restBeforePSS)
	var sum float64
	var parts []string
	for _, verb := range []string{"agent", "containerd"} {
		p, err := n.Find(verb)
		if err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(p.PID), "smaps_rollup"))
		match := pssLine.FindSubmatch(data)
		if err != nil || match == nil {
			t.Fatalf("memory of process %d: %v", p.PID, err)
		}
		kib, _ := strconv.ParseFloat(string(match[1]), 64)
		sum += kib * 1024 / 1e6
		parts = append(parts, fmt.Sprintf("%s %.0f MB", verb, kib*1024/1e6))
	}
	if sum > mostAgentMB {
		t.Errorf("%.0f MB", sum)
	}
	tell(t, "agent and containerd at rest on a second machine, PSS", fmt.Sprintf("≤ %d MB", mostAgentMB), "%.0f MB: %s", sum, strings.Join(parts, ", "))
}

// steady is a pod on node-2 that must not notice what happens around it.
const steady = `
apiVersion: v1
kind: Pod
metadata: {name: steady}
spec:
  terminationGracePeriodSeconds: 1
  nodeSelector: {kubernetes.io/hostname: node-2}
  containers: [{name: main, image: BUSYBOX, command: [sleep, "1000000"]}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: steady}
spec:
  selector: {matchLabels: {app: steady}}
  template:
    metadata: {labels: {app: steady}}
    spec:
      terminationGracePeriodSeconds: 1
      nodeSelector: {kubernetes.io/hostname: node-2}
      containers: [{name: main, image: BUSYBOX, command: [sleep, "1000000"]}]
`

// containers are those that run of the machine's pods, as its own runtime has them: of the namespace default, for add-ons that look after
// the API server may end by themselves without it.
func containers(n *site.Node) string {
	n.T.Helper()
	return n.Airgap("crictl", "ps", "-q", "--state", "Running", "--label", "io.kubernetes.pod.namespace=default")
}

func cut(t *testing.T, first, second *site.Node) {
	image := regexp.MustCompile(`airgap\.internal/busybox:\S+`).FindString(first.Airgap("ctr", "images", "ls", "-q"))
	first.Apply(strings.ReplaceAll(steady, "BUSYBOX", image))
	first.Kubectl("rollout", "status", "deployment/steady", "--timeout=120s")
	first.Kubectl("wait", "--for=condition=Ready", "pod/steady", "--timeout=60s")
	before := containers(second)

	second.Unplug()
	began := time.Now()
	site.Eventually(t, 2*time.Minute, func() error {
		if first.NodeReady("node-2") == nil {
			return errors.New("the cluster has not noticed")
		}
		return nil
	})
	noticed := time.Since(began)
	if out, err := second.Command("status").CombinedOutput(); err == nil || !strings.Contains(string(out), "not reached") {
		t.Errorf("status of the machine that is cut off: %v\n%s", err, out)
	}
	time.Sleep(*cutTime - time.Since(began))
	during := containers(second)
	second.Heal()
	healed := time.Now()
	site.Eventually(t, 3*time.Minute, func() error { return first.NodeReady("node-2") })
	ready := time.Since(healed)
	if ready > mostUntilReady {
		t.Errorf("Ready only after %s", ready)
	}
	time.Sleep(10 * time.Second) // what the cluster decided meanwhile would arrive now
	if after := containers(second); during != before || after != before {
		t.Errorf("containers were touched: before\n%sduring\n%safter\n%s", before, during, after)
	}
	if err := first.KubectlContains("0", "get", "pod", "steady", "-o", "jsonpath={.status.containerStatuses[0].restartCount}"); err != nil {
		t.Error(err)
	}
	if err := first.KubectlContains("uid=", "exec", "steady", "--", "id"); err != nil {
		t.Error(err)
	}
	tell(t, fmt.Sprintf("LAN of a node cut for %s, then healed", *cutTime), fmt.Sprintf("pods untouched, Ready ≤ %.0f s after", mostUntilReady.Seconds()),
		"noticed after %.0f s, Ready %.1f s after, %d containers as before", noticed.Seconds(), ready.Seconds(), len(strings.Fields(before)))
}

// replace takes a machine away for good, and puts another in its place.
func replace(t *testing.T, first, old, spare *site.Node) {
	old.Unplug()
	old.Signal(syscall.SIGKILL, "supervise", "agent", "containerd")
	refused := spare.JoinCommand(first.URL(), first.Token())
	refused.Args = append(refused.Args, "--node-name", old.Name)
	out, err := refused.CombinedOutput()
	if err == nil || !strings.Contains(string(out), old.Name) {
		t.Fatalf("another machine took the name %s: %v\n%s", old.Name, err, out)
	}
	first.Kubectl("delete", "node", old.Name)
	again := spare.JoinCommand(first.URL(), first.Token())
	again.Args = append(again.Args, "--node-name", old.Name)
	began := time.Now()
	site.MustOutput(t, again)
	site.Eventually(t, 30*time.Second, func() error { return first.NodeReady(old.Name) })
	if address := first.Kubectl("get", "node", old.Name, "-o", `jsonpath={.status.addresses[?(@.type=="InternalIP")].address}`); address != spare.IP {
		t.Errorf("%s has the address %s, want the new machine's, %s", old.Name, address, spare.IP)
	}
	tell(t, "a dead machine's name: another machine asks for it, and again after `kubectl delete node`", "refused, then given", "refused, then Ready after %.1f s", time.Since(began).Seconds())
}
