package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"airgap/node/config"
)

func serverFlagSet(t *testing.T, args ...string) (*pflag.FlagSet, *config.Server) {
	t.Helper()
	s := config.NewServer()
	flags := pflag.NewFlagSet("server", pflag.ContinueOnError)
	addServerFlags(flags, s)
	if err := flags.Parse(args); err != nil {
		t.Fatal(err)
	}
	return flags, s
}

func TestConfigFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config.yaml")
	write := func(name, text string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(file, "node-name: from-file\nhttps-listen-port: 7443\ntls-san: [a, b]\ndebug: true\n")
	write(file+".d/10.yaml", "tls-san+: c\n")
	write(file+".d/20.yaml", "cluster-domain: site.local\n")

	flags, s := serverFlagSet(t, "--node-name", "from-flag")
	if err := applyConfigFile(flags, file, true); err != nil {
		t.Fatal(err)
	}
	if s.NodeName != "from-flag" {
		t.Errorf("the file overrode a flag: %s", s.NodeName)
	}
	if s.HTTPSListenPort != 7443 || !s.Debug || s.ClusterDomain != "site.local" || !slices.Equal(s.TLSSANs, []string{"a", "b", "c"}) {
		t.Errorf("got port %d, debug %v, domain %s, names %v", s.HTTPSListenPort, s.Debug, s.ClusterDomain, s.TLSSANs)
	}
}

func TestConfigFileErrorsNameTheLine(t *testing.T) {
	for name, test := range map[string]struct{ text, want string }{
		"unknown key": {"node-name: a\n\nnode-nmae: b\n", `:3: unknown key "node-nmae"`},
		"bad value":   {"https-listen-port: many\n", ":1: https-listen-port"},
		"no mapping":  {"- a\n", ":1: want a mapping"},
		"nested":      {"tls-san:\n  a: b\n", ":2: tls-san"},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "config.yaml")
			if err := os.WriteFile(file, []byte(test.text), 0o600); err != nil {
				t.Fatal(err)
			}
			flags, _ := serverFlagSet(t)
			if err := applyConfigFile(flags, file, true); err == nil || !strings.Contains(err.Error(), file+test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

func TestConfigFileMayBeMissing(t *testing.T) {
	flags, _ := serverFlagSet(t)
	if err := applyConfigFile(flags, "/nonexistent/config.yaml", false); err != nil {
		t.Error(err)
	}
	if err := applyConfigFile(flags, "/nonexistent/config.yaml", true); err == nil {
		t.Error("a file that was asked for is missing, and nobody says so")
	}
}

func TestChangedFlagsRoundTrip(t *testing.T) {
	flags, _ := serverFlagSet(t, "--node-name", "n1", "--tls-san", "a", "--tls-san", "b", "--debug")
	got := changedFlags(flags, func(name string) bool { return name != "debug" })
	if len(got) != 2 || got["node-name"] != "n1" || !slices.Equal(got["tls-san"].([]string), []string{"a", "b"}) {
		t.Errorf("got %v", got)
	}
}
