package encryption

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func writeFile(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestEnsureKeepsTheKey(t *testing.T) {
	file := filepath.Join(t.TempDir(), "encryption.yaml")
	if err := Ensure(file, true); err != nil {
		t.Fatal(err)
	}
	first, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := Ensure(file, false); err != nil {
		t.Fatal(err)
	}
	if again, _ := os.ReadFile(file); string(again) != string(first) {
		t.Error("the key was made anew: every secret would be lost")
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

func TestStages(t *testing.T) {
	one, two := key{Name: "key9"}, key{Name: "key10"}
	for want, keys := range map[Stage][]key{StageStart: {one}, StagePrepare: {one, two}, StageRotate: {two, one}} {
		if got := (state{keys: keys}).stage(); got != want {
			t.Errorf("stage of %v is %s, want %s", keys, got, want)
		}
	}
}

func TestStatusTellsNoKey(t *testing.T) {
	k, err := newKey(1)
	if err != nil {
		t.Fatal(err)
	}
	if hash := k.hash(); len(hash) != 12 || strings.Contains(k.Secret, hash) {
		t.Errorf("hash %s", hash)
	}
}

// The file that the first release wrote is read as ours.
func TestFirstReleasesFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "encryption.yaml")
	writeFile(t, file, `apiVersion: apiserver.config.k8s.io/v1
kind: EncryptionConfiguration
resources:
- resources: [secrets]
  providers:
  - secretbox:
      keys:
      - name: key1
        secret: AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=
  - identity: {}
`)
	s, err := read(file)
	if err != nil || !s.enabled || len(s.keys) != 1 {
		t.Errorf("%+v, %v", s, err)
	}
}
