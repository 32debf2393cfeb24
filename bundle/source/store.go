package source

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// maxMetadataBytes bounds an index, manifest or config, which are held in memory.
const maxMetadataBytes = 8 << 20

// store is a place that has blobs by digest. It may be used by several goroutines.
type store interface {
	// manifest reads an index or a manifest. It need not check the digest.
	manifest(ctx context.Context, d ocispec.Descriptor) ([]byte, error)
	// blob opens a config or layer. It need not check the digest.
	blob(ctx context.Context, d ocispec.Descriptor) (io.ReadCloser, error)
}

// isDistant reports whether each blob that s opens is fetched over a network.
func isDistant(s store) bool {
	switch s := s.(type) {
	case inMemory:
		return isDistant(s.store)
	case layoutStore:
		_, distant := s.tree.(distantTree)
		return distant
	case repository:
		return true
	}
	return false
}

// readManifest reads an index or manifest and holds it against its descriptor.
func readManifest(ctx context.Context, s store, d ocispec.Descriptor) ([]byte, error) {
	data, err := s.manifest(ctx, d)
	if err != nil {
		return nil, err
	}
	return data, matches(d, data)
}

// readConfig reads a config and holds it against its descriptor.
func readConfig(ctx context.Context, s store, d ocispec.Descriptor) ([]byte, error) {
	if d.Size > maxMetadataBytes {
		return nil, fmt.Errorf("the config %s has %d bytes; at most %d are read", d.Digest, d.Size, maxMetadataBytes)
	}
	reader, err := s.blob(ctx, d)
	if err != nil {
		return nil, err
	}
	defer reader.Close()
	data, err := io.ReadAll(io.LimitReader(reader, maxMetadataBytes+1))
	if err != nil {
		return nil, err
	}
	return data, matches(d, data)
}

// matches holds bytes against a descriptor.
func matches(d ocispec.Descriptor, data []byte) error {
	if got := digest.FromBytes(data); got != d.Digest {
		return fmt.Errorf("%s is damaged: its bytes have the digest %s", d.Digest, got)
	}
	return nil
}

// layoutStore is an OCI image layout in a tree.
type layoutStore struct{ tree tree }

func (l layoutStore) manifest(_ context.Context, d ocispec.Descriptor) ([]byte, error) {
	return readSmall(l.tree, blobPath(d.Digest))
}

func (l layoutStore) blob(_ context.Context, d ocispec.Descriptor) (io.ReadCloser, error) {
	reader, _, err := l.tree.open(blobPath(d.Digest))
	return reader, err
}

func blobPath(d digest.Digest) string { return "blobs/" + d.Algorithm().String() + "/" + d.Encoded() }

// containerdName is the annotation by which containerd and Docker give the whole reference
// in index.json; the OCI's own, org.opencontainers.image.ref.name, is often the tag alone.
const containerdName = "io.containerd.image.name"

// find picks the image that selector names out of index.json, and the reference that the
// layout itself gives it ("" if none). Without a selector there must be but one.
func (l layoutStore) find(selector string) (ocispec.Descriptor, string, error) {
	var index ocispec.Index
	data, err := readSmall(l.tree, ocispec.ImageIndexFile)
	if errors.Is(err, fs.ErrNotExist) {
		return ocispec.Descriptor{}, "", errors.New("not an OCI image layout: there is no index.json")
	} else if err != nil {
		return ocispec.Descriptor{}, "", err
	}
	if err := json.Unmarshal(data, &index); err != nil {
		return ocispec.Descriptor{}, "", fmt.Errorf("index.json: %w", err)
	}
	var exact, byTag []ocispec.Descriptor // an image called 1.2 goes before one called app:1.2
	var names []string
	for _, d := range index.Manifests {
		given := annotatedNames(d)
		names = append(names, given...)
		switch {
		case selector == "", d.Digest.String() == selector, slices.Contains(given, selector):
			exact = append(exact, d)
		case slices.ContainsFunc(given, func(name string) bool { return strings.HasSuffix(name, ":"+selector) }):
			byTag = append(byTag, d)
		}
	}
	found := exact
	if len(found) == 0 {
		found = byTag
	}
	switch {
	case len(found) == 1:
		return found[0], fullName(found[0]), nil
	case len(found) == 0 && selector != "":
		return ocispec.Descriptor{}, "", fmt.Errorf("no image %q in it; there are: %s", selector, listed(names))
	case len(found) == 0:
		return ocispec.Descriptor{}, "", errors.New("no image in it")
	}
	return ocispec.Descriptor{}, "", fmt.Errorf("%d images in it; say which after a colon: %s", len(found), listed(names))
}

// annotatedNames are the names that index.json gives an image.
func annotatedNames(d ocispec.Descriptor) []string {
	var names []string
	for _, key := range []string{containerdName, ocispec.AnnotationRefName} {
		if name := d.Annotations[key]; name != "" && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// fullName is the first of an image's names that is more than a tag.
func fullName(d ocispec.Descriptor) string {
	for _, name := range annotatedNames(d) {
		if strings.ContainsAny(name, "/:") {
			return name
		}
	}
	return ""
}

// listed is a list for a message: as many as a person reads.
func listed(names []string) string {
	const most = 20
	if len(names) == 0 {
		return "none that has a name"
	}
	slices.Sort(names)
	if names = slices.Compact(names); len(names) > most {
		return strings.Join(names[:most], ", ") + fmt.Sprintf(" and %d more", len(names)-most)
	}
	return strings.Join(names, ", ")
}

// inMemory is a store of manifests and configs that were made here, before another that has
// the layers.
type inMemory struct {
	blobs map[digest.Digest][]byte
	store
}

func (m inMemory) manifest(ctx context.Context, d ocispec.Descriptor) ([]byte, error) {
	if data, ok := m.blobs[d.Digest]; ok {
		return data, nil
	}
	return m.store.manifest(ctx, d)
}

func (m inMemory) blob(ctx context.Context, d ocispec.Descriptor) (io.ReadCloser, error) {
	if data, ok := m.blobs[d.Digest]; ok {
		return io.NopCloser(bytes.NewReader(data)), nil
	}
	return m.store.blob(ctx, d)
}
