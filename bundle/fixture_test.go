package bundle

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"sync"
	"testing"

	digest "github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"airgap/signing"
)

// keyPair makes a key pair with an empty password. Decrypting one takes time on purpose, so tests share two.
func keyPair() (*signing.PrivateKey, error) {
	private, _, err := signing.GenerateKey(nil)
	if err != nil {
		return nil, err
	}
	return signing.ParsePrivateKey(private, nil)
}

var siteKey, strangersKey = sync.OnceValues(keyPair), sync.OnceValues(keyPair)

// signer returns a key, the site's or a stranger's, and the policy that accepts it.
func signer(t testing.TB, of func() (*signing.PrivateKey, error)) (*signing.PrivateKey, signing.Policy) {
	t.Helper()
	key, err := of()
	if err != nil {
		t.Fatal(err)
	}
	return key, signing.Policy{Keys: []signing.PublicKey{key.Public()}, Threshold: 1}
}

// mustJSON encodes a value that can be encoded.
func mustJSON(t testing.TB, v any) []byte {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// layer is a gzipped tar of one file, as an image has it.
type layer struct {
	blob   Blob
	diffID digest.Digest
}

func newLayer(t testing.TB, name string, content []byte) layer {
	t.Helper()
	var plain, packed bytes.Buffer
	w := tar.NewWriter(&plain)
	if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(content)), Typeflag: tar.TypeReg}); err != nil {
		t.Fatal(err)
	}
	w.Write(content)
	w.Close()
	z, err := gzip.NewWriterLevel(&packed, gzip.NoCompression)
	if err != nil {
		t.Fatal(err)
	}
	z.Write(plain.Bytes())
	z.Close()
	return layer{NewBlob(RoleLayer, packed.Bytes()), digest.FromBytes(plain.Bytes())}
}

// imageManifest makes an image of the layers; it returns its blobs, manifest first.
func imageManifest(t testing.TB, architecture string, layers ...layer) []Blob {
	t.Helper()
	config := ocispec.Image{Platform: ocispec.Platform{OS: "linux", Architecture: architecture}, RootFS: ocispec.RootFS{Type: "layers"}}
	manifest := ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest}
	var blobs []Blob
	for _, l := range layers {
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, l.diffID)
		manifest.Layers = append(manifest.Layers, descriptorOf(ocispec.MediaTypeImageLayerGzip, l.blob))
		blobs = append(blobs, l.blob)
	}
	configBlob := NewBlob(RoleConfig, mustJSON(t, config))
	manifest.Config = descriptorOf(ocispec.MediaTypeImageConfig, configBlob)
	return append([]Blob{NewBlob(RoleManifest, mustJSON(t, manifest)), configBlob}, blobs...)
}

// testContent is a bundle's worth of everything, its layers of about layerBytes each:
// image a is an index of two platforms of which one is carried, b and c are
// manifests, a and b share their base layer, c is b by another name.
func testContent(t testing.TB, layerBytes int) Content {
	t.Helper()
	filler := func(seed byte) []byte { // does not compress
		data := make([]byte, layerBytes)
		state := uint32(seed) + 1
		for i := range data {
			state = state*1664525 + 1013904223
			data[i] = byte(state >> 24)
		}
		return data
	}
	base, top := newLayer(t, "base", filler(1)), newLayer(t, "top", filler(2))
	imageA := imageManifest(t, "amd64", base, top)
	imageB := imageManifest(t, "amd64", base)
	absent := NewBlob(RoleManifest, []byte("the arm64 manifest that is not carried"))
	amd64, arm64 := descriptorOf(ocispec.MediaTypeImageManifest, imageA[0]), descriptorOf(ocispec.MediaTypeImageManifest, absent)
	amd64.Platform, arm64.Platform = &ocispec.Platform{OS: "linux", Architecture: "amd64"}, &ocispec.Platform{OS: "linux", Architecture: "arm64"}
	index := NewBlob(RoleIndex, mustJSON(t, ocispec.Index{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex, Manifests: []ocispec.Descriptor{arm64, amd64},
	}))
	blobs := append(append([]Blob{index}, imageA...), imageB...)

	artifact := func(artifactType, layerType, configType string, config []byte, content Blob) (manifestDigest, contentDigest string) {
		made, manifestDigest, err := NewArtifact(artifactType, layerType, configType, config, content)
		if err != nil {
			t.Fatal(err)
		}
		blobs = append(blobs, made...)
		return manifestDigest, content.Digest
	}
	chart, chartDigest := artifact("", ChartLayerMediaType, ChartConfigMediaType, []byte(`{"name":"podinfo","version":"6.9.2"}`), NewBlob(RoleChart, []byte("chart.tgz")))
	objects, objectsDigest := artifact(ObjectsArtifactType, ObjectsLayerMediaType, "", nil, NewBlob(RoleObjects, []byte("kind: Namespace\n")))
	file, fileDigest := artifact(FileArtifactType, FileLayerMediaType, "", nil, NewBlob(RoleFile, []byte("a=1\n")))
	executable := NewBlob(RoleExecutable, []byte("\x7fELF"))
	distribution, executableDigest := artifact(DistributionArtifactType, DistributionLayerMediaType, "", nil, executable)
	values := NewBlob(RoleValues, []byte("{}")) // the same bytes as OCI's empty config
	blobs = append(blobs, values)

	single := []ImagePlatform{{"linux/amd64", imageB[0].Digest}}
	return Content{Blobs: blobs, Manifest: Manifest{
		Name: "site-a", Version: "1.4.0", VersionFloor: "1.2.0", Platforms: []string{"linux/amd64"}, IssuedAt: "2026-11-22T09:00:00Z",
		Images: []Image{
			{Reference: "docker.io/library/c:1", Digest: imageB[0].Digest, MediaType: ocispec.MediaTypeImageManifest, Size: imageB[0].Size, Platforms: single},
			{Reference: "docker.io/library/a:1.29", Digest: index.Digest, MediaType: ocispec.MediaTypeImageIndex, Size: index.Size,
				Platforms: []ImagePlatform{{"linux/amd64", imageA[0].Digest}}},
			{Reference: "docker.io/library/b@" + imageB[0].Digest, Digest: imageB[0].Digest, MediaType: ocispec.MediaTypeImageManifest, Size: imageB[0].Size, Platforms: single},
		},
		Charts:        []Chart{{Release: "podinfo", Namespace: "demo", Chart: "podinfo", Version: "6.9.2", Artifact: chart, Digest: chartDigest, Values: values.Digest}},
		Manifests:     []Objects{{Name: "namespace", Artifact: objects, Digest: objectsDigest}},
		Files:         []File{{Target: "/etc/site.conf", Mode: "0644", Artifact: file, Digest: fileDigest}},
		Distributions: []Distribution{{Platform: "linux/amd64", Version: "0.1.0", Kubernetes: "v1.37.1", Artifact: distribution, Digest: executableDigest, Size: executable.Size}},
	}}
}

// tinyContent is one image of one platform with one layer of a few bytes.
func tinyContent(t testing.TB) Content {
	t.Helper()
	image := imageManifest(t, "amd64", layer{NewBlob(RoleLayer, []byte("layer")), digest.FromString("layer")})
	return Content{Blobs: image, Manifest: Manifest{
		Name: "tiny", Version: "1.0.0", Platforms: []string{"linux/amd64"}, IssuedAt: "2026-11-22T09:00:00Z",
		Images: []Image{{Reference: "docker.io/library/a:1", Digest: image[0].Digest, MediaType: ocispec.MediaTypeImageManifest, Size: image[0].Size,
			Platforms: []ImagePlatform{{"linux/amd64", image[0].Digest}}}},
	}}
}

// create writes c into a new folder of its own and returns the path.
func create(t testing.TB, c Content, opts CreateOptions) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "site.airgap")
	if _, err := Create(context.Background(), path, c, opts); err != nil {
		t.Fatal(err)
	}
	return path
}

// readAll reads a bundle through and returns its entries' contents by path.
func readAll(r *Reader) (map[string][]byte, error) {
	contents := make(map[string][]byte)
	for {
		e, from, err := r.Next()
		if err == io.EOF {
			return contents, nil
		}
		if err != nil {
			return nil, err
		}
		if contents[e.Path], err = io.ReadAll(from); err != nil {
			return nil, err
		}
	}
}

// verifyTar reads the tar of a bundle through.
func verifyTar(data []byte, trust Trust) error {
	r, err := NewReader(bytes.NewReader(data), trust)
	if err != nil {
		return err
	}
	defer r.Close()
	_, err = readAll(r)
	return err
}

func mustRead(t testing.TB, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}
