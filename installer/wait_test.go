package installer

import (
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"time"

	"sigs.k8s.io/yaml"

	"airgap/bundle"
	"airgap/internal/atomicfile"
	"airgap/internal/hostinfo"
	"airgap/internal/testca"
	"airgap/node/config"
)

// apiServer answers as an API server does, over TLS, and writes a kubeconfig for it.
func apiServer(t *testing.T, answer func(path string) (body string, found bool)) (kubeconfig string) {
	t.Helper()
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, found := answer(r.URL.Path)
		if !found {
			http.NotFound(w, r)
			return
		}
		fmt.Fprint(w, body)
	}))
	t.Cleanup(server.Close)
	key, ca := testca.NewKey(t), testca.New(t, "test-ca")
	authority := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	data, err := yaml.Marshal(map[string]any{
		"clusters": []any{map[string]any{"cluster": map[string]any{
			"server": server.URL, "certificate-authority-data": authority}}},
		"users": []any{map[string]any{"user": map[string]any{
			"client-certificate-data": ca.Sign(key.Public(), testca.Leaf{Name: "admin"}), "client-key-data": testca.EncodeKey(t, key)}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	kubeconfig = filepath.Join(t.TempDir(), "kubeconfig")
	if err := os.WriteFile(kubeconfig, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return kubeconfig
}

// waitingRun is a run at the point where it waits for a node named n1 and a release named web.
func waitingRun(t *testing.T, kubeconfig string) *run {
	t.Helper()
	server := config.NewServer()
	server.DataDir, server.NodeName, server.Kubeconfig = t.TempDir(), "n1", kubeconfig
	paths := config.PathsOf(server.DataDir)
	if err := os.WriteFile(paths.Log(), []byte("first\nsecond: the disk is on fire\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return &run{
		Options: Options{Server: server, Timeout: 5 * time.Second},
		paths:   paths, digest: "sha256:aa",
		service:  &supervised{paths: paths, host: hostinfo.This()},
		console:  newConsole(&strings.Builder{}, false, 1),
		report:   &Report{},
		started:  time.Now(),
		manifest: &bundle.Manifest{Charts: []bundle.Chart{{Release: "web", Version: "1.2.3"}}},
	}
}

// A run that continues one which has started the node counts from that start: the node reports anew in some minutes only.
func TestStartedByAnEarlierRun(t *testing.T) {
	r := waitingRun(t, "")
	if err := os.MkdirAll(r.paths.Run(), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(r.paths.Run()) })
	since := time.Now().Add(-time.Hour).Truncate(time.Second)
	for _, test := range []struct {
		pid  string
		args string
		want time.Time
	}{
		{"", "", time.Time{}},
		{"4242", "airgap\x00server\x00", since},
		{"4242", "somebody\x00else\x00", time.Time{}},
		{"4243", "airgap\x00server\x00", time.Time{}},
	} {
		r.host = hostinfo.Host{FS: fstest.MapFS{"proc/4242/comm": {Data: []byte("airgap")}, "proc/4242/cmdline": {Data: []byte(test.args)}}}
		if test.pid != "" {
			if err := errors.Join(os.WriteFile(r.paths.ServerPID(), []byte(test.pid), 0o644), os.Chtimes(r.paths.ServerPID(), since, since)); err != nil {
				t.Fatal(err)
			}
		}
		if got := r.runningSince(); !got.Equal(test.want) {
			t.Errorf("process %q, %q: since %s, want %s", test.pid, test.args, got, test.want)
		}
	}
}

func nodeJSON(ready, message string, heartbeat time.Time) string {
	return fmt.Sprintf(`{"metadata":{"name":"n1"},"status":{"conditions":[{"type":"Ready","status":%q,"message":%q,"lastHeartbeatTime":%q}],"nodeInfo":{"kubeletVersion":"v1.37.1"}}}`,
		ready, message, heartbeat.UTC().Format(time.RFC3339))
}

// A node is awaited through every state it comes through; one that was Ready before this install must
// have reported since.
func TestAwaitNode(t *testing.T) {
	started := time.Now()
	var step atomic.Int64
	kubeconfig := apiServer(t, func(path string) (string, bool) {
		now := step.Load()
		switch {
		case path == "/readyz":
			step.Add(1)
			return "ok", now >= 1
		case strings.HasPrefix(path, "/api/v1/nodes/"):
			switch {
			case now >= 7:
				return nodeJSON("True", "", started), true
			case now >= 5:
				return nodeJSON("True", "", started.Add(-time.Hour)), true
			}
			return nodeJSON("False", "container runtime network not ready", started), now >= 3
		}
		return "", false
	})
	r := waitingRun(t, kubeconfig)
	detail, err := r.awaitNode(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if detail != "n1 is Ready, Kubernetes v1.37.1" || step.Load() < 7 {
		t.Errorf("%q after %d looks", detail, step.Load())
	}
}

func TestAwaitNodeTooLong(t *testing.T) {
	kubeconfig := apiServer(t, func(path string) (string, bool) {
		return nodeJSON("False", "no network plugin", time.Now()), true
	})
	r := waitingRun(t, kubeconfig)
	r.Timeout = 400 * time.Millisecond
	_, err := r.awaitNode(context.Background())
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{"node n1: no network plugin", "the service does not run", "the disk is on fire", "tail -n 50"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in: %v", want, err)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := r.awaitNode(ctx); err != context.Canceled {
		t.Errorf("interrupted: %v", err)
	}
}

// A release counts once its HelmChart is this bundle's, and its status speaks of the present generation.
func TestAwaitReleases(t *testing.T) {
	const condition = `{"type":"Ready","status":"True","reason":"Deployed","message":"","lastTransitionTime":"2026-01-01T00:00:00Z"}`
	answers := []string{
		"", // not there
		`{"metadata":{"name":"web","generation":1,"annotations":{"airgap.internal/bundle":"sha256:old"}},"status":{"observedGeneration":1,"conditions":[` + condition + `]}}`,
		`{"metadata":{"name":"web","generation":2,"annotations":{"airgap.internal/bundle":"sha256:aa"}},"status":{"observedGeneration":1,"conditions":[` + condition + `]}}`,
		`{"metadata":{"name":"web","generation":2,"annotations":{"airgap.internal/bundle":"sha256:aa"}},"status":{"observedGeneration":2,"conditions":[` + condition + `]}}`,
	}
	var looks atomic.Int64
	kubeconfig := apiServer(t, func(path string) (string, bool) {
		if path != "/apis/helm.cattle.io/v1/namespaces/kube-system/helmcharts/web" {
			t.Errorf("asked for %s", path)
		}
		answer := answers[min(looks.Add(1)-1, int64(len(answers)-1))]
		return answer, answer != ""
	})
	r := waitingRun(t, kubeconfig)
	detail, err := r.awaitReleases(context.Background())
	if err != nil || detail != "web 1.2.3 Ready" || looks.Load() != int64(len(answers)) {
		t.Errorf("%q, %v after %d looks", detail, err, looks.Load())
	}
}

// A node is waited for under the name that it keeps, whatever its host is called meanwhile.
func TestNameOfANodeWhoseHostWasRenamed(t *testing.T) {
	s := newSite(t)
	paths := s.paths()
	r := &run{Options: Options{Server: config.NewServer()}, paths: paths}
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	if name, err := r.nodeName(); err != nil || name != strings.ToLower(host) {
		t.Errorf("before its first start it is %q, %v; want the host's name", name, err)
	}
	if err := os.MkdirAll(paths.Agent(), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := atomicfile.WriteJSON(paths.NodeIdentity(), config.NodeIdentity{Name: "node-1", Host: "Node-1"}, 0o600); err != nil {
		t.Fatal(err)
	}
	if name, err := r.nodeName(); err != nil || name != "node-1" {
		t.Errorf("afterwards it is %q, %v; want node-1", name, err)
	}
	r.Server.NodeName = "another"
	if name, err := r.nodeName(); err != nil || name != "another" {
		t.Errorf("with --node-name it is %q, %v", name, err)
	}
}
