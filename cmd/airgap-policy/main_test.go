package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"airgap/node/network/policy/admission"
)

// TestMain makes this test's executable the plugin, when a test starts it as the container runtime would.
func TestMain(m *testing.M) {
	if os.Getenv("CNI_COMMAND") != "" {
		main()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// agent is the other end of the socket.
type agent struct {
	admitted  []admission.Sandbox
	forgotten []string
	err       error
}

func (a *agent) Admit(_ context.Context, s admission.Sandbox) error {
	a.admitted = append(a.admitted, s)
	return a.err
}

func (a *agent) Forget(_ context.Context, id string) error {
	a.forgotten = append(a.forgotten, id)
	return nil
}

const previous = `"prevResult": {"cniVersion": "1.0.0", "ips": [{"address": "10.42.0.7/24", "interface": 0}, {"address": "fd42::7/64", "interface": 0}], "interfaces": [{"name": "eth0", "sandbox": "/x"}]}`

// run is the container runtime.
func run(t *testing.T, command, socket, result string) (stdout string, err error) {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = []string{
		"CNI_COMMAND=" + command, "CNI_CONTAINERID=sandbox-1", "CNI_NETNS=/x", "CNI_IFNAME=eth0", "CNI_PATH=/x", "CNI_NETNS_OVERRIDE=true",
		"CNI_ARGS=IgnoreUnknown=1;K8S_POD_NAMESPACE=demo;K8S_POD_NAME=web;K8S_POD_UID=uid-1;K8S_POD_INFRA_CONTAINER_ID=sandbox-1",
	}
	text := `{"cniVersion": "1.0.0", "name": "airgap", "type": "airgap-policy", "socket": "` + socket + `"`
	if result != "" {
		text += ", " + result
	}
	cmd.Stdin = strings.NewReader(text + "}")
	var out bytes.Buffer
	cmd.Stdout = &out
	err = cmd.Run()
	return out.String(), err
}

func TestPlugin(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "policy.sock")
	if out, err := run(t, "ADD", socket, previous); err == nil || !strings.Contains(out, "does not answer") {
		t.Errorf("a pod is let onto the network without an agent: %s", out)
	}
	if out, err := run(t, "DEL", socket, previous); err != nil {
		t.Errorf("a pod cannot be removed without an agent: %s", out)
	}

	a := &agent{}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- admission.Serve(ctx, socket, a) }()
	defer func() { cancel(); <-ended }()
	for { // until it listens
		if err := admission.Forget(socket, "none"); err == nil {
			break
		}
	}

	out, err := run(t, "ADD", socket, previous)
	if err != nil {
		t.Fatal(err, out)
	}
	var result struct{ IPs []struct{ Address string } }
	if err := json.Unmarshal([]byte(out), &result); err != nil || len(result.IPs) != 2 || result.IPs[0].Address != "10.42.0.7/24" {
		t.Errorf("the result of the plugins before is not handed on: %s", out)
	}
	if len(a.admitted) != 1 {
		t.Fatalf("the agent was told %d times", len(a.admitted))
	}
	s := a.admitted[0]
	if s.ID != "sandbox-1" || s.Namespace != "demo" || s.Name != "web" || s.UID != "uid-1" ||
		len(s.Addresses) != 2 || s.Addresses[0] != netip.MustParseAddr("10.42.0.7") || s.Addresses[1] != netip.MustParseAddr("fd42::7") {
		t.Errorf("the agent was told %+v", s)
	}
	if _, err := run(t, "DEL", socket, ""); err != nil || len(a.forgotten) != 2 || a.forgotten[1] != "sandbox-1" {
		t.Errorf("%v, forgotten: %q", err, a.forgotten)
	}
	a.err = errors.New("the kernel refuses")
	if out, err := run(t, "ADD", socket, previous); err == nil || !strings.Contains(out, "demo/web: the kernel refuses") {
		t.Errorf("what the agent says does not reach the runtime: %s", out)
	}
	if _, err := run(t, "ADD", socket, ""); err == nil {
		t.Error("it runs first in the list")
	}
}
