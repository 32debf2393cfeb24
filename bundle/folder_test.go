package bundle

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"airgap/signing"
)

// TestForgedFolders changes a signed bundle in its folder form.
func TestForgedFolders(t *testing.T) {
	key, policy := signer(t, siteKey)
	content := tinyContent(t)
	layerPath := entryOfBlob(content.Blobs[len(content.Blobs)-1]).Path
	must := func(errs ...error) {
		t.Helper()
		if err := errors.Join(errs...); err != nil {
			t.Fatal(err)
		}
	}
	for name, test := range map[string]struct {
		edit func(dir string)
		want error
		text string
	}{
		"unchanged": {func(string) {}, nil, ""},
		"one bit": {func(dir string) {
			must(os.WriteFile(filepath.Join(dir, layerPath), []byte("layes"), 0o644))
		}, ErrDigest, layerPath},
		"shorter": {func(dir string) { must(os.Truncate(filepath.Join(dir, layerPath), 4)) }, ErrFormat, "4 bytes, 5 were signed"},
		"longer":  {func(dir string) { must(os.Truncate(filepath.Join(dir, layerPath), 6)) }, ErrFormat, "6 bytes, 5 were signed"},
		"missing": {func(dir string) { must(os.Remove(filepath.Join(dir, layerPath))) }, ErrFormat, layerPath + " is missing"},
		"unlisted": {func(dir string) {
			must(os.WriteFile(filepath.Join(dir, "blobs/sha256/._x"), nil, 0o644))
		}, ErrFormat, "._x"},
		"unlisted folder": {func(dir string) { must(os.Mkdir(filepath.Join(dir, "blobs/sha512"), 0o755)) }, ErrFormat, "sha512"},
		"no manifest":     {func(dir string) { must(os.Remove(filepath.Join(dir, ManifestPath))) }, ErrFormat, "not a bundle"},
		"no signature": {func(dir string) {
			must(os.Remove(filepath.Join(dir, "airgap.json.sig")), os.Remove(filepath.Join(dir, "airgap.json.sigstore.json")))
		}, signing.ErrUnsigned, ""},
		"half a signature": {func(dir string) { must(os.Remove(filepath.Join(dir, "airgap.json.sig"))) }, ErrFormat, "airgap.json.sig is missing"},
		"other half":       {func(dir string) { must(os.Remove(filepath.Join(dir, "airgap.json.sigstore.json"))) }, signing.ErrUnsigned, ""},
		"empty signature":  {func(dir string) { must(os.Truncate(filepath.Join(dir, "airgap.json.sig"), 0)) }, signing.ErrInvalid, recopy},
		"link to the same bytes": {func(dir string) {
			must(os.Rename(filepath.Join(dir, layerPath), dir+".layer"), os.Symlink(dir+".layer", filepath.Join(dir, layerPath)))
		}, ErrFormat, layerPath},
		"link within": {func(dir string) {
			must(os.Rename(filepath.Join(dir, ManifestPath), filepath.Join(dir, "m")), os.Symlink("m", filepath.Join(dir, ManifestPath)))
		}, ErrFormat, "not a regular file"},
		"linked folder": {func(dir string) {
			must(os.Rename(filepath.Join(dir, "blobs"), dir+".blobs"), os.Symlink(dir+".blobs", filepath.Join(dir, "blobs")))
		}, ErrFormat, "blobs"},
		"FIFO": {func(dir string) {
			must(os.Remove(filepath.Join(dir, ManifestPath)), syscall.Mkfifo(filepath.Join(dir, ManifestPath), 0o644))
		}, ErrFormat, "not a regular file"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "site")
			if _, err := Create(context.Background(), dir, content, CreateOptions{Directory: true, Signers: []*signing.PrivateKey{key}}); err != nil {
				t.Fatal(err)
			}
			test.edit(dir)
			_, _, err := Verify(context.Background(), dir, policy, nil)
			if !errors.Is(err, test.want) || err != nil && !strings.Contains(err.Error(), test.text) {
				t.Errorf("error %v, want %v with %q", err, test.want, test.text)
			}
		})
	}
}
