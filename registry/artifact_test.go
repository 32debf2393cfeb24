package registry

import (
	"context"
	"path/filepath"
	"slices"
	"testing"

	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// signature adds a cosign signature as it stands beside an image: an image's configuration without a platform, and no layer to unpack.
func (b *blobs) signature(payload string) ocispec.Descriptor {
	layer := b.add("application/vnd.dev.cosign.simplesigning.v1+json", []byte(payload))
	config := b.addJSON(ocispec.MediaTypeImageConfig, ocispec.Image{RootFS: ocispec.RootFS{Type: "layers", DiffIDs: nil}})
	return b.addJSON(ocispec.MediaTypeImageManifest, ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest, Config: config, Layers: []ocispec.Descriptor{layer},
	})
}

// TestImportKeepsSignatures imports an image with what is said about it, which is named and not unpacked, and makes the store anew.
func TestImportKeepsSignatures(t *testing.T) {
	b := newBlobs()
	app, signature := b.image("amd64", b.layer(gzipped, file("a", "a"))), b.signature("payload")
	artifact := b.addJSON(ocispec.MediaTypeImageManifest, ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest, ArtifactType: "application/vnd.dev.sigstore.bundle.v0.3+json",
		Config: b.add(ocispec.MediaTypeEmptyJSON, []byte("{}")), Layers: []ocispec.Descriptor{b.add("application/vnd.dev.sigstore.bundle.v0.3+json", []byte("bundle"))},
		Subject: &app,
	})
	root := t.TempDir()
	s := openTestStore(t, root)
	repository := "registry.site/team/app"
	tag, byDigest := repository+":sha256-"+app.Digest.Encoded()+".sig", repository+"@"+artifact.Digest.String()
	importAll(t, s, b, testImages("lease", map[string]ocispec.Descriptor{repository + ":1": app, tag: signature, byDigest: artifact}))
	if err := s.collect(inNamespace(context.Background())); err != nil {
		t.Fatal(err)
	}
	check := func(s *Store) {
		t.Helper()
		list, err := s.Images(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, image := range list {
			names = append(names, image.Name)
			if image.Labels[LabelPinned] != Pinned {
				t.Errorf("%s is not pinned", image.Name)
			}
		}
		for _, want := range []string{repository + ":1", tag, byDigest, repository + "@" + signature.Digest.String()} {
			if !slices.Contains(names, want) {
				t.Errorf("%s has no name; there are %q", want, names)
			}
		}
		if len(names) != 6 { // and the image's ID and its repository with the digest; what is no image has no ID
			t.Errorf("%d names: %q", len(names), names)
		}
	}
	check(s)
	record, err := ReadImages(context.Background(), s.images)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	done, err := Rebuild(context.Background(), RebuildOptions{Root: root, Record: record, Aside: filepath.Join(t.TempDir(), "aside")})
	if err != nil || len(done.Lost) > 0 {
		t.Fatalf("rebuilt: %+v, %v", done, err)
	}
	again, err := OpenStore(root)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	check(again)
}
