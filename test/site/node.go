package site

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// Patience is how long a test waits for what should take seconds.
const Patience = 2 * time.Minute

// Node is a machine in the hands of a test: what fails there, and is not returned as an error, fails the test.
type Node struct {
	*Machine
	T testing.TB
}

// New makes a site for a test, which ends with it, and returns its machines; see [Make].
func New(t testing.TB, names ...string) []*Node {
	t.Helper()
	s, err := Make(names...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, m := range s.Machines {
			if log, err := os.ReadFile(m.Paths.Log()); err == nil && t.Failed() {
				t.Logf("the end of the log of %s:\n%s", m.Name, tail(string(log), 60))
			}
		}
		if err := s.Remove(); err != nil {
			t.Error(err)
		}
	})
	var nodes []*Node
	for _, m := range s.Machines {
		nodes = append(nodes, &Node{m, t})
	}
	return nodes
}

// Within is the node in the hands of a subtest.
func (n *Node) Within(t testing.TB) *Node { return &Node{n.Machine, t} }

// Inside prepares a command on the machine.
func (n *Node) Inside(name string, args ...string) *exec.Cmd {
	return n.Machine.Command(context.Background(), name, args...)
}

// Command prepares airgap on the machine.
func (n *Node) Command(args ...string) *exec.Cmd { return n.Inside(Built("bin/airgap"), args...) }

// Airgap runs airgap on the machine and returns its standard output.
func (n *Node) Airgap(args ...string) string {
	n.T.Helper()
	return MustOutput(n.T, n.Command(args...))
}

// Refuse runs airgap on the machine, wants the exit code, and returns its standard error.
func (n *Node) Refuse(code int, args ...string) string {
	n.T.Helper()
	var stderr strings.Builder
	cmd := n.Command(args...)
	cmd.Stderr = &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != code {
		n.T.Fatalf("airgap %s: %v, want exit code %d\n%s", strings.Join(args, " "), err, code, stderr.String())
	}
	return stderr.String()
}

// Install installs a bundle with the development key and waits for everything.
func (n *Node) Install(bundle string, flags ...string) string {
	n.T.Helper()
	return n.Airgap(n.InstallArgs(append([]string{bundle}, flags...)...)...)
}

// InstallArgs are the arguments of airgap for an install on this machine.
func (n *Node) InstallArgs(args ...string) []string {
	return append(append([]string{"install"}, args...), "--key", Built("dist/development.pub"),
		"--init", "none", "--data-dir", n.Paths.DataDir, "--node-name", n.Name)
}

// Verb runs one of airgap's verbs on the machine's data folder.
func (n *Node) Verb(args ...string) string {
	n.T.Helper()
	return n.Airgap(append(args, "--data-dir", n.Paths.DataDir)...)
}

// Kubectl is kubectl of the cluster's administrator, on a server.
func (n *Node) Kubectl(args ...string) string {
	n.T.Helper()
	return n.Airgap(append([]string{"kubectl"}, args...)...)
}

// Apply creates the objects of a YAML text.
func (n *Node) Apply(yaml string) {
	n.T.Helper()
	cmd := n.Command("kubectl", "apply", "-f", "-")
	cmd.Stdin = strings.NewReader(yaml)
	MustOutput(n.T, cmd)
}

// KubectlContains wants text in what kubectl prints.
func (n *Node) KubectlContains(text string, args ...string) error {
	return Contains(text, n.Command(append([]string{"kubectl"}, args...)...))
}

// Contains wants text in what a command of the host prints.
func Contains(text string, cmd *exec.Cmd) error {
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w\n%s", strings.Join(cmd.Args, " "), err, out)
	}
	if !strings.Contains(string(out), text) {
		return fmt.Errorf("%s: no %q in\n%s", strings.Join(cmd.Args, " "), text, out)
	}
	return nil
}

// FromOutside runs a command on a machine of the LAN that is no node, at OutsideIP, and returns what it prints.
func (n *Node) FromOutside(name string, args ...string) (string, error) {
	out, err := n.site.Outside(context.Background(), name, args...).CombinedOutput()
	if err != nil {
		return string(out), fmt.Errorf("%s %s on another machine: %w\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out), nil
}

// Ready says whether the machine's node is, as its own API server has it.
func (n *Node) Ready() error { return n.NodeReady(n.Name) }

// NodeReady says whether a node is, as this machine's API server has it.
func (n *Node) NodeReady(name string) error {
	return n.KubectlContains("True", "get", "node", name, "-o", `jsonpath={.status.conditions[?(@.type=="Ready")].status}`)
}

// Eventually repeats try until it returns nil.
func Eventually(t testing.TB, patience time.Duration, try func() error) {
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

// MustOutput is [Output] for a command that must not fail.
func MustOutput(t testing.TB, cmd *exec.Cmd) string {
	t.Helper()
	out, err := Output(cmd)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func tail(text string, lines int) string {
	all := strings.Split(strings.TrimRight(text, "\n"), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}
