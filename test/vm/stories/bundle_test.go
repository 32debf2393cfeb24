package stories

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"airgap/test/site"
	"airgap/test/vm"
)

// bundles is where this process builds the bundles that its sticks carry.
var bundles string

func TestMain(m *testing.M) {
	var err error
	if bundles, err = os.MkdirTemp("", "airgap-vm-bundles-"); err != nil {
		panic(err)
	}
	code := m.Run()
	os.RemoveAll(bundles)
	os.Exit(code)
}

// siteBundle returns a bundle with the system and podinfo, as a packager makes it for one site.
func siteBundle(t testing.TB) string {
	t.Helper()
	path := filepath.Join(bundles, "site.airgap")
	if _, err := os.Stat(path); err == nil {
		return path
	}
	spec := filepath.Join(bundles, "airgap.yaml")
	values := filepath.Join(bundles, "values.yaml")
	write := func(path, format string, args ...any) {
		if err := os.WriteFile(path, fmt.Appendf(nil, format, args...), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write(values, "image: {repository: localhost:5000/podinfo, tag: 6.9.2, pullPolicy: IfNotPresent}\n")
	write(spec, `apiVersion: airgap/v1
kind: Bundle
metadata: {name: site, version: 1.0.0}
spec:
  from: [%s]
  platforms: [linux/amd64]
  images:
    - {source: "oci:%s:localhost:5000/podinfo:6.9.2", name: "localhost:5000/podinfo:6.9.2"}
  charts:
    - {name: podinfo, chart: %s, namespace: demo, values: %s}
`, site.Built("dist/system.airgap"), site.Built("build/podinfo/image"), site.Built("build/podinfo/chart"), values)
	cmd := exec.Command(site.Built("bin/airgap"), "build", "-f", spec, "-o", path, "--key", site.Built("dist/development.key"))
	cmd.Env = append(os.Environ(), "COSIGN_PASSWORD=", "AIRGAP_DATA_DIR="+filepath.Join(bundles, "desk"))
	site.MustOutput(t, cmd)
	return path
}

// siteStick is what a technician gets in the mail: the executable, the bundle and the key that signed it.
func siteStick(t testing.TB, format vm.Format) *vm.Stick {
	t.Helper()
	key := filepath.Join(bundles, "site.pub")
	data, err := os.ReadFile(site.Built("dist/development.pub"))
	if err == nil {
		err = os.WriteFile(key, data, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	return vm.NewStick(t, format, site.Built("bin/airgap"), siteBundle(t), key)
}
