package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"airgap/test/site"
)

// demoBundle builds, once for all tests, a bundle with podinfo's image and chart on top of
// dist/system.airgap, and returns its path.
func demoBundle(t *testing.T) string {
	t.Helper()
	demo.once.Do(func() {
		demo.path = filepath.Join(demo.dir, "demo.airgap")
		buildBundle(t, demo.dir, demo.path, "demo", "1.0.0")
	})
	if _, err := os.Stat(demo.path); err != nil {
		t.Fatal("the demo bundle could not be built; see the first test that asked for it")
	}
	return demo.path
}

var demo struct {
	once      sync.Once
	dir, path string
}

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("/var/tmp", "ag-bundles-")
	if err != nil {
		panic(err)
	}
	demo.dir = dir
	// The executable unpacks itself into the data folder: not into this machine's own.
	os.Setenv("AIRGAP_DATA_DIR", filepath.Join(dir, "desk"))
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// buildBundle builds a bundle of podinfo's chart and image with the development key.
func buildBundle(t *testing.T, dir, path, name, version string) {
	t.Helper()
	spec := strings.NewReplacer(
		"NAME", name, "VERSION", version,
		"SYSTEM", site.Built("dist/system.airgap"), "BUILD", site.Built("build"),
		"VALUES", site.Built("test/e2e/testdata/podinfo-values.yaml"),
	).Replace(`apiVersion: airgap/v1
kind: Bundle
metadata: {name: NAME, version: VERSION}
spec:
  from: [SYSTEM]
  platforms: [linux/amd64]
  images:
    - {source: "oci:BUILD/podinfo/image:localhost:5000/podinfo:6.9.2", name: "localhost:5000/podinfo:6.9.2"}
  charts:
    - {name: podinfo, chart: BUILD/podinfo/chart, namespace: demo, values: VALUES}
`)
	buildSpec(t, dir, path, name, spec)
}

// buildSpec builds a bundle with the development key from the text of an airgap.yaml, which it writes to dir, by that name.
func buildSpec(t testing.TB, dir, path, name, spec string, flags ...string) {
	t.Helper()
	file := filepath.Join(dir, name+".yaml")
	if err := os.WriteFile(file, []byte(spec), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(site.Built("bin/airgap"), append([]string{"build", "-f", file, "-o", path, "--key", site.Built("dist/development.key")}, flags...)...)
	cmd.Env = append(os.Environ(), "COSIGN_PASSWORD=")
	site.MustOutput(t, cmd)
}

// Tools that know nothing of airgap read the images in a bundle.
func TestOtherToolsReadTheBundle(t *testing.T) {
	bundle := demoBundle(t)
	t.Run("skopeo", func(t *testing.T) {
		for _, reference := range []string{"localhost:5000/podinfo:6.9.2", "airgap.internal/pause:3.10.2"} {
			out := host(t, "skopeo", "inspect", "oci-archive:"+bundle+":"+reference)
			if !strings.Contains(out, `"Architecture": "amd64"`) {
				t.Errorf("skopeo inspect of %s:\n%s", reference, out)
			}
		}
	})
	t.Run("openssl", func(t *testing.T) {
		dir := t.TempDir()
		host(t, "tar", "-xf", bundle, "-C", dir, "airgap.json", "airgap.json.sig")
		encoded := filepath.Join(dir, "airgap.json.sig")
		raw := filepath.Join(dir, "signature")
		host(t, "openssl", "base64", "-d", "-A", "-in", encoded, "-out", raw)
		out := host(t, "openssl", "dgst", "-sha256", "-verify", site.Built("dist/development.pub"), "-signature", raw, filepath.Join(dir, "airgap.json"))
		if !strings.Contains(out, "Verified OK") {
			t.Error(out)
		}
	})
	t.Run("ctr image import", func(t *testing.T) {
		s := newNode(t)
		s.startContainerd()
		s.Airgap("ctr", "images", "import", bundle)
		list := s.Airgap("ctr", "images", "ls", "-q")
		for _, reference := range []string{"localhost:5000/podinfo:6.9.2", "airgap.internal/busybox:"} {
			if !strings.Contains(list, reference) {
				t.Errorf("ctr images ls has no %s:\n%s", reference, list)
			}
		}
	})
}

// startContainerd runs the containerd that is in the executable, with nothing else, until
// the site is removed.
func (s *node) startContainerd() {
	s.T.Helper()
	config := filepath.Join(s.Paths.DataDir, "containerd.toml")
	socket := filepath.Join(s.Paths.DataDir, "containerd.sock")
	text := strings.ReplaceAll(`version = 4
root = "DIR/root"
state = "DIR/state"
[plugins."io.containerd.server.v1.grpc"]
  address = "DIR/containerd.sock"
[plugins."io.containerd.server.v1.ttrpc"]
  address = "DIR/containerd.sock.ttrpc"
`, "DIR", s.Paths.DataDir)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		s.T.Fatal(err)
	}
	s.T.Setenv("CONTAINERD_ADDRESS", socket)
	cmd := s.Command("containerd", "--config", config)
	if err := cmd.Start(); err != nil {
		s.T.Fatal(err)
	}
	s.T.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	site.Eventually(s.T, patience, func() error { return s.Command("ctr", "version").Run() })
}
