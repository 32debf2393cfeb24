package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// testUninstall removes the node and looks for what may be left.
func testUninstall(t *testing.T, s *site) {
	runDir := s.runDir()
	s.airgap("uninstall", "--yes", "--data-dir", s.dataDir)

	if left, _ := os.ReadDir(s.dataDir); len(left) > 0 {
		t.Errorf("files under the data folder: %v", left)
	}
	if _, err := os.Stat(runDir); err == nil {
		t.Errorf("%s is still there", runDir)
	}
	for _, pid := range s.processes() {
		line, _ := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "cmdline"))
		t.Errorf("process %d runs: %s", pid, strings.ReplaceAll(string(line), "\x00", " "))
	}
	for line := range strings.Lines(host(t, "cat", "/proc/self/mounts")) {
		if strings.Contains(line, s.dataDir) || strings.Contains(line, runDir) {
			t.Errorf("mounted: %s", line)
		}
	}
	links := host(t, "ip", "-n", s.namespace, "-o", "link")
	for line := range strings.Lines(links) {
		if strings.Contains(line, "cni0") || strings.Contains(line, "flannel") || strings.Contains(line, " veth") {
			t.Errorf("interface: %s", line)
		}
	}
	if routes := host(t, "ip", "-n", s.namespace, "route"); strings.Contains(routes, "10.4") {
		t.Errorf("routes:\n%s", routes)
	}
	if rules := host(t, "nsenter", "--net=/run/netns/"+s.namespace, "nft", "list", "tables"); strings.TrimSpace(rules) != "" {
		t.Errorf("nft tables:\n%s", rules)
	}
	claims, _ := filepath.Glob("/run/airgap-network/*")
	for _, claim := range claims {
		if owner, _ := os.ReadFile(claim); string(owner) == s.dataDir {
			t.Errorf("%s still claims a network namespace", claim)
		}
	}
	left, _ := exec.Command("find", "/sys/fs/cgroup", "-type", "d", "-path", "*"+filepath.Base(runDir)+"*").Output()
	if len(left) > 0 {
		t.Errorf("cgroups:\n%s", left)
	}
	if out := s.refuse(1, "status", "--data-dir", s.dataDir); !strings.Contains(out, "install") {
		t.Errorf("status after uninstall says: %s", out)
	}
}
