package source

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"airgap/internal/compression"
)

// dockerImage is one image of an archive's manifest.json, as
// https://github.com/moby/docker-image-spec/blob/main/spec.md has it.
type dockerImage struct {
	Config   string
	RepoTags []string
	Layers   []string
}

// dockerArchive finds an image in what `docker save` wrote. Docker since 25 writes an
// OCI layout with manifest.json beside it: that is taken, so that the digest is the one Docker
// shows. Before, layers had no digests: they are hashed here, all of them, and get an OCI
// manifest.
func dockerArchive(ctx context.Context, t tree, selector string) (ocispec.Descriptor, string, store, error) {
	fail := func(err error) (ocispec.Descriptor, string, store, error) {
		return ocispec.Descriptor{}, "", nil, err
	}
	image, err := findDockerImage(t, selector)
	if err != nil {
		return fail(err)
	}
	name := ""
	if len(image.RepoTags) > 0 {
		name = image.RepoTags[0]
	}
	if i := slices.IndexFunc(image.RepoTags, func(tag string) bool { return sameReference(tag, selector) }); i >= 0 {
		name = image.RepoTags[i]
	}
	if root, ok := modernRoot(t, image, name); ok {
		return root, name, layoutStore{t}, nil
	}
	config, err := readSmall(t, image.Config)
	if err != nil {
		return fail(fmt.Errorf("the config of %s: %w", name, err))
	}
	layers := archiveLayers{tree: t, paths: map[digest.Digest]string{}}
	manifest := ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2},
		MediaType: ocispec.MediaTypeImageManifest,
		Config:    ocispec.Descriptor{MediaType: ocispec.MediaTypeImageConfig, Digest: digest.FromBytes(config), Size: int64(len(config))},
		Layers:    []ocispec.Descriptor{},
	}
	for _, path := range image.Layers {
		d, err := hashLayer(ctx, t, path)
		if err != nil {
			return fail(fmt.Errorf("layer %s of %s: %w", path, name, err))
		}
		manifest.Layers = append(manifest.Layers, d)
		layers.paths[d.Digest] = path
	}
	data, err := json.Marshal(manifest)
	if err != nil {
		return fail(err)
	}
	root := ocispec.Descriptor{MediaType: manifest.MediaType, Digest: digest.FromBytes(data), Size: int64(len(data))}
	made := map[digest.Digest][]byte{root.Digest: data, manifest.Config.Digest: config}
	return root, name, inMemory{made, layers}, nil
}

// findDockerImage picks the image that selector names out of manifest.json.
func findDockerImage(t tree, selector string) (dockerImage, error) {
	data, err := readSmall(t, "manifest.json")
	if errors.Is(err, fs.ErrNotExist) {
		return dockerImage{}, errors.New("not a docker archive: there is no manifest.json (for an OCI archive, write oci-archive:)")
	} else if err != nil {
		return dockerImage{}, err
	}
	var images []dockerImage
	if err := json.Unmarshal(data, &images); err != nil {
		return dockerImage{}, fmt.Errorf("manifest.json: %w", err)
	}
	var names []string
	var found []dockerImage
	for _, image := range images {
		names = append(names, image.RepoTags...)
		if selector == "" || slices.ContainsFunc(image.RepoTags, func(tag string) bool { return sameReference(tag, selector) }) {
			found = append(found, image)
		}
	}
	switch {
	case len(found) == 1:
		return found[0], nil
	case len(found) == 0:
		return dockerImage{}, fmt.Errorf("no image %q in it; there are: %s", selector, listed(names))
	}
	return dockerImage{}, fmt.Errorf("%d images in it; say which after a colon: %s", len(found), listed(names))
}

// sameReference compares two references as Docker reads them.
func sameReference(a, b string) bool {
	x, errX := Normalize(a)
	y, errY := Normalize(b)
	return errX == nil && errY == nil && x == y
}

// modernRoot finds the image in the OCI layout of a Docker 25 archive: the one that is called by that
// name, or stands alone, and has the config that manifest.json says.
func modernRoot(t tree, image dockerImage, name string) (ocispec.Descriptor, bool) {
	l := layoutStore{t}
	reference, err := Normalize(name)
	if err != nil {
		return ocispec.Descriptor{}, false
	}
	root, _, err := l.find(reference.String())
	if err != nil {
		root, _, err = l.find("")
	}
	if err != nil {
		return ocispec.Descriptor{}, false
	}
	data, err := readSmall(t, blobPath(root.Digest))
	if err != nil {
		return ocispec.Descriptor{}, false
	}
	if root.MediaType != ocispec.MediaTypeImageManifest && root.MediaType != dockerManifest {
		return root, true // an index, which has more configs than one
	}
	var manifest ocispec.Manifest
	err = json.Unmarshal(data, &manifest)
	return root, err == nil && blobPath(manifest.Config.Digest) == image.Config
}

// hashLayer makes the descriptor of a layer that has none.
func hashLayer(ctx context.Context, t tree, path string) (ocispec.Descriptor, error) {
	reader, size, err := t.open(path)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	defer reader.Close()
	head := make([]byte, compression.HeadBytes)
	n, err := io.ReadFull(reader, head)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		return ocispec.Descriptor{}, err
	}
	mediaType := ocispec.MediaTypeImageLayer
	head = head[:n]
	switch compression.Of(head) {
	case compression.Gzip:
		mediaType = ocispec.MediaTypeImageLayerGzip
	case compression.Zstd:
		mediaType = ocispec.MediaTypeImageLayerZstd
	}
	hash := sha256.New()
	hash.Write(head)
	if _, err := io.Copy(hash, contextReader{ctx, reader}); err != nil {
		return ocispec.Descriptor{}, err
	}
	return ocispec.Descriptor{MediaType: mediaType, Digest: digest.NewDigest(digest.SHA256, hash), Size: size}, nil
}

// archiveLayers is a store of layers that are known by their paths.
type archiveLayers struct {
	tree  tree
	paths map[digest.Digest]string
}

func (a archiveLayers) manifest(_ context.Context, d ocispec.Descriptor) ([]byte, error) {
	return nil, fmt.Errorf("no manifest %s in the archive", d.Digest)
}

func (a archiveLayers) blob(_ context.Context, d ocispec.Descriptor) (io.ReadCloser, error) {
	path, ok := a.paths[d.Digest]
	if !ok {
		return nil, fmt.Errorf("no layer %s in the archive", d.Digest)
	}
	reader, _, err := a.tree.open(path)
	return reader, err
}
