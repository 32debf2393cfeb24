package node

import (
	"os"
	"path/filepath"
	"testing"

	"airgap/internal/hostinfo"
	"airgap/node/config"
)

func TestResolvConf(t *testing.T) {
	dir := t.TempDir()
	stub, real := filepath.Join(dir, "stub"), filepath.Join(dir, "real")
	write := func(file, text string) {
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write(stub, "nameserver 127.0.0.53\n")
	paths := config.PathsOf(filepath.Join(dir, "data"))

	got, err := resolvConf(paths, stub, real)
	if err != nil {
		t.Fatal(err)
	}
	if data, err := os.ReadFile(got); err != nil || len(hostinfo.Nameservers(string(data))) != 0 || filepath.Dir(got) != paths.AgentEtc() {
		t.Errorf("without a resolver got %s, %v; want an empty one of our own", got, err)
	}
	write(real, "nameserver 10.0.0.1\n")
	if got, err := resolvConf(paths, stub, real); err != nil || got != real {
		t.Errorf("got %s, %v, want %s", got, err, real)
	}
}
