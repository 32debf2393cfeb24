package node

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"airgap/node/config"
)

func TestNameservers(t *testing.T) {
	for name, test := range map[string]struct {
		conf string
		want []string
	}{
		"empty":           {"", nil},
		"loopback":        {"nameserver 127.0.0.53\nnameserver ::1\n", nil},
		"one to use":      {"search site\nnameserver 127.0.0.53\nnameserver 10.0.0.1\n", []string{"10.0.0.1"}},
		"IPv6":            {"nameserver fd00::1", []string{"fd00::1"}},
		"comment":         {"# nameserver 10.0.0.1\n;nameserver 10.0.0.2\n", nil},
		"broken":          {"nameserver\nnameserver nowhere\n", nil},
		"options after":   {"nameserver 10.0.0.1 # ours\n", []string{"10.0.0.1"}},
		"unspecified too": {"nameserver 0.0.0.0\n", nil},
	} {
		t.Run(name, func(t *testing.T) {
			if got := nameservers(test.conf); !slices.Equal(got, test.want) {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
}

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
	if data, err := os.ReadFile(got); err != nil || len(nameservers(string(data))) != 0 || filepath.Dir(got) != paths.AgentEtc() {
		t.Errorf("without a resolver got %s, %v; want an empty one of our own", got, err)
	}
	write(real, "nameserver 10.0.0.1\n")
	if got, err := resolvConf(paths, stub, real); err != nil || got != real {
		t.Errorf("got %s, %v, want %s", got, err, real)
	}
}
