package bundle

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// checkedGraph is what CheckGraph is given: a manifest whose entries are the blobs.
func checkedGraph(t *testing.T, images []Image, blobs ...Blob) error {
	t.Helper()
	merged, err := mergeBlobs(blobs)
	if err != nil {
		t.Fatal(err)
	}
	metadata, err := readMetadata(t.Context(), merged)
	if err != nil {
		t.Fatal(err)
	}
	m := &Manifest{Images: images}
	for _, b := range merged {
		m.Entries = append(m.Entries, entryOfBlob(b))
	}
	return CheckGraph(m, metadata)
}

func indexOf(t *testing.T, children ...ocispec.Descriptor) Blob {
	t.Helper()
	return NewBlob(RoleIndex, mustJSON(t, ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, Manifests: children}))
}

func TestCheckGraph(t *testing.T) {
	base := newLayer(t, "f", []byte("content"))
	image := imageManifest(t, "amd64", base)
	imageOf := func(b Blob, mediaType string) []Image {
		return []Image{{Reference: "r", Digest: b.Digest, MediaType: mediaType, Platforms: []ImagePlatform{{"linux/amd64", image[0].Digest}}}}
	}
	down := descriptorOf(ocispec.MediaTypeImageManifest, image[0])
	// nested returns indexes around the image, outermost last.
	nested := func(depth int) []Blob {
		child, blobs := down, []Blob(nil)
		for range depth {
			b := indexOf(t, child)
			child, blobs = descriptorOf(ocispec.MediaTypeImageIndex, b), append(blobs, b)
		}
		return blobs
	}
	wrongSize, twice := down, indexOf(t, down, down)
	wrongSize.Size++
	lying := indexOf(t, wrongSize)
	asIndex := descriptorOf(ocispec.MediaTypeImageIndex, image[0])
	deep, deepest := nested(maxGraphDepth-1), nested(maxGraphDepth)
	const index, manifest = ocispec.MediaTypeImageIndex, ocispec.MediaTypeImageManifest

	for name, test := range map[string]struct {
		images []Image
		blobs  []Blob
		want   string // part of the error; none if empty
	}{
		"manifest":                  {imageOf(image[0], manifest), nil, ""},
		"index":                     {imageOf(nested(1)[0], index), nested(1), ""},
		"child twice":               {imageOf(twice, index), []Blob{twice}, ""},
		"as deep as allowed":        {imageOf(deep[len(deep)-1], index), deep, ""},
		"too deep":                  {imageOf(deepest[len(deepest)-1], index), deepest, "levels"},
		"size declared differently": {imageOf(lying, index), []Blob{lying}, fmt.Sprintf("declared with %d bytes", wrongSize.Size)},
		"manifest called an index":  {imageOf(image[0], index), nil, "not what its media type"},
		"index called a manifest":   {imageOf(nested(1)[0], manifest), nested(1), "not what its media type"},
		"child called an index":     {imageOf(indexOf(t, asIndex), index), []Blob{indexOf(t, asIndex)}, "not what its media type"},
		"empty index":               {imageOf(indexOf(t), index), []Blob{indexOf(t)}, "not what its media type"},
		"no JSON":                   {imageOf(NewBlob(RoleIndex, []byte("x")), index), []Blob{NewBlob(RoleIndex, []byte("x"))}, "invalid character"},
		"platform not reached": {[]Image{{Reference: "r", Digest: image[0].Digest, MediaType: manifest,
			Platforms: []ImagePlatform{{"linux/arm64", base.blob.Digest}}}}, nil, "not reached"},
		"nothing uses it": {imageOf(image[0], manifest), []Blob{NewBlob(RoleFile, []byte("stray"))}, "belongs to nothing"},
	} {
		t.Run(name, func(t *testing.T) {
			err := checkedGraph(t, test.images, append(test.blobs, image...)...)
			if test.want == "" && err != nil || test.want != "" && (!errors.Is(err, ErrFormat) || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("error %v, want %q", err, test.want)
			}
		})
	}
}

// TestArtifactIsItsLayer lists a file whose bytes are its artifact's config, and not the layer.
func TestArtifactIsItsLayer(t *testing.T) {
	blobs, manifestDigest, err := NewArtifact(FileArtifactType, FileLayerMediaType, "", nil, NewBlob(RoleFile, []byte("content")))
	if err != nil {
		t.Fatal(err)
	}
	m := &Manifest{Files: []File{{Target: "/f", Artifact: manifestDigest, Digest: blobs[1].Digest}}}
	for _, b := range blobs {
		m.Entries = append(m.Entries, entryOfBlob(b))
	}
	metadata, err := readMetadata(t.Context(), blobs)
	if err != nil {
		t.Fatal(err)
	}
	if err := CheckGraph(m, metadata); !errors.Is(err, ErrFormat) || !strings.Contains(err.Error(), "one layer") {
		t.Errorf("error %v", err)
	}
	m.Files[0].Digest = blobs[2].Digest
	if err := CheckGraph(m, metadata); err != nil {
		t.Errorf("listed right: %v", err)
	}
}
