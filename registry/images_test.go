package registry

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// blobs is a content to import: every blob by digest, and the order in which a bundle has them.
type blobs struct {
	data  map[digest.Digest][]byte
	order []digest.Digest // layers; metadata is put before them
	meta  []digest.Digest
}

func newBlobs() *blobs { return &blobs{data: map[digest.Digest][]byte{}} }

func (b *blobs) add(mediaType string, data []byte) ocispec.Descriptor {
	d := digest.FromBytes(data)
	if _, known := b.data[d]; !known {
		b.data[d] = data
		if mediaType == ocispec.MediaTypeImageLayerGzip {
			b.order = append(b.order, d)
		} else {
			b.meta = append([]digest.Digest{d}, b.meta...) // an index before its manifests before their configs
		}
	}
	return ocispec.Descriptor{MediaType: mediaType, Digest: d, Size: int64(len(data))}
}

func (b *blobs) addJSON(mediaType string, v any) ocispec.Descriptor {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b.add(mediaType, data)
}

func (b *blobs) inOrder() []digest.Digest {
	return append(append([]digest.Digest{}, b.meta...), b.order...)
}

// layerBlob is a layer as an image declares it.
type layerBlob struct {
	desc   ocispec.Descriptor
	diffID digest.Digest
}

// entry is one entry of a layer's tar.
type entry struct {
	header tar.Header
	data   string
}

func file(name, data string) entry {
	return entry{tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: int64(len(data))}, data}
}

func folder(name string, mode int64) entry {
	return entry{tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: mode}, ""}
}

func tarOf(entries ...entry) []byte {
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, e := range entries {
		if err := w.WriteHeader(&e.header); err != nil {
			panic(err)
		}
		io.WriteString(w, e.data)
	}
	w.Close()
	return out.Bytes()
}

func gzipped(data []byte) []byte {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	w.Write(data)
	w.Close()
	return out.Bytes()
}

func zstdPacked(data []byte, options ...zstd.EOption) []byte {
	var out bytes.Buffer
	w, err := zstd.NewWriter(&out, options...)
	if err != nil {
		panic(err)
	}
	w.Write(data)
	w.Close()
	return out.Bytes()
}

func unpacked(data []byte) []byte { return data }

// layer adds a layer packed by pack.
func (b *blobs) layer(pack func([]byte) []byte, entries ...entry) layerBlob {
	content := tarOf(entries...)
	return layerBlob{b.add(ocispec.MediaTypeImageLayerGzip, pack(content)), digest.FromBytes(content)}
}

// image adds an image for a platform made of the given layers.
func (b *blobs) image(arch string, layers ...layerBlob) ocispec.Descriptor {
	var config ocispec.Image
	config.OS, config.Architecture = "linux", arch
	config.RootFS.Type = "layers"
	manifest := ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest}
	for _, l := range layers {
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, l.diffID)
		manifest.Layers = append(manifest.Layers, l.desc)
	}
	manifest.Config = b.addJSON(ocispec.MediaTypeImageConfig, config)
	return b.addJSON(ocispec.MediaTypeImageManifest, manifest)
}

func (b *blobs) index(manifests map[string]ocispec.Descriptor) ocispec.Descriptor {
	index := ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex}
	for _, arch := range []string{"arm64", "amd64"} {
		if desc, ok := manifests[arch]; ok {
			desc.Platform = &ocispec.Platform{OS: "linux", Architecture: arch}
			index.Manifests = append(index.Manifests, desc)
		}
	}
	return b.addJSON(ocispec.MediaTypeImageIndex, index)
}

// verified reads r and fails at its end unless it has the digest d, as a bundle's reader does.
type verified struct {
	r    io.Reader
	hash hash.Hash
	want digest.Digest
}

var errFlipped = errors.New("the bytes are not those that were signed")

func verify(data []byte, d digest.Digest) io.Reader {
	return &verified{bytes.NewReader(data), sha256.New(), d}
}

func (v *verified) Read(p []byte) (int, error) {
	n, err := v.r.Read(p)
	v.hash.Write(p[:n])
	if err == io.EOF && digest.NewDigest(digest.SHA256, v.hash) != v.want {
		err = errFlipped
	}
	return n, err
}

// feed gives the import the blobs.
func feed(i *Import, b *blobs, digests ...digest.Digest) error {
	for _, d := range digests {
		if err := i.Blob(context.Background(), d.String(), int64(len(b.data[d])), verify(b.data[d], d)); err != nil {
			return err
		}
	}
	return nil
}

// openTestStore opens a store that is closed at the end of the test.
func openTestStore(t testing.TB, root string) *Store {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("unpacking images needs root")
	}
	s, err := OpenStore(root)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// testImages are the options of an import of the given targets, each under one name.
func testImages(lease string, targets map[string]ocispec.Descriptor) ImportOptions {
	o := ImportOptions{Lease: lease, Platform: "linux/amd64"}
	for name, target := range targets {
		o.Images = append(o.Images, ImportImage{Names: []string{name}, Target: target, Labels: map[string]string{LabelPinned: Pinned}})
	}
	return o
}

// importAll imports everything and commits.
func importAll(t testing.TB, s *Store, b *blobs, o ImportOptions) {
	t.Helper()
	i, err := s.Import(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	defer i.Close()
	if err := feed(i, b, b.inOrder()...); err != nil {
		t.Fatal(err)
	}
	if err := i.Commit(context.Background()); err != nil {
		t.Fatal(err)
	}
}

// checkWhole fails unless every image of the store is complete and unpacked, and returns the names.
func checkWhole(t testing.TB, s *Store) []string {
	t.Helper()
	names, err := wholeImages(s)
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// wholeImages verifies the first invariant with the store's own bytes: each name's blobs have
// their digests, and its snapshots exist.
func wholeImages(s *Store) (names []string, err error) {
	ctx := context.Background()
	list, err := s.Images(ctx)
	if err != nil {
		return nil, err
	}
	var check func(d ocispec.Descriptor) error
	check = func(d ocispec.Descriptor) error {
		r, size, err := s.OpenBlob(ctx, d.Digest.String())
		if err != nil {
			return err
		}
		defer r.Close()
		data, err := io.ReadAll(r)
		if err != nil {
			return err
		}
		if digest.FromBytes(data) != d.Digest || size != d.Size {
			return fmt.Errorf("blob %s is damaged", d.Digest)
		}
		switch d.MediaType {
		case ocispec.MediaTypeImageIndex:
			var index ocispec.Index
			if err := json.Unmarshal(data, &index); err != nil {
				return err
			}
			for _, m := range index.Manifests {
				if m.Platform.Architecture == "amd64" {
					return check(m)
				}
			}
			return errors.New("no manifest for amd64")
		case ocispec.MediaTypeImageManifest:
			var manifest ocispec.Manifest
			if err := json.Unmarshal(data, &manifest); err != nil {
				return err
			}
			for _, child := range append(manifest.Layers, manifest.Config) {
				if err := check(child); err != nil {
					return err
				}
			}
			info, err := s.db.ContentStore().Info(inNamespace(ctx), manifest.Config.Digest)
			if err != nil {
				return err
			}
			if _, err := s.snapshotter().Stat(inNamespace(ctx), info.Labels[labelSnapshotRef]); err != nil {
				return err
			}
		}
		return nil
	}
	for _, image := range list {
		if err := check(image.Target); err != nil {
			return nil, fmt.Errorf("%s: %w", image.Name, err)
		}
		names = append(names, image.Name)
	}
	return names, nil
}
