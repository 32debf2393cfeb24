package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestDatastoreEnvironment(t *testing.T) {
	getenv := func(name string) (string, bool) {
		value, ok := map[string]string{
			"AIRGAP_DATASTORE_ENDPOINT": "postgres://u:secret@db/k8s", "AIRGAP_DATASTORE_CAFILE": "/ca.crt",
		}[name]
		return value, ok
	}
	flags, s := serverFlagSet(t, "--datastore-cafile", "/other.crt")
	given := newSettings(flags)
	if err := given.addEnvironment(getenv); err != nil {
		t.Fatal(err)
	}
	if s.DatastoreEndpoint != "postgres://u:secret@db/k8s" || s.DatastoreCAFile != "/other.crt" {
		t.Errorf("got %q and %q", s.DatastoreEndpoint, s.DatastoreCAFile)
	}
	file := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(file, []byte("datastore-endpoint: https://etcd:2379\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := given.addFile(file, true); err != nil || !strings.HasPrefix(s.DatastoreEndpoint, "postgres") {
		t.Errorf("the file overrode the environment: %s, %v", s.DatastoreEndpoint, err)
	}
}

func TestPasswordOnTheCommandLineIsRefused(t *testing.T) {
	for _, endpoint := range []string{"postgres://u:secret@db/k8s", "mysql://u:secret@tcp(db)/k8s", "postgres://u@db/k8s?password=secret", "https://u:secret@etcd:2379"} {
		flags, _ := serverFlagSet(t, "--datastore-endpoint", endpoint)
		err := checkCommandLine(flags)
		if err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", endpoint, err)
		}
	}
	flags, _ := serverFlagSet(t, "--datastore-endpoint", "postgres://u@db/k8s")
	if err := checkCommandLine(flags); err != nil {
		t.Error(err)
	}
}

func TestCheckPrivate(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config.yaml")
	drop := filepath.Join(file+".d", "10.yaml")
	if err := os.MkdirAll(filepath.Dir(drop), 0o755); err != nil {
		t.Fatal(err)
	}
	for path, text := range map[string]string{file: "node-name: a\n", drop: "datastore-endpoint: postgres://u:secret@db/k8s\n"} {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := checkPrivate(file); err == nil || !strings.Contains(err.Error(), "10.yaml") || strings.Contains(err.Error(), "config.yaml holds") {
		t.Errorf("got %v", err)
	}
	if err := os.Chmod(drop, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := checkPrivate(file); err != nil {
		t.Error(err)
	}
}
