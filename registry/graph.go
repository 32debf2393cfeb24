package registry

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/identity"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// node is a blob of the import. It exists once an image's graph has reached it, or its
// bytes have come.
type node struct {
	desc       ocispec.Descriptor // media type empty until something refers to it
	required   bool               // Commit needs it: part of an image for the wanted platform
	present    bool               // verified: staged, or registered by an earlier import
	registered bool               // under blobs/sha256 and in containerd's database
	expanded   bool
	artifact   bool                 // of a manifest, once expanded: it is no container image
	children   []ocispec.Descriptor // of an index or manifest, once expanded
	manifests  []*node              // of a configuration: those that have it and are to be unpacked
	layers     []*layer             // snapshots that are made from this blob
	top        digest.Digest        // of a configuration: chain ID of its last layer
	diffID     digest.Digest        // of a layer, once unpacked: the digest of what it contains
}

// want notes that an image refers to the blob desc, and goes on into it if it is there.
// The caller holds i.mu.
func (i *Import) want(desc ocispec.Descriptor, required bool) error {
	if _, err := parseDigest(desc.Digest.String()); err != nil {
		return err
	}
	n := i.nodes[desc.Digest]
	if n == nil {
		n = &node{desc: desc}
		i.nodes[desc.Digest] = n
	}
	if n.desc.Size != desc.Size {
		return fmt.Errorf("blob %s has %d bytes, an image refers to it with %d", desc.Digest, n.desc.Size, desc.Size)
	}
	again := n.expanded && required && !n.required // reached before as something not needed
	if n.desc.MediaType == "" {
		n.desc = desc
	}
	n.required = n.required || required
	if !n.present {
		_, err := i.store.db.ContentStore().Info(i.ctx, desc.Digest)
		if err != nil && !errdefs.IsNotFound(err) {
			return err
		}
		n.present = err == nil
		n.registered = n.present
	}
	if again {
		n.expanded = false
	}
	return i.expand(n)
}

// expand follows what a blob refers to, once the blob is present and known to be referred to.
// Each is expanded once: a graph has no cycles, being made of digests. The caller holds i.mu.
func (i *Import) expand(n *node) error {
	if !n.present || n.expanded || n.desc.MediaType == "" {
		return nil
	}
	n.expanded = true
	for _, l := range n.layers {
		i.enqueue(l)
	}
	var err error
	switch {
	case images.IsIndexType(n.desc.MediaType):
		err = i.expandIndex(n)
	case images.IsManifestType(n.desc.MediaType):
		err = i.expandManifest(n)
	case images.IsConfigType(n.desc.MediaType):
		for _, manifest := range n.manifests {
			if err = i.chain(manifest, n); err != nil {
				break
			}
		}
	}
	if err != nil {
		return fmt.Errorf("%s %s: %w", n.desc.MediaType, n.desc.Digest, err)
	}
	return nil
}

// expandIndex picks, of an index' manifests, the best for the platform as containerd will.
// The others are stored if they come, but not needed.
func (i *Import) expandIndex(n *node) error {
	var index ocispec.Index
	if err := i.readJSON(n, &index); err != nil {
		return err
	}
	n.children = index.Manifests
	best := -1
	for at, child := range n.children {
		if child.Platform == nil || !i.platform.Match(*child.Platform) {
			continue
		}
		if best < 0 || i.platform.Less(*child.Platform, *n.children[best].Platform) {
			best = at
		}
	}
	for at, child := range n.children {
		// Without any platform named, the configuration tells: see chain.
		if err := i.want(child, n.required && (at == best || best < 0 && child.Platform == nil)); err != nil {
			return err
		}
	}
	return nil
}

func (i *Import) expandManifest(n *node) error {
	var manifest ocispec.Manifest
	if err := i.readJSON(n, &manifest); err != nil {
		return err
	}
	n.children = append([]ocispec.Descriptor{manifest.Config}, manifest.Layers...)
	for _, child := range n.children {
		if err := i.want(child, n.required); err != nil {
			return err
		}
	}
	n.artifact = isArtifact(&manifest)
	if !n.required || n.artifact {
		return nil // another platform's, or nothing to unpack
	}
	config := i.nodes[manifest.Config.Digest]
	config.manifests = append(config.manifests, n)
	if config.present {
		return i.chain(n, config)
	}
	return nil
}

// isArtifact says whether a manifest is no container image. Cosign's signatures have an image's configuration and no
// layer that could be unpacked.
func isArtifact(m *ocispec.Manifest) bool {
	if !images.IsConfigType(m.Config.MediaType) {
		return true
	}
	return len(m.Layers) > 0 && !slices.ContainsFunc(m.Layers, func(d ocispec.Descriptor) bool { return images.IsLayerType(d.MediaType) })
}

// chain makes the layers of the image with the given manifest and configuration. The
// caller holds i.mu.
func (i *Import) chain(manifest, config *node) error {
	var spec ocispec.Image
	if err := i.readJSON(config, &spec); err != nil {
		return fmt.Errorf("configuration %s: %w", config.desc.Digest, err)
	}
	if !i.platform.Match(platforms.Normalize(spec.Platform)) {
		return fmt.Errorf("image is for %s, this import is for %s",
			platforms.Format(spec.Platform), platforms.Format(i.wanted))
	}
	blobs := slices.DeleteFunc(slices.Clone(manifest.children[1:]), func(d ocispec.Descriptor) bool {
		return !images.IsLayerType(d.MediaType)
	})
	diffIDs := spec.RootFS.DiffIDs
	if len(blobs) != len(diffIDs) {
		return fmt.Errorf("configuration %s has %d layers, the manifest %d", config.desc.Digest, len(diffIDs), len(blobs))
	}
	for _, id := range diffIDs {
		if _, err := parseDigest(id.String()); err != nil {
			return fmt.Errorf("configuration %s: %w", config.desc.Digest, err)
		}
	}
	var parent *layer
	for at, chainID := range identity.ChainIDs(slices.Clone(diffIDs)) {
		l, err := i.layer(chainID, diffIDs[at], parent, blobs[at])
		if err != nil {
			return err
		}
		parent = l
		config.top = chainID
	}
	return nil
}

// layer returns the layer with the given chain ID, and sees to its being unpacked if there is no snapshot yet.
func (i *Import) layer(chainID, diffID digest.Digest, parent *layer, blob ocispec.Descriptor) (*layer, error) {
	if l := i.layers[chainID]; l != nil {
		return l, nil
	}
	l := &layer{chainID: chainID, diffID: diffID, parent: parent, blob: i.nodes[blob.Digest]}
	_, err := i.store.snapshotter().Stat(i.ctx, chainID.String())
	switch {
	case err == nil:
		l.unpacked, l.committed = true, true
		l.blob.diffID = diffID
	case !errdefs.IsNotFound(err):
		return nil, err
	}
	i.layers[chainID] = l
	if l.committed {
		return l, nil
	}
	i.order = append(i.order, l)
	i.total += blob.Size
	l.blob.layers = append(l.blob.layers, l)
	if l.blob.present {
		i.enqueue(l)
	}
	return l, nil
}

// readJSON decodes a metadata blob, which is present.
func (i *Import) readJSON(n *node, into any) error {
	if n.desc.Size > MaxMetadataBytes {
		return fmt.Errorf("it has %d bytes, more than metadata may have (%d)", n.desc.Size, MaxMetadataBytes)
	}
	file, err := i.open(n)
	if err != nil {
		return err
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, MaxMetadataBytes))
	if err != nil {
		return err
	}
	return json.Unmarshal(data, into)
}

// open opens a blob that is present, wherever it is. The caller holds i.mu, so that it
// is not moved meanwhile.
func (i *Import) open(n *node) (*os.File, error) {
	if n.registered {
		return os.Open(i.store.blobPath(n.desc.Digest.Encoded()))
	}
	return os.Open(i.stagingPath(n.desc.Digest))
}
