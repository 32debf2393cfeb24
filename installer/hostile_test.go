package installer

import (
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"airgap/bundle"
	"airgap/signing"
)

// hostileFolder has the bundles that must be refused, and the key of their maker.
const hostileFolder = "../bundle/testdata/hostile"

// TestHostileBundlesChangeNothing installs each of them on a machine that trusts their maker and has a node.
func TestHostileBundlesChangeNothing(t *testing.T) {
	s := newSite(t)
	var err error
	if s.key, err = signing.ParsePrivateKey(read(t, "maker.key"), nil); err != nil {
		t.Fatal(err)
	}
	s.build(t, "good.airgap", s.content(t, "1.3.0"), s.key)
	if _, err := Run(context.Background(), s.options("good.airgap")); err != nil {
		t.Fatal(err)
	}
	before := s.fingerprint(t)
	var cases []struct {
		File string
		Rule bundle.Rule
	}
	if err := json.Unmarshal(read(t, "cases.json"), &cases); err != nil {
		t.Fatal(err)
	}
	for _, c := range cases {
		unpack(t, filepath.Join(hostileFolder, c.File), s.path("hostile.airgap"))
		_, err := Run(context.Background(), s.options("hostile.airgap"))
		var refusal *bundle.Refusal
		if !errors.As(err, &refusal) || refusal.Rule != c.Rule {
			t.Errorf("%s: %v, want a refusal by rule %s", c.File, err, c.Rule)
		}
	}
	if err := os.Remove(s.path("hostile.airgap")); err != nil {
		t.Fatal(err)
	}
	if after := s.fingerprint(t); after != before {
		t.Errorf("they changed something:\n%s\nwas\n%s", after, before)
	}
}

func read(t *testing.T, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(hostileFolder, name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// unpack writes what a gzipped file holds.
func unpack(t *testing.T, from, to string) {
	t.Helper()
	packed, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer packed.Close()
	r, err := gzip.NewReader(packed)
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(r)
	if err == nil {
		err = os.WriteFile(to, data, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
}
