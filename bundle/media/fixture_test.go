package media

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"sync"
	"testing"

	digest "github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"encoding/json"

	"airgap/bundle"
	"airgap/signing"
)

var siteKey = sync.OnceValues(func() (*signing.PrivateKey, error) {
	private, _, err := signing.GenerateKey(nil)
	if err != nil {
		return nil, err
	}
	return signing.ParsePrivateKey(private, nil)
})

// site is a signed bundle of one image with layers that take several reads, as a file.
type site struct {
	path  string // site.airgap
	data  []byte
	trust signing.Policy
}

func newSite(t *testing.T) *site {
	t.Helper()
	key, err := siteKey()
	if err != nil {
		t.Fatal(err)
	}
	s := &site{path: filepath.Join(t.TempDir(), "site.airgap"), trust: signing.Policy{Keys: []signing.PublicKey{key.Public()}, Threshold: 1}}
	if _, err := bundle.Create(context.Background(), s.path, content(t), bundle.CreateOptions{Signers: []*signing.PrivateKey{key}}); err != nil {
		t.Fatal(err)
	}
	if s.data, err = os.ReadFile(s.path); err != nil {
		t.Fatal(err)
	}
	return s
}

// content is one image of three layers, of 1.5 MB, 300 kB and 5 bytes.
func content(t *testing.T) bundle.Content {
	t.Helper()
	encode := func(v any) []byte {
		data, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	manifest := ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest}
	config := ocispec.Image{Platform: ocispec.Platform{OS: "linux", Architecture: "amd64"}, RootFS: ocispec.RootFS{Type: "layers"}}
	var blobs []bundle.Blob
	describe := func(mediaType string, b bundle.Blob) ocispec.Descriptor {
		blobs = append(blobs, b)
		return ocispec.Descriptor{MediaType: mediaType, Digest: digest.Digest(b.Digest), Size: b.Size}
	}
	for i, size := range []int{1_500_000, 300_000, 5} {
		data := bytes.Repeat([]byte{byte('a' + i), 0, 1, byte(i)}, size/4+1)[:size]
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, digest.FromBytes(data))
		manifest.Layers = append(manifest.Layers, describe(ocispec.MediaTypeImageLayer, bundle.NewBlob(bundle.RoleLayer, data)))
	}
	manifest.Config = describe(ocispec.MediaTypeImageConfig, bundle.NewBlob(bundle.RoleConfig, encode(config)))
	root := bundle.NewBlob(bundle.RoleManifest, encode(manifest))
	return bundle.Content{Blobs: append(blobs, root), Manifest: bundle.Manifest{
		Name: "site-a", Version: "1.0.0", Platforms: []string{"linux/amd64"}, IssuedAt: "2026-11-22T09:00:00Z",
		Images: []bundle.Image{{Reference: "registry.example/team/app:1", Digest: root.Digest, MediaType: ocispec.MediaTypeImageManifest, Size: root.Size,
			Platforms: []bundle.ImagePlatform{{Platform: "linux/amd64", Digest: root.Digest}}}},
	}}
}

// cut writes the bundle in parts of so many bytes into a new folder, and returns the location of the whole.
func (s *site) cut(t *testing.T, partBytes int) string {
	t.Helper()
	whole := filepath.Join(t.TempDir(), "site.airgap")
	for n, rest := 1, s.data; len(rest) > 0; n++ {
		size := min(partBytes, len(rest))
		if err := os.WriteFile(bundle.PartName(whole, n), rest[:size], 0o444); err != nil {
			t.Fatal(err)
		}
		rest = rest[size:]
	}
	return whole
}

// verify reads what is at a location through.
func (s *site) verify(location string, o Options) error {
	return s.verifyWithin(context.Background(), location, o)
}

func (s *site) verifyWithin(ctx context.Context, location string, o Options) error {
	r, err := Open(ctx, location, s.trust, o)
	if err != nil {
		return err
	}
	defer r.Close()
	return r.Verify(ctx, nil)
}
