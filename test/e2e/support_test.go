package e2e

import (
	"archive/tar"
	"compress/gzip"
	"encoding/base64"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"airgap/test/site"
)

// testSupport looks for the node's real secrets in the archive, made while the node runs and while it does not.
func testSupport(t *testing.T, s *node) {
	const password = "correct-horse-battery-staple"
	s.Kubectl("create", "secret", "generic", "planted", "--from-literal=password="+password)
	defer s.Kubectl("delete", "secret", "planted")
	s.Kubectl("run", "leaky", "--image=airgap.internal/busybox:1.35.0", "--", "sh", "-c", "echo the password is "+password+"; sleep 3600")
	defer s.Kubectl("delete", "pod", "leaky", "--now", "--wait=false")
	site.Eventually(t, patience, func() error { return s.KubectlContains(password, "logs", "leaky") })

	secrets := map[string]string{"the Secret's value": password}
	for _, file := range []string{filepath.Join(s.Paths.Server(), "token"), filepath.Join(s.Paths.Server(), "agent-token")} {
		if data, err := os.ReadFile(file); err == nil {
			_, secret, _ := strings.Cut(strings.TrimSpace(string(data)), "::")
			_, secrets[file], _ = strings.Cut(secret, ":")
		}
	}
	keys, err := filepath.Glob(filepath.Join(s.Paths.TLS(), "*.key"))
	if err != nil || len(keys) == 0 {
		t.Fatalf("no keys: %v", err)
	}
	for _, key := range keys {
		data, err := os.ReadFile(key)
		if err != nil {
			t.Fatal(err)
		}
		secrets[key] = strings.Split(string(data), "\n")[1]
	}

	for _, state := range []string{"running", "stopped"} {
		if state == "stopped" {
			s.StopNode()
		}
		folder := t.TempDir()
		began := time.Now()
		t.Logf("%s: %s", state, s.Verb("support", "--output", folder))
		took := time.Since(began)
		files := readArchive(t, folder)
		if took > 90*time.Second {
			t.Errorf("%s: it took %s", state, took)
		}
		t.Logf("%s: %d files in %.1f s; notes:\n%s", state, len(files), took.Seconds(), files["notes.txt"])
		for _, name := range []string{"index.txt", "status.json", "config/effective.yaml", "install/journal", "logs/node/airgap.log", "machine/mounts.txt", "machine/cgroups.txt", "network/nftables.txt", "network/listeners.txt"} {
			if files[name] == "" {
				t.Errorf("%s: no %s", state, name)
			}
		}
		if state == "running" {
			for name, want := range map[string]string{"cluster/events.txt": "leaky", "cluster/pods.txt": "leaky", "runtime/containers.txt": "leaky", "network/nftables.txt": "airgap-policy", "cluster/health.txt": "ok"} {
				if !strings.Contains(files[name], want) {
					t.Errorf("no %q in %s:\n%s", want, name, files[name])
				}
			}
		}
		for name, text := range files {
			for what, secret := range secrets {
				if state == "stopped" && secret == password {
					continue // what is a Secret of the cluster only the API server can say
				}
				if strings.Contains(text, secret) || strings.Contains(text, base64.StdEncoding.EncodeToString([]byte(secret))) {
					t.Errorf("%s: %s has a secret: %s", state, name, what)
				}
			}
		}
	}
	s.StartNode("server")
	site.Eventually(t, patience, s.Ready)
}

// readArchive reads the one archive in a folder.
func readArchive(t *testing.T, folder string) map[string]string {
	t.Helper()
	list, err := filepath.Glob(filepath.Join(folder, "*"))
	if err != nil || len(list) != 1 || !strings.HasSuffix(list[0], ".tar.gz") {
		t.Fatalf("%v, %v", list, err)
	}
	f, err := os.Open(list[0])
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for archive := tar.NewReader(z); ; {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(archive)
		if err != nil {
			t.Fatal(err)
		}
		_, name, _ := strings.Cut(header.Name, "/")
		files[name] = string(data)
	}
}
