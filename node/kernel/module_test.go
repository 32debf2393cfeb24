package kernel

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestLoadBridgeFilter(t *testing.T) {
	const modprobe = "#!/bin/sh\necho $@ >> $0.asked\n"
	tests := []struct {
		name, modprobe string // empty: there is none
		values         map[string]string
		asked          bool
		want           string // in the error; empty: none
	}{
		{"there", modprobe, map[string]string{"net.bridge.bridge-nf-call-iptables": "0"}, false, ""},
		{"loaded", modprobe, nil, true, ""},
		{"not among the modules", modprobe + "echo FATAL: not found; exit 1\n", nil, true, "modprobe br_netfilter: exit status 1: FATAL: not found"},
		{"no modprobe", "", nil, false, "modprobe"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			tool := filepath.Join(t.TempDir(), "modprobe")
			t.Setenv("PATH", filepath.Dir(tool))
			if test.modprobe != "" {
				if err := os.WriteFile(tool, []byte(test.modprobe), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			err := LoadBridgeFilter(sysctls(t, test.values))
			if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Errorf("LoadBridgeFilter = %v, want %q", err, test.want)
			}
			asked, _ := os.ReadFile(tool + ".asked")
			if test.asked != (string(asked) == "br_netfilter\n") {
				t.Errorf("modprobe was asked for %q", asked)
			}
		})
	}
}
