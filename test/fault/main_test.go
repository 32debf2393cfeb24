package fault

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"airgap/test/site"
)

var (
	points = flag.Int("points", 0, "how many points of an install to kill it at; 0: a few")
	part   = flag.String("part", "1/1", "which part of the points, of how many")

	installCuts = flag.Int("cuts", 2, "how often the power is cut during installs")
	upgradeCuts = flag.Int("upgrade-cuts", 1, "how often the power is cut during upgrades")
	loadCuts    = flag.Int("load-cuts", 3, "how often the power is cut while the API is written to")
)

// few is how many points stand for all in `make test`.
const few = 6

// onlyWithPoints skips a test that `make test` has no time for.
func onlyWithPoints(t *testing.T) {
	t.Helper()
	if *points == 0 {
		t.Skip("only with -points")
	}
}

// inPart says whether something with this number is in the part that is asked for.
func inPart(number int) bool {
	var which, of int
	if n, err := fmt.Sscanf(*part, "%d/%d", &which, &of); n != 2 || err != nil || which < 1 || which > of {
		panic("-part wants one number, a slash, and one that is not smaller")
	}
	return number%of == which-1
}

// The bundle that is installed: the system, podinfo with its chart, a manifest, and a file for the host.
var (
	folder string // of the bundles, for as long as the tests run
	demo   string // the bundle's path
)

const hostFile = "/etc/airgap-fault-test.conf"

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(run(m))
}

func run(m *testing.M) int {
	var err error
	if folder, err = os.MkdirTemp("/var/tmp", "ag-fault-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(folder)
	// The executable unpacks itself into the data folder: not into this machine's own.
	os.Setenv("AIRGAP_DATA_DIR", filepath.Join(folder, "desk"))
	_ = os.Remove(hostFile) // of a test that was killed
	demo = filepath.Join(folder, "demo.airgap")
	if err := buildBundle(demo, "1.0.0"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// buildBundle builds a version of the bundle, signed with the development key.
func buildBundle(path, version string) error {
	files := map[string]string{
		"site.conf": "version " + version + "\n",
		"map.yaml":  "{apiVersion: v1, kind: ConfigMap, metadata: {name: site, namespace: default}, data: {version: \"" + version + "\"}}\n",
		"bundle.yaml": strings.NewReplacer("VERSION", version, "FILE", hostFile,
			"SYSTEM", site.Built("dist/system.airgap"), "BUILD", site.Built("build"),
			"VALUES", site.Built("test/e2e/testdata/podinfo-values.yaml"),
		).Replace(`apiVersion: airgap/v1
kind: Bundle
metadata: {name: demo, version: VERSION}
spec:
  from: [SYSTEM]
  platforms: [linux/amd64]
  images:
    - {source: "oci:BUILD/podinfo/image:localhost:5000/podinfo:6.9.2", name: "localhost:5000/podinfo:6.9.2"}
  charts:
    - {name: podinfo, chart: BUILD/podinfo/chart, namespace: demo, values: VALUES}
  manifests: [map.yaml]
  files: [{source: site.conf, target: FILE, mode: "0644"}]
`),
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	cmd := exec.Command(site.Built("bin/airgap"), "build", "-f", filepath.Join(folder, "bundle.yaml"), "-o", path, "--key", site.Built("dist/development.key"))
	cmd.Env = append(os.Environ(), "COSIGN_PASSWORD=")
	_, err := site.Output(cmd)
	return err
}
