package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"airgap/installer"
	"airgap/test/site"
)

const keepsake = `
apiVersion: v1
kind: Secret
metadata: {name: keepsake}
stringData: {word: swordfish}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: shell}
spec:
  selector: {matchLabels: {app: shell}}
  template:
    metadata: {labels: {app: shell}}
    spec:
      terminationGracePeriodSeconds: 1
      tolerations: [{operator: Exists}]
      containers: [{name: shell, image: BUSYBOX, command: [sleep, "100000"]}]
`

// A server whose disk lies, and one that is moved to another machine.
func TestRepair(t *testing.T) {
	nodes := site.New(t, "node-1", "node-2")
	s, other := &node{nodes[0]}, &node{nodes[1]}
	s.Install(site.Built("dist/system.airgap"))
	s.deploy("shell", keepsake)

	stick := t.TempDir()
	var saved struct {
		File     string `json:"file"`
		Revision int64  `json:"revision"`
	}
	began := time.Now()
	if err := json.Unmarshal([]byte(s.Verb("snapshot", "save", "--to", stick, "--output", "json")), &saved); err != nil {
		t.Fatal(err)
	}
	t.Logf("a snapshot of a running server took %.1f s", time.Since(began).Seconds())
	s.Verb("snapshot", "save")

	t.Run("a damaged datastore", func(t *testing.T) { testDamagedDatastore(t, s.within(t)) })
	t.Run("damaged image databases after a power cut", func(t *testing.T) {
		s := s.within(t)
		s.Reboot()
		overwriteFile(t, metaDatabase(s), 0, 1<<20)
		repairedStart(t, s, "images")
	})
	t.Run("damaged image databases under running pods", func(t *testing.T) {
		s := s.within(t)
		s.StopNode()
		if err := os.Truncate(filepath.Join(s.Paths.Containerd(), "io.containerd.snapshotter.v1.overlayfs/metadata.db"), 8192); err != nil {
			t.Fatal(err)
		}
		repairedStart(t, s, "images")
	})
	t.Run("the snapshot on another machine", func(t *testing.T) { testRestoreElsewhere(t, s.within(t), other.within(t), saved.File) })
}

func metaDatabase(s *node) string {
	return filepath.Join(s.Paths.Containerd(), "io.containerd.metadata.v1.bolt/meta.db")
}

// overwriteFile writes zeros over the part of a file between two offsets, as far as it goes.
func overwriteFile(t *testing.T, file string, from, to int64) {
	t.Helper()
	f, err := os.OpenFile(file, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(make([]byte, min(to, info.Size())-from), from); err != nil {
		t.Fatal(err)
	}
}

func testDamagedDatastore(t *testing.T, s *node) {
	s.Kubectl("create", "configmap", "later")
	s.StopNode()
	overwriteFile(t, s.Paths.Database(), 40<<10, 400<<10)
	repairedStart(t, s, "datastore")
	if kept, _ := filepath.Glob(filepath.Join(s.Paths.DB(), "damaged-*", "state.db")); len(kept) != 1 {
		t.Errorf("the damaged file is not kept: %v", kept)
	}
	site.Eventually(t, patience, func() error {
		return s.KubectlContains("Repaired", "get", "events", "--field-selector", "reason=Repaired")
	})
}

// repairedStart starts the node and wants what was there, and a word of the repair.
func repairedStart(t *testing.T, s *node, what string) {
	t.Helper()
	began := time.Now()
	s.StartNode("server")
	site.Eventually(t, patience, s.Ready)
	t.Logf("Ready %.1f s after the start", time.Since(began).Seconds())
	site.Eventually(t, patience, func() error { return s.KubectlContains("uid=", "exec", "deployment/shell", "--", "id") })
	t.Logf("a pod answers %.1f s after the start", time.Since(began).Seconds())
	mustHaveKeepsake(t, s)

	status := new(installer.Status)
	out, _ := s.Command("status", "--data-dir", s.Paths.DataDir, "--output", "json").Output()
	if err := json.Unmarshal(out, status); err != nil {
		t.Fatal(err)
	}
	if len(status.Repairs) == 0 || status.Repairs[len(status.Repairs)-1].What != what {
		t.Fatalf("status tells of no repair of the %s: %+v", what, status.Repairs)
	}
	last := status.Repairs[len(status.Repairs)-1]
	t.Log(last.Done)
	if what == "images" && strings.Contains(last.Done, "lost") {
		t.Errorf("images are lost: %s", last.Done)
	}
}

func mustHaveKeepsake(t *testing.T, s *node) {
	t.Helper()
	if err := s.KubectlContains("swordfish", "get", "secret", "keepsake", "-o", "go-template={{.data.word|base64decode}}"); err != nil {
		t.Error(err)
	}
}

func testRestoreElsewhere(t *testing.T, s, other *node, file string) {
	s.StopNode()
	other.Install(site.Built("dist/system.airgap"))
	other.Refuse(1, "snapshot", "restore", file, "--data-dir", other.Paths.DataDir) // the server runs
	other.StopNode()
	began := time.Now()
	said := other.Verb("snapshot", "restore", file)
	t.Logf("the restore took %.1f s", time.Since(began).Seconds())
	for _, want := range []string{"node node-1", "replaced-"} {
		if !strings.Contains(said, want) {
			t.Errorf("the restore does not say %q:\n%s", want, said)
		}
	}
	other.StartNode("server")
	site.Eventually(t, patience, other.Ready)
	mustHaveKeepsake(t, other)
	other.Kubectl("delete", "node", "node-1")
	other.Kubectl("delete", "pod", "-l", "app=shell", "--force", "--grace-period=0") // else the pod's end is waited for
	site.Eventually(t, patience, func() error {
		out, err := other.Command("kubectl", "exec", "deployment/shell", "--", "id").CombinedOutput()
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	})
	for _, verb := range [][]string{{"certificate", "check"}, {"token", "list"}} {
		other.Verb(verb...)
	}
}
