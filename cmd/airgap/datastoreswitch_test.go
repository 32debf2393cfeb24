package main

import (
	"os"
	"path/filepath"
	"testing"

	"airgap/node/config"
)

func TestSwitchDatastore(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(file, []byte("# the site's\nnode-name: a # by hand\ndatastore-endpoint: sqlite\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ endpoint, ca, want string }{
		{"postgres://u:p@db/k8s", "/ca.crt", "# the site's\nnode-name: a # by hand\ndatastore-endpoint: postgres://u:p@db/k8s\ndatastore-cafile: /ca.crt\n"},
		{"https://etcd:2379", "", "# the site's\nnode-name: a # by hand\ndatastore-endpoint: https://etcd:2379\n"},
		{"sqlite", "", "# the site's\nnode-name: a # by hand\n"},
	} {
		to, err := config.ParseDatastore(test.endpoint, config.DatastoreFiles{CA: test.ca})
		if err != nil {
			t.Fatal(err)
		}
		if err := switchDatastore(file, to); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != test.want {
			t.Errorf("after the switch to %s:\n%s", to, got)
		}
		if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("the file's mode is %v, %v", info.Mode(), err)
		}
	}
}
