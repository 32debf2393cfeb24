package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"airgap/test/site"
)

// A database that ends in order when it is asked to, and says so on its volume; and a pod that will not end.
const shutdownPods = `
apiVersion: v1
kind: Pod
metadata: {name: database}
spec:
  terminationGracePeriodSeconds: 20
  volumes: [{name: data, hostPath: {path: %[1]s}}]
  containers:
  - name: db
    image: airgap.internal/busybox:1.35.0
    command: [sh, -c, "trap 'echo term >>/data/end; sleep 1; echo synced >>/data/end; exit 0' TERM; while :; do sleep 0.1; done"]
    lifecycle: {preStop: {exec: {command: [sh, -c, "echo hook >>/data/end"]}}}
    volumeMounts: [{name: data, mountPath: /data}]
---
apiVersion: v1
kind: Pod
metadata: {name: stubborn}
spec:
  terminationGracePeriodSeconds: 3
  containers:
  - {name: c, image: "airgap.internal/busybox:1.35.0", command: [sh, -c, "trap '' TERM; while :; do sleep 0.1; done"]}
`

// testShutdown stops the node and its pods as systemd and OpenRC do when the machine is shut down, and
// starts it again.
func testShutdown(t *testing.T, s *node) {
	volume := filepath.Join(s.Paths.DataDir, "storage", "database")
	if err := os.MkdirAll(volume, 0o755); err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(volume)
	s.Apply(fmt.Sprintf(shutdownPods, volume))
	defer s.Kubectl("delete", "pod", "database", "stubborn", "--now", "--wait=false")
	s.Kubectl("wait", "pod/database", "pod/stubborn", "--for=condition=Ready", "--timeout=60s")
	uid := s.Kubectl("get", "pod", "database", "-o", "jsonpath={.metadata.uid}")

	if refusal := s.Refuse(1, "stop-pods", "--data-dir", s.Paths.DataDir); !strings.Contains(refusal, "a node already runs") {
		t.Errorf("while the node runs: %s", refusal)
	}
	s.StopNode()
	if end, err := os.ReadFile(filepath.Join(volume, "end")); err == nil {
		t.Fatalf("the service alone stopped the pods: %s", end)
	}

	began := time.Now()
	out := s.Verb("stop-pods")
	took := time.Since(began)
	t.Logf("%s", out)
	for _, pod := range []string{"default/database", "default/stubborn", "kube-system/coredns", "demo/podinfo"} {
		if !strings.Contains(out, "stopped "+pod) {
			t.Errorf("%s was not stopped:\n%s", pod, out)
		}
	}
	if end, err := os.ReadFile(filepath.Join(volume, "end")); err != nil || string(end) != "hook\nterm\nsynced\n" {
		t.Errorf("the database did not end in order: %q, %v", end, err)
	}
	if took < 3*time.Second || took > 40*time.Second {
		t.Errorf("it took %s; the stubborn pod has 3 s", took)
	}
	for _, p := range s.Processes() {
		if strings.Contains(p.Args[0], "containerd-shim") {
			t.Errorf("a pod is left: process %d, %q", p.PID, p.Args)
		}
	}
	if out := s.Verb("stop-pods"); !strings.Contains(out, "0 pods stopped") {
		t.Errorf("a second time: %s", out)
	}

	s.StartNode("server")
	site.Eventually(t, patience, s.Ready)
	site.Eventually(t, patience, func() error { return s.KubectlContains("uid=", "exec", "database", "--", "id") })
	if now := s.Kubectl("get", "pod", "database", "-o", "jsonpath={.metadata.uid}"); now != uid {
		t.Error("the pod is another one after the start")
	}
}
