package bundle

import (
	"bytes"
	"encoding/json"
	"strings"

	digest "github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// assembled lays and signs a bundle of what [Create] would refuse: m and blobs need not fit each other.
func (h *hostileMaker) assembled(m Manifest, blobs []Blob) []byte {
	h.t.Helper()
	merged, err := mergeBlobs(blobs)
	if err != nil {
		h.t.Fatal(err)
	}
	m = sorted(m)
	m.Entries = []Entry{layoutEntry(), {}}
	issued, err := parseIssuedAt(m.IssuedAt)
	if err != nil {
		h.t.Fatal(err)
	}
	mtime := issued.Unix()
	parts := []part{newPart(ManifestPath, nil, mtime), {}, {}, newPart(layoutPath, layoutContent, mtime), {}}
	for _, b := range merged {
		e := entryOfBlob(b)
		m.Entries = append(m.Entries, e)
		from, err := b.Open(h.t.Context())
		if err != nil {
			h.t.Fatal(err)
		}
		var data bytes.Buffer
		if _, err := data.ReadFrom(from); err != nil {
			h.t.Fatal(err)
		}
		parts = append(parts, newPart(e.Path, data.Bytes(), mtime))
	}
	index := indexJSON(&m)
	m.Entries[1], parts[4] = entryOf(indexPath, index, RoleLayout), newPart(indexPath, index, mtime)
	encoded, err := m.Encode()
	if err != nil {
		h.t.Fatal(err)
	}
	sigstorePath, detachedPath := signaturePaths(0)
	parts[1], parts[2] = newPart(sigstorePath, nil, mtime), newPart(detachedPath, nil, mtime)
	return h.signed(join(parts, make([]byte, 2*tarBlockBytes)), encoded)
}

// imageOf is a manifest of one image whose root is blob, for linux/amd64 at platform.
func imageOf(mediaType string, root Blob, platform string) Manifest {
	return Manifest{
		Name: "tiny", Version: "1.0.0", Platforms: []string{"linux/amd64"}, IssuedAt: "2026-11-22T09:00:00Z",
		Images: []Image{{Reference: "docker.io/library/a:1", Digest: root.Digest, MediaType: mediaType, Size: root.Size,
			Platforms: []ImagePlatform{{"linux/amd64", platform}}}},
	}
}

// hostileGraphs are signed bundles whose blobs are all as listed, and do not make what the manifest says.
func hostileGraphs() []hostile {
	var cases []hostile
	add := func(name, text string, build func(h *hostileMaker) (Manifest, []Blob)) {
		cases = append(cases, hostile{"graph", name, func(h *hostileMaker) []byte { return h.assembled(build(h)) }, ErrFormat, RuleGraph, text})
	}
	tinyImage := func(h *hostileMaker) []Blob {
		return imageManifest(h.t, "amd64", layer{NewBlob(RoleLayer, []byte("layer")), digest.FromString("layer")})
	}
	// manifest changes the image's one manifest.
	manifest := func(name, text string, edit func(m *ocispec.Manifest)) {
		add(name, text, func(h *hostileMaker) (Manifest, []Blob) {
			blobs := tinyImage(h)
			m := decodeManifest(h, blobs[0])
			edit(&m)
			blobs[0] = NewBlob(RoleManifest, mustJSON(h.t, m))
			return imageOf(ocispec.MediaTypeImageManifest, blobs[0], blobs[0].Digest), blobs
		})
	}
	absent := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayerGzip, Digest: digest.FromString("absent"), Size: 6}
	manifest("layer that is not carried", "is not carried", func(m *ocispec.Manifest) { m.Layers = append(m.Layers, absent) })
	manifest("config that is not carried", "is not carried", func(m *ocispec.Manifest) { m.Config.Digest = absent.Digest })
	manifest("layer of another size", "declared with 6 bytes", func(m *ocispec.Manifest) { m.Layers[0].Size++ })
	manifest("layer of a negative size", "declared with -1 bytes", func(m *ocispec.Manifest) { m.Layers[0].Size = -1 })
	manifest("config of another size", "is declared with", func(m *ocispec.Manifest) { m.Config.Size++ })
	manifest("layer of another algorithm", "is not carried", func(m *ocispec.Manifest) { m.Layers[0].Digest = digest.SHA512.FromString("layer") })
	manifest("layer that is left over", "belongs to nothing", func(m *ocispec.Manifest) { m.Layers = nil })
	add("blob that belongs to nothing", "belongs to nothing", func(h *hostileMaker) (Manifest, []Blob) {
		blobs := tinyImage(h)
		return imageOf(ocispec.MediaTypeImageManifest, blobs[0], blobs[0].Digest), append(blobs, NewBlob(RoleLayer, []byte("smuggled")))
	})
	add("image manifest that belongs to nothing", "belongs to nothing", func(h *hostileMaker) (Manifest, []Blob) {
		blobs := tinyImage(h)
		other := imageManifest(h.t, "arm64", layer{NewBlob(RoleLayer, []byte("layer")), digest.FromString("layer")})
		return imageOf(ocispec.MediaTypeImageManifest, blobs[0], blobs[0].Digest), append(blobs, other...)
	})
	root := func(name, text, mediaType string, data string) {
		add(name, text, func(h *hostileMaker) (Manifest, []Blob) {
			blob := NewBlob(RoleManifest, []byte(data))
			return imageOf(mediaType, blob, blob.Digest), []Blob{blob}
		})
	}
	root("image manifest that is no JSON", "invalid character", ocispec.MediaTypeImageManifest, "not JSON")
	root("image manifest that is empty", "is not what its media type", ocispec.MediaTypeImageManifest, "{}")
	root("image manifest of schema 1", "is not what its media type", "application/vnd.docker.distribution.manifest.v1+prettyjws", `{"schemaVersion":1,"fsLayers":[]}`)
	root("index that is empty", "is not what its media type", ocispec.MediaTypeImageIndex, `{"schemaVersion":2,"manifests":[]}`)
	root("both index and image manifest", "is not what its media type", ocispec.MediaTypeImageIndex,
		`{"schemaVersion":2,"manifests":[{"mediaType":"a/b","digest":"sha256:00","size":1}],"config":{"mediaType":"a/b","digest":"sha256:00","size":1}}`)
	add("index by the type of an image manifest", "is not what its media type", func(h *hostileMaker) (Manifest, []Blob) {
		blobs := tinyImage(h)
		index := indexNaming(h, blobs[0], ocispec.MediaTypeImageManifest)
		return imageOf(ocispec.MediaTypeImageManifest, index, blobs[0].Digest), append(blobs, index)
	})
	add("image manifest by the type of an index", "is not what its media type", func(h *hostileMaker) (Manifest, []Blob) {
		blobs := tinyImage(h)
		return imageOf(ocispec.MediaTypeImageIndex, blobs[0], blobs[0].Digest), blobs
	})
	add("platform that the index does not name", "is not reached", func(h *hostileMaker) (Manifest, []Blob) {
		blobs := tinyImage(h)
		other := imageManifest(h.t, "arm64", layer{NewBlob(RoleLayer, []byte("layer")), digest.FromString("layer")})
		index := indexNaming(h, other[0], ocispec.MediaTypeImageManifest)
		return imageOf(ocispec.MediaTypeImageIndex, index, blobs[0].Digest), append(append(blobs, other...), index)
	})
	add("platform that is an index", "is not reached", func(h *hostileMaker) (Manifest, []Blob) {
		blobs := tinyImage(h)
		index := indexNaming(h, blobs[0], ocispec.MediaTypeImageManifest)
		return imageOf(ocispec.MediaTypeImageIndex, index, index.Digest), append(blobs, index)
	})
	add("child of another size", "is declared with", func(h *hostileMaker) (Manifest, []Blob) {
		blobs := tinyImage(h)
		longer := blobs[0]
		longer.Size++
		index := indexNaming(h, longer, ocispec.MediaTypeImageManifest)
		return imageOf(ocispec.MediaTypeImageIndex, index, blobs[0].Digest), append(blobs, index)
	})
	add("five levels", "more than 4 levels", func(h *hostileMaker) (Manifest, []Blob) {
		blobs := tinyImage(h)
		top, mediaType := blobs[0], ocispec.MediaTypeImageManifest
		for range maxGraphDepth {
			top, mediaType = indexNaming(h, top, mediaType), ocispec.MediaTypeImageIndex
			blobs = append(blobs, top)
		}
		return imageOf(mediaType, top, blobs[0].Digest), blobs
	})
	artifact := func(name, text string, edit func(m *ocispec.Manifest, other Blob)) {
		add("artifact "+name, text, func(h *hostileMaker) (Manifest, []Blob) {
			content, other := NewBlob(RoleObjects, []byte("kind: Namespace\n")), NewBlob(RoleObjects, []byte("kind: ClusterRoleBinding\n"))
			blobs, _, err := NewArtifact(ObjectsArtifactType, ObjectsLayerMediaType, "", nil, content)
			if err != nil {
				h.t.Fatal(err)
			}
			m := decodeManifest(h, blobs[0])
			edit(&m, other)
			blobs[0] = NewBlob(RoleManifest, mustJSON(h.t, m))
			if !strings.Contains(name, "left") {
				blobs = append(blobs, other)
			}
			manifestDigest := blobs[0].Digest
			return Manifest{
				Name: "tiny", Version: "1.0.0", Platforms: []string{"linux/amd64"}, IssuedAt: "2026-11-22T09:00:00Z",
				Manifests: []Objects{{Name: "namespace", Artifact: manifestDigest, Digest: content.Digest}},
			}, blobs
		})
	}
	artifact("of something else", "its one layer is not", func(m *ocispec.Manifest, other Blob) {
		m.Layers = []ocispec.Descriptor{descriptorOf(ObjectsLayerMediaType, other)}
	})
	artifact("of two layers", "its one layer is not", func(m *ocispec.Manifest, other Blob) {
		m.Layers = append(m.Layers, descriptorOf(ObjectsLayerMediaType, other))
	})
	artifact("of another type", "listed as", func(m *ocispec.Manifest, _ Blob) { m.ArtifactType = FileArtifactType })
	artifact("of no type", "listed as", func(m *ocispec.Manifest, _ Blob) { m.ArtifactType = "" })
	artifact("of the type of an image", "listed as", func(m *ocispec.Manifest, _ Blob) {
		m.ArtifactType, m.Config.MediaType = "", ocispec.MediaTypeImageConfig
	})
	artifact("of no layer", "its one layer is not", func(m *ocispec.Manifest, _ Blob) { m.Layers = nil })
	return cases
}

func decodeManifest(h *hostileMaker, blob Blob) ocispec.Manifest {
	h.t.Helper()
	from, err := blob.Open(h.t.Context())
	if err != nil {
		h.t.Fatal(err)
	}
	var m ocispec.Manifest
	if err := json.NewDecoder(from).Decode(&m); err != nil {
		h.t.Fatal(err)
	}
	return m
}

// indexNaming is an index of one child.
func indexNaming(h *hostileMaker, child Blob, mediaType string) Blob {
	h.t.Helper()
	return NewBlob(RoleIndex, mustJSON(h.t, ocispec.Index{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex, Manifests: []ocispec.Descriptor{descriptorOf(mediaType, child)},
	}))
}
