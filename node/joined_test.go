package node

import (
	"slices"
	"strings"
	"testing"

	"airgap/internal/site"
	"airgap/node/config"
)

func TestServersOf(t *testing.T) {
	cluster := site.Cluster{Servers: []string{"https://10.0.0.1:6443", "https://[fd00::1]:7443"}}
	list, err := serversOf("https://first", cluster)
	if want := []string{"first:6443", "10.0.0.1:6443", "[fd00::1]:7443"}; err != nil || !slices.Equal(list, want) {
		t.Errorf("servers %v, %v, want %v", list, err, want)
	}
	if list, err := serversOf("", cluster); err != nil || len(list) != 2 {
		t.Errorf("a machine that was told no server knows %v, %v", list, err)
	}
	if _, err := serversOf("nowhere", cluster); err == nil {
		t.Error("a server without an address is taken")
	}
}

func TestJoinOnceSaysWhatIsMissing(t *testing.T) {
	state := newAgentState(config.PathsOf(t.TempDir()))
	for name, test := range map[string]struct {
		machine site.Machine
		want    string
	}{
		"no server": {site.Machine{}, "--server"},
		"no token":  {site.Machine{Server: "https://10.0.0.1:6443"}, "without a token"},
	} {
		test.machine.PKI = t.TempDir()
		if _, err := joinOnce(t.Context(), test.machine, state); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", name, err, test.want)
		}
	}
	joined := t.TempDir()
	if err := site.SaveCluster(joined, site.Cluster{ClusterDomain: "site.local"}); err != nil {
		t.Fatal(err)
	}
	if cluster, err := joinOnce(t.Context(), site.Machine{PKI: joined}, state); err != nil || cluster.ClusterDomain != "site.local" {
		t.Errorf("a machine that has joined needs something: %+v, %v", cluster, err)
	}
}
