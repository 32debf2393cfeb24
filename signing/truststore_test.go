package signing

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestTrustStore(t *testing.T) {
	parent := t.TempDir()
	dir := filepath.Join(parent, "trust")
	a, b := newKey(t), newKey(t)
	keys := []PublicKey{b.Public(), a.Public()}

	store := mustOpenTrustStore(t, dir)
	if _, err := store.Policy().Verify(message, []Signature{mustSign(t, a, message)}); !errors.Is(err, ErrUntrusted) {
		t.Errorf("an empty store: %v, want ErrUntrusted", err)
	}
	if err := store.Init(Policy{Keys: nil, Threshold: 1}); err == nil {
		t.Error("set up with no key")
	}
	if err := store.Init(Policy{Keys: keys, Threshold: 1}); err != nil {
		t.Fatal(err)
	}

	store = mustOpenTrustStore(t, dir)
	if got := store.Keys(); len(got) != 2 || got[0].ID() > got[1].ID() {
		t.Errorf("keys %v", got)
	}
	for _, key := range []*PrivateKey{a, b} {
		if _, err := store.Policy().Verify(message, []Signature{mustSign(t, key, message)}); err != nil {
			t.Errorf("a trusted key: %v", err)
		}
	}
	info, err := os.Stat(filepath.Join(dir, trustFile))
	if err != nil || info.Mode().Perm() != 0o644 {
		t.Errorf("the store's file %v, %v; want mode 0644", info, err)
	}

	if err := store.Init(Policy{Keys: keys, Threshold: 1}); err != nil {
		t.Errorf("the same keys again: %v", err)
	}
	if err := store.Init(Policy{Keys: keys, Threshold: 2}); !errors.Is(err, ErrTrustSet) {
		t.Errorf("another threshold: %v, want ErrTrustSet", err)
	}
	for name, others := range map[string][]PublicKey{
		"another":      {newKey(t).Public()},
		"fewer":        keys[:1],
		"one more":     append([]PublicKey{newKey(t).Public()}, keys...),
		"an empty one": {{}},
	} {
		if err := store.Init(Policy{Keys: others, Threshold: 1}); err == nil || name != "an empty one" && !errors.Is(err, ErrTrustSet) {
			t.Errorf("%s: %v, want ErrTrustSet", name, err)
		}
	}
	entries, err := os.ReadDir(parent)
	if err != nil || len(entries) != 1 {
		t.Errorf("left beside the store: %v, %v", entries, err)
	}
}

func TestTrustStoreRefusesWhatIsNotAKey(t *testing.T) {
	a, b := newKey(t).Public(), newKey(t).Public()
	for name, test := range map[string]struct {
		file string
		data []byte
	}{
		"truncated":          {a.ID() + ".pub", a.PEM()[:40]},
		"empty":              {a.ID() + ".pub", nil},
		"another key's name": {a.ID() + ".pub", b.PEM()},
		"no ID":              {"site.pub", a.PEM()},
		"editor's backup":    {a.ID() + ".pub~", a.PEM()},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, test.file)
			if err := os.WriteFile(path, test.data, 0o644); err != nil {
				t.Fatal(err)
			}
			if _, err := OpenTrustStore(dir); err == nil || !strings.Contains(err.Error(), path) {
				t.Errorf("error %v does not name %s", err, path)
			}
		})
	}
}

func mustOpenTrustStore(t *testing.T, dir string) *TrustStore {
	t.Helper()
	store, err := OpenTrustStore(dir)
	if err != nil {
		t.Fatal(err)
	}
	return store
}
