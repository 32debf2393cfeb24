package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"airgap/test/site"
)

// nodeStatus is what is looked at of `airgap status --output json`.
type nodeStatus struct {
	Healthy    bool
	API        string
	Service    string
	Node       string
	Components []struct{ Name, State, Detail string }
	AddOns     []struct{ File, State string }
	Releases   []struct {
		Name, Version string
		Ready         bool
	}
	Certificates []struct{ Status string }
	Memory       []struct {
		Role     string
		PSSBytes int64
	}
	Disk             struct{ FreeBytes, ImagesBytes, DatastoreBytes int64 }
	Problems, Unseen []string
}

// status asks for the node's status; an exit code other than what healthy says is an error.
func (s *node) status() (nodeStatus, error) {
	var status nodeStatus
	out, err := s.Command("status", "--data-dir", s.Paths.DataDir, "--output", "json").Output()
	if err := json.Unmarshal(out, &status); err != nil {
		return status, fmt.Errorf("%w in %q", err, out)
	}
	if (err == nil) != status.Healthy {
		return status, fmt.Errorf("healthy is %v, but the command ended with: %v", status.Healthy, err)
	}
	return status, nil
}

func (s *node) healthy() error {
	status, err := s.status()
	if err == nil && !status.Healthy {
		err = fmt.Errorf("problems: %q", status.Problems)
	}
	return err
}

// hasProblem wants a problem with that text, and nothing said of others.
func (s *node) hasProblem(text string) error {
	status, err := s.status()
	if err == nil && !strings.Contains(strings.Join(status.Problems, "\n"), text) {
		err = fmt.Errorf("no problem %q: %q", text, status.Problems)
	}
	return err
}

// testStatus looks at a healthy node, at one with a broken add-on, and at one whose API server hangs and then stops.
func testStatus(t *testing.T, s *node) {
	site.Eventually(t, patience, s.healthy) // the install waits for its releases; add-ons may need a moment longer
	t.Run("healthy", func(t *testing.T) {
		screen := s.Airgap("status", "--data-dir", s.Paths.DataDir)
		t.Logf("the screen:\n%s", screen)
		for _, want := range []string{"node-1 Ready", "podinfo", "demo", "13 well", "pod network (vxlan)", "healthy"} {
			if !strings.Contains(screen, want) {
				t.Errorf("no %q on it", want)
			}
		}
		began := time.Now()
		status, err := s.status()
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("it took %s", time.Since(began))
		for _, c := range status.Components {
			if c.State != "ok" {
				t.Errorf("component %+v", c)
			}
		}
		if len(status.AddOns) == 0 || len(status.Releases) == 0 || len(status.Certificates) < 5 || status.Node != "node-1" || len(status.Unseen) != 0 {
			t.Errorf("%+v", status)
		}
		roles := map[string]int64{}
		for _, m := range status.Memory {
			roles[m.Role] = m.PSSBytes
		}
		for _, role := range []string{"server", "agent", "containerd", "shims", "supervise"} {
			if roles[role] < 1e6 || roles[role] > 2e9 {
				t.Errorf("%s has %d bytes", role, roles[role])
			}
		}
		if d := status.Disk; d.FreeBytes == 0 || d.ImagesBytes < 10e6 || d.DatastoreBytes < 1e5 {
			t.Errorf("disk %+v", d)
		}
	})
	t.Run("a broken add-on", func(t *testing.T) {
		file := filepath.Join(s.Paths.DataDir, "server/manifests/broken.yaml")
		if err := os.WriteFile(file, []byte("kind: [ConfigMap\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		site.Eventually(t, patience, func() error { return s.hasProblem("add-on broken.yaml: ") })
		if err := s.Command("status", "--data-dir", s.Paths.DataDir, "--wait", "4s").Run(); err == nil {
			t.Error("--wait of a node that does not become healthy ends with code 0")
		}
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
		s.Airgap("status", "--data-dir", s.Paths.DataDir, "--wait", patience.String())
	})
	t.Run("for others than root", func(t *testing.T) { testStatusForOthers(t, s) })
	t.Run("the API server hangs", func(t *testing.T) {
		pid, err := s.PID("server")
		if err != nil {
			t.Fatal(err)
		}
		if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		err = s.hasProblem("the API server does not answer")
		took := time.Since(began)
		if err := errors.Join(err, syscall.Kill(pid, syscall.SIGCONT)); err != nil {
			t.Fatal(err)
		}
		if took > 20*time.Second {
			t.Errorf("it took %s to say so", took)
		}
		site.Eventually(t, patience, s.healthy)
	})
	t.Run("stopped", func(t *testing.T) {
		s.StopServer()
		site.Eventually(t, patience, func() error { return s.hasProblem("the service does not run") })
		status, err := s.status()
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range status.Components {
			if c.State != "stopped" {
				t.Errorf("component %+v of a stopped node", c)
			}
		}
		s.StartNode("server")
		site.Eventually(t, patience, s.healthy)
	})
}

// testStatusForOthers runs status as nobody, who is told what he cannot see.
func testStatusForOthers(t *testing.T, s *node) {
	if err := os.Chmod(s.Paths.DataDir, 0o755); err != nil { // as an install makes the default folder
		t.Fatal(err)
	}
	defer func() {
		if err := os.Chmod(s.Paths.DataDir, 0o700); err != nil {
			t.Error(err)
		}
	}()
	cmd := exec.Command("nsenter", "--net=/run/netns/"+s.Namespace, "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups",
		filepath.Join(s.Paths.DataDir, "current/bin/airgap"), "status", "--data-dir", s.Paths.DataDir)
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 1 {
		t.Errorf("it ended with %v", err)
	}
	for _, want := range []string{"service       running", "not seen", "readable by root alone", "certificates (for root alone)"} {
		if !strings.Contains(strings.Join(strings.Fields(string(out)), " "), strings.Join(strings.Fields(want), " ")) {
			t.Errorf("no %q in:\n%s", want, out)
		}
	}
}
