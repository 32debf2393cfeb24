package e2e

import (
	"os/exec"
	"strings"
	"testing"

	"airgap/test/site"
)

// patience is how long a test waits for what should take seconds.
const patience = site.Patience

// node is a machine of a site, with what these tests ask of one.
type node struct{ *site.Node }

// newNode makes a site of one machine, node-1, which ends with the test.
func newNode(t *testing.T) *node { return &node{site.New(t, "node-1")[0]} }

// within is the node in the hands of a subtest.
func (s *node) within(t *testing.T) *node { return &node{s.Within(t)} }

// deploy applies a Deployment, in whose YAML text BUSYBOX stands for that image, and waits for its pods.
func (s *node) deploy(name, yaml string) {
	s.T.Helper()
	s.Apply(strings.ReplaceAll(yaml, "BUSYBOX", busyboxImage(s.T)))
	s.Kubectl("rollout", "status", "deployment/"+name, "--timeout=120s")
}

// host runs a command of this machine.
func host(t testing.TB, name string, args ...string) string {
	t.Helper()
	return site.MustOutput(t, exec.Command(name, args...))
}
