package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"airgap/test/site"
)

// testUninstall removes the node and looks for what may be left.
func testUninstall(t *testing.T, s *node) {
	runDir := s.Paths.Run()
	s.Verb("uninstall", "--yes")

	if left, _ := os.ReadDir(s.Paths.DataDir); len(left) > 0 {
		t.Errorf("files under the data folder: %v", left)
	}
	if _, err := os.Stat(runDir); err == nil {
		t.Errorf("%s is still there", runDir)
	}
	for _, p := range s.Processes() {
		t.Errorf("process %d runs: %s", p.PID, strings.Join(p.Args, " "))
	}
	for line := range strings.Lines(host(t, "cat", "/proc/self/mounts")) {
		if strings.Contains(line, s.Paths.DataDir) || strings.Contains(line, runDir) {
			t.Errorf("mounted: %s", line)
		}
	}
	links := host(t, "ip", "-n", s.Namespace, "-o", "link")
	for line := range strings.Lines(links) {
		if strings.Contains(line, "cni0") || strings.Contains(line, "flannel") || strings.Contains(line, " veth") {
			t.Errorf("interface: %s", line)
		}
	}
	if routes := host(t, "ip", "-n", s.Namespace, "route"); strings.Contains(routes, "10.4") {
		t.Errorf("routes:\n%s", routes)
	}
	if rules := site.MustOutput(t, s.Inside("nft", "list", "tables")); strings.TrimSpace(rules) != "" {
		t.Errorf("nft tables:\n%s", rules)
	}
	claims, _ := filepath.Glob("/run/airgap-network/*")
	for _, claim := range claims {
		if owner, _ := os.ReadFile(claim); string(owner) == s.Paths.DataDir {
			t.Errorf("%s still claims a network namespace", claim)
		}
	}
	left, _ := exec.Command("find", "/sys/fs/cgroup", "-type", "d", "-path", "*"+filepath.Base(runDir)+"*").Output()
	if len(left) > 0 {
		t.Errorf("cgroups:\n%s", left)
	}
	if out := s.Refuse(1, "status", "--data-dir", s.Paths.DataDir); !strings.Contains(out, "install") {
		t.Errorf("status after uninstall says: %s", out)
	}
}
