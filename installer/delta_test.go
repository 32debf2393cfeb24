package installer

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"airgap/bundle"
)

// TestDelta installs a bundle, then two deltas, each on what was there before: one made from the bundle, one from the machine's
// inventory. A machine without the base refuses them and stays as it was.
func TestDelta(t *testing.T) {
	s := newSite(t)
	old := s.content(t, "1.0.0")
	site, err := bundle.InventoryOf(s.build(t, "old.airgap", old, s.key))
	if err != nil {
		t.Fatal(err)
	}
	next := func(version, reference string, since *bundle.Inventory) (*bundle.Manifest, string) {
		c := old
		c.Manifest.Version, c.Manifest.Images, c.Blobs = version, slices.Clone(old.Manifest.Images), slices.Clone(old.Blobs)
		addImage(t, &c, reference, newImage(t))
		c.Since = since
		return s.build(t, version+".airgap", c, s.key), version + ".airgap"
	}
	first, file := next("1.1.0", "example.com/first:1", site)
	if len(first.Omitted()) == 0 || slices.ContainsFunc(first.Carried(), func(e bundle.Entry) bool { return e.Role == bundle.RoleExecutable }) {
		t.Fatalf("the delta carries %+v", first.Carried())
	}

	bare := s.fingerprint(t)
	var missing *bundle.MissingBaseError
	if _, err := Run(context.Background(), s.options(file)); !errors.As(err, &missing) || len(missing.Missing) != len(first.Omitted()) {
		t.Errorf("without the base: %v", err)
	} else if !strings.Contains(err.Error(), "delta on site-a 1.0.0") {
		t.Errorf("%q does not name the base", err)
	}
	if now := s.fingerprint(t); now != bare {
		t.Errorf("the refused delta changed something:\n%s\nwas\n%s", now, bare)
	}

	install := func(file string) {
		t.Helper()
		if _, err := Run(context.Background(), s.options(file)); err != nil {
			t.Fatal(err)
		}
	}
	install("old.airgap")
	install(file)
	if got := s.fingerprint(t); !strings.Contains(got, "image example.com/first:1") || !strings.Contains(got, "accepted 1.1.0") {
		t.Errorf("after the delta:\n%s", got)
	}
	here, err := Inventory(s.path("data"))
	if err != nil {
		t.Fatal(err)
	}
	digest, err := first.Digest()
	if err != nil {
		t.Fatal(err)
	}
	if want := []bundle.BaseBundle{{Name: "site-a", Version: "1.1.0", Digest: digest}}; !slices.Equal(here.Bundles, want) {
		t.Errorf("the inventory has %+v, want %+v", here.Bundles, want)
	}
	for _, e := range first.Entries { // other machines can have the whole from here
		if !slices.Contains(here.Blobs, bundle.HeldBlob{Digest: e.Digest(), Size: e.Size}) {
			t.Errorf("the machine has not kept %s %s", e.Role, e.Path)
		}
	}

	second, file := next("1.2.0", "example.com/second:1", here)
	if len(second.Omitted()) == 0 || second.Base[0].Version != "1.1.0" {
		t.Errorf("the second delta is for %+v and leaves %d entries out", second.Base, len(second.Omitted()))
	}
	install(file)

	layer := second.Omitted()[len(second.Omitted())-1]
	if err := os.Remove(base{s.paths()}.place(layer)); err != nil {
		t.Fatal(err)
	}
	if _, err := Run(context.Background(), s.options(file)); !errors.As(err, &missing) || !slices.Equal(missing.Missing, []bundle.Entry{layer}) {
		t.Errorf("without %s: %v", layer.Path, err)
	}
}
