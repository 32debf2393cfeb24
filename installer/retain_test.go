package installer

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"airgap/bundle"
	"airgap/internal/site"
	"airgap/registry/retained"
)

func (s *testSite) retained() *retained.Folder {
	return retained.Open(s.paths().Bundles(), s.paths().ContentBlobs())
}

// wantRetained checks that a bundle can be read whole from what the machine keeps, byte for byte.
func (s *testSite) wantRetained(t *testing.T, m *bundle.Manifest) {
	t.Helper()
	list, err := s.retained().List()
	if err != nil {
		t.Fatal(err)
	}
	at := slices.IndexFunc(list, func(b site.Bundle) bool { return b.Name == m.Name && b.Version == m.Version })
	if at < 0 {
		t.Fatalf("retained are %+v, not %s %s", list, m.Name, m.Version)
	}
	b := list[at]
	want := []string{bundle.ManifestPath, "airgap.json.sigstore.json", "airgap.json.sig"}
	if !slices.Equal(b.Files, want) || !slices.Equal(b.Platform, m.Platforms) {
		t.Errorf("its head is %q, its platforms %q", b.Files, b.Platform)
	}
	for _, name := range b.Files {
		file, err := s.retained().File(b.Digest, name)
		sum := sumOfFile(t, file, err)
		if name == bundle.ManifestPath && "sha256:"+sum != b.Digest {
			t.Errorf("%s has the digest %s, want %s", name, sum, b.Digest)
		}
	}
	for _, e := range m.Entries {
		file, err := s.retained().Blob(e.Digest())
		if sum := sumOfFile(t, file, err); sum != e.SHA256 {
			t.Errorf("%s (%s) has the digest %s", e.Path, e.Role, sum)
		}
	}
}

func sumOfFile(t *testing.T, file *os.File, err error) string {
	t.Helper()
	if err != nil {
		t.Error(err)
		return ""
	}
	defer file.Close()
	hash := sha256.New()
	if _, err := io.Copy(hash, file); err != nil {
		t.Error(err)
	}
	return hex.EncodeToString(hash.Sum(nil))
}

// A node can hand on each bundle that it has, whole: images from containerd's store, the rest from what it kept.
func TestABundleIsKeptWhole(t *testing.T) {
	s := newSite(t)
	content := s.content(t, "1.0.0")
	foreign := "linux/s390x"
	addImageFor(t, &content, "example.com/foreign:1", newImage(t), foreign)
	content.Manifest.Platforms = append(content.Manifest.Platforms, foreign)
	first := s.build(t, "1.airgap", content, s.key)
	if _, err := Run(context.Background(), s.options("1.airgap")); err != nil {
		t.Fatal(err)
	}
	s.wantRetained(t, first)
	kept := func(hex string) bool {
		_, err := os.Stat(filepath.Join(s.paths().Bundles(), "blobs", hex))
		return err == nil
	}
	for _, e := range first.Entries {
		if inStore := blobExists(s.paths(), e.SHA256); inStore == kept(e.SHA256) {
			t.Errorf("%s (%s) is in containerd's store: %v, and kept beside it: %v", e.Path, e.Role, inStore, kept(e.SHA256))
		}
	}
	executable := hexOf(first.Distributions[0].Digest)
	packed, err1 := os.Stat(filepath.Join(s.paths().Current(), "airgap"))
	shared, err2 := os.Stat(filepath.Join(s.paths().Bundles(), "blobs", executable))
	if err := errors.Join(err1, err2); err != nil || !os.SameFile(packed, shared) {
		t.Errorf("the executable is on the disk twice (%v)", err)
	}
	if info, err := os.Stat(s.paths().Bundles()); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("others may read the values of charts: %v, %v", info.Mode(), err)
	}

	second := s.build(t, "2.airgap", s.content(t, "2.0.0"), s.key)
	if _, err := Run(context.Background(), s.options("2.airgap")); err != nil {
		t.Fatal(err)
	}
	s.wantRetained(t, second)
	if list, err := s.retained().List(); err != nil || len(list) != 1 || kept(executable) {
		t.Errorf("of the version before, something is kept: %+v, its executable: %v (%v)", list, kept(executable), err)
	}
	s.uninstall(t)
	if _, err := os.Lstat(s.paths().Bundles()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("an uninstall leaves %s", s.paths().Bundles())
	}
}
