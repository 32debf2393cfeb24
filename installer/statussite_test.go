package installer

import (
	"context"
	"crypto/ecdsa"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"airgap/internal/site"
	"airgap/internal/testca"
	"airgap/node/config"
)

func TestLacks(t *testing.T) {
	node := func(role, airgap, bundles string) NodeStatus {
		return NodeStatus{Roles: strings.Fields(role), Airgap: airgap, Bundles: parseBundles(bundles), Lacks: []string{}}
	}
	nodes := []NodeStatus{
		node("control-plane", "0.1.0", "system=0.1.0@sha256:aa,demo=1.5@sha256:bb,broken,=@"),
		node("", "0.1.0", "demo=1.5@sha256:bb,system=0.1.0@sha256:aa,own=1@sha256:cc"),
		node("", "0.1.0", "system=0.0.9@sha256:dd"),
		node("", "", ""),
	}
	tellLacks(nodes)
	for i, want := range [][]string{{}, {}, {"demo 1.5", "system 0.1.0 (it has 0.0.9)"}, {}} {
		if got := nodes[i].Lacks; !slices.Equal(got, want) {
			t.Errorf("node %d lacks %q, want %q", i, got, want)
		}
	}
}

// joinedMachine is the folder of an agent, whose certificates end at notAfter.
func joinedMachine(t *testing.T, notAfter time.Time) config.Paths {
	t.Helper()
	p := config.PathsOf(t.TempDir())
	t.Cleanup(func() { _ = os.RemoveAll(p.Run()) })
	keys, err := site.NewKeys()
	if err != nil {
		t.Fatal(err)
	}
	ca := testca.New(t, "test-ca")
	issue := func(key *ecdsa.PrivateKey) string {
		return string(ca.Sign(key.Public(), testca.Leaf{NotBefore: notAfter.AddDate(-1, 0, 0), NotAfter: notAfter}))
	}
	c := site.Credentials{Keys: keys, Password: "x", Issued: site.Issued{
		Authorities: "x", Kubelet: issue(keys.Kubelet), Serving: issue(keys.Serving), Proxy: issue(keys.Proxy), NetworkPolicy: issue(keys.NetworkPolicy)}}
	if err := c.Save(p.AgentPKI()); err != nil {
		t.Fatal(err)
	}
	return p
}

func TestStatusOfAnAgent(t *testing.T) {
	p := joinedMachine(t, time.Now().AddDate(0, 0, 100))
	s, err := ReadStatus(context.Background(), StatusOptions{DataDir: p.DataDir})
	if err != nil || s.Role != RoleAgent || s.API != "the service does not run" || len(s.Certificates) != 4 || s.Certificates[0].DaysLeft != 99 {
		t.Errorf("status %+v, %v", s, err)
	}
	if want := []string{"the service does not run"}; !slices.Equal(s.Problems, want) {
		t.Errorf("problems %q", s.Problems)
	}

	now := time.Now().UTC()
	write := func(state config.AgentState) *Status {
		t.Helper()
		data, _ := json.Marshal(state)
		if err := os.MkdirAll(filepath.Dir(p.AgentState()), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p.AgentState(), data, 0o600); err != nil {
			t.Fatal(err)
		}
		s := newStatus(p.DataDir)
		s.Service = ServiceRunning
		s.tellJoined(p)
		return s
	}
	for name, test := range map[string]struct {
		state config.AgentState
		api   string
		want  string // in the only problem; empty: none
	}{
		"well":       {config.AgentState{Node: "node-2", Servers: []config.ServerOfAgent{{Address: "10.0.0.1:6443", Since: now}}}, "ready", ""},
		"cut":        {config.AgentState{Node: "node-2", Servers: []config.ServerOfAgent{{Address: "10.0.0.1:6443", Problem: "no route to host", Since: now}}}, "no server is reached", "10.0.0.1:6443 is not reached since"},
		"nothing":    {config.AgentState{Node: "node-2"}, "no server is reached", "has reached no server"},
		"deleted":    {config.AgentState{Node: "node-2", Problem: "node node-2 was deleted: join again", Servers: []config.ServerOfAgent{{Address: "10.0.0.1:6443"}}}, "ready", "was deleted: join again"},
		"one of two": {config.AgentState{Servers: []config.ServerOfAgent{{Address: "a:1", Problem: "refused"}, {Address: "b:1"}}}, "ready", "server a:1 is not reached"},
	} {
		t.Run(name, func(t *testing.T) {
			s := write(test.state)
			if s.API != test.api || s.Node != test.state.Node || len(s.Servers) != len(test.state.Servers) {
				t.Errorf("API %q, node %q, servers %v", s.API, s.Node, s.Servers)
			}
			if test.want == "" && len(s.Problems) > 0 || test.want != "" && (len(s.Problems) != 1 || !strings.Contains(s.Problems[0], test.want)) {
				t.Errorf("problems %q, want one with %q", s.Problems, test.want)
			}
		})
	}
}

func TestExpiredCertificatesOfAnAgent(t *testing.T) {
	p := joinedMachine(t, time.Now().AddDate(0, 0, -3))
	s := newStatus(p.DataDir)
	s.tellJoinedCertificates(p, time.Now())
	if len(s.Problems) != 4 || !strings.Contains(s.Problems[0], "expired on") || s.Certificates[0].Status != "expired" {
		t.Errorf("problems %q", s.Problems)
	}
	if err := os.Remove(filepath.Join(p.AgentPKI(), site.FileProxy+".crt")); err != nil {
		t.Fatal(err)
	}
	s = newStatus(p.DataDir)
	s.tellJoinedCertificates(p, time.Now())
	if s.Certificates[2].Status != "unreadable" {
		t.Errorf("certificates %+v", s.Certificates)
	}
}
