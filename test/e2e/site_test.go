package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// repository is the checkout, where the Makefile puts what it builds.
var repository = func() string {
	dir, err := filepath.Abs("../..")
	if err != nil {
		panic(err)
	}
	return dir
}()

func built(path string) string { return filepath.Join(repository, path) }

// site is one machine without a network: a network namespace, and a data folder. Its cable leads to one
// other machine, a second namespace with the address neighbourIP, on which nothing runs.
type site struct {
	t         *testing.T
	namespace string
	dataDir   string
	nodeIP    string
}

const neighbourIP = "10.99.0.9"

// newSite makes a site and takes it down, with all that runs there, when the test ends.
func newSite(t *testing.T) *site {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("these tests install real nodes: run them as root")
	}
	dataDir, err := os.MkdirTemp("/var/tmp", "ag-")
	if err != nil {
		t.Fatal(err)
	}
	s := &site{t: t, namespace: filepath.Base(dataDir), dataDir: dataDir, nodeIP: "10.99.0.2"}
	t.Cleanup(s.remove)
	host(t, "ip", "netns", "add", s.namespace)
	host(t, "ip", "netns", "add", s.neighbourhood())
	host(t, "ip", "-n", s.namespace, "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", s.neighbourhood())
	for namespace, address := range map[string]string{s.namespace: s.nodeIP, s.neighbourhood(): neighbourIP} {
		host(t, "ip", "-n", namespace, "link", "set", "lo", "up")
		host(t, "ip", "-n", namespace, "address", "add", address+"/24", "dev", "eth0")
		host(t, "ip", "-n", namespace, "link", "set", "eth0", "up")
	}
	return s
}

// neighbourhood is the network namespace of the other machine on the cable.
func (s *site) neighbourhood() string { return s.namespace + "-lan" }

// fromNeighbour runs a command on the other machine and returns what it prints.
func (s *site) fromNeighbour(name string, args ...string) (string, error) {
	cmd := exec.Command("nsenter", append([]string{"--net=/run/netns/" + s.neighbourhood(), name}, args...)...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return string(out), fmt.Errorf("%s %s on the other machine: %w\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out), nil
}

func (s *site) remove() {
	if s.t.Failed() {
		if log, err := os.ReadFile(filepath.Join(s.dataDir, "airgap.log")); err == nil {
			s.t.Logf("the end of the node's log:\n%s", tail(string(log), 60))
		}
	}
	if _, err := os.Stat(filepath.Join(s.dataDir, "current")); err == nil {
		if out, err := s.command("uninstall", "--yes", "--data-dir", s.dataDir).CombinedOutput(); err != nil {
			s.t.Errorf("uninstall: %v\n%s", err, out)
		}
	}
	s.killAll()
	for _, namespace := range []string{s.namespace, s.neighbourhood()} {
		if out, err := exec.Command("ip", "netns", "delete", namespace).CombinedOutput(); err != nil {
			s.t.Errorf("ip netns delete: %v\n%s", err, out)
		}
	}
	if err := os.RemoveAll(s.dataDir); err != nil {
		s.t.Error(err)
	}
}

// killAll kills every process that has this site's data folder in its command line, or runs
// in its network namespace, as a power cut would.
func (s *site) killAll() {
	for _, pid := range s.processes() {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
}

// processes lists the processes of this site, its pods' among them.
func (s *site) processes() []int {
	own, _ := os.Stat("/run/netns/" + s.namespace)
	var list []int
	folders, _ := filepath.Glob("/proc/[0-9]*")
	for _, folder := range folders {
		var pid int
		if _, err := fmt.Sscanf(filepath.Base(folder), "%d", &pid); err != nil || pid == os.Getpid() {
			continue
		}
		line, _ := os.ReadFile(filepath.Join(folder, "cmdline"))
		cgroup, _ := os.ReadFile(filepath.Join(folder, "cgroup"))
		namespace, _ := os.Stat(filepath.Join(folder, "ns/net"))
		if bytes.Contains(line, []byte(s.dataDir)) || bytes.Contains(line, []byte(s.runDir())) ||
			bytes.Contains(cgroup, []byte(filepath.Base(s.runDir())+"/")) ||
			own != nil && namespace != nil && os.SameFile(own, namespace) {
			list = append(list, pid)
		}
	}
	return list
}

// runDir is where the node keeps its sockets.
func (s *site) runDir() string {
	link := filepath.Join(s.dataDir, "agent", "etc", "containerd.toml")
	data, _ := os.ReadFile(link)
	for line := range strings.Lines(string(data)) {
		if value, ok := strings.CutPrefix(line, `state = "`); ok {
			return filepath.Dir(strings.TrimSuffix(strings.TrimSpace(value), `"`))
		}
	}
	return "/run/airgap-of-" + s.namespace
}

// command is airgap at this site.
func (s *site) command(args ...string) *exec.Cmd {
	cmd := exec.Command("nsenter", append([]string{"--net=/run/netns/" + s.namespace, built("bin/airgap")}, args...)...)
	cmd.Env = append(os.Environ(), "AIRGAP_DATA_DIR="+s.dataDir, "COSIGN_PASSWORD=")
	return cmd
}

// airgap runs airgap at this site and returns its standard output.
func (s *site) airgap(args ...string) string {
	s.t.Helper()
	return output(s.t, s.command(args...))
}

// refuse runs airgap at this site, wants the exit code, and returns its standard error.
func (s *site) refuse(code int, args ...string) string {
	s.t.Helper()
	var stderr bytes.Buffer
	cmd := s.command(args...)
	cmd.Stderr = &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != code {
		s.t.Fatalf("airgap %s: %v, want exit code %d\n%s", strings.Join(args, " "), err, code, stderr.String())
	}
	return stderr.String()
}

// install installs a bundle with the development key and waits for everything.
func (s *site) install(bundle string, args ...string) string {
	s.t.Helper()
	return s.airgap(append([]string{"install", bundle, "--key", built("dist/development.pub"),
		"--init", "none", "--data-dir", s.dataDir, "--node-name", "node-1"}, args...)...)
}

func (s *site) kubectl(args ...string) string {
	s.t.Helper()
	return s.airgap(append([]string{"kubectl"}, args...)...)
}

// apply creates the objects of a YAML text.
func (s *site) apply(yaml string) {
	s.t.Helper()
	cmd := s.command("kubectl", "apply", "-f", "-")
	cmd.Stdin = strings.NewReader(yaml)
	output(s.t, cmd)
}

// eventually repeats try until it returns nil.
func eventually(t *testing.T, patience time.Duration, try func() error) {
	t.Helper()
	end := time.Now().Add(patience)
	for {
		err := try()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("after %s still: %v", patience, err)
		}
		time.Sleep(300 * time.Millisecond)
	}
}

// host runs a command of this machine.
func host(t *testing.T, name string, args ...string) string {
	t.Helper()
	return output(t, exec.Command(name, args...))
}

func output(t *testing.T, cmd *exec.Cmd) string {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s: %v\n%s%s", strings.Join(cmd.Args, " "), err, stdout.String(), stderr.String())
	}
	return stdout.String()
}

func tail(text string, lines int) string {
	all := strings.Split(strings.TrimRight(text, "\n"), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}
