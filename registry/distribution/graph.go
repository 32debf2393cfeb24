package distribution

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"airgap/registry"
)

// maxDepth bounds indexes in indexes, as a bundle's reader does.
const maxDepth = 4

// document is an index or a manifest: the fields by which it refers to others, and those
// that the list of referrers repeats.
type document struct {
	Manifests    []ocispec.Descriptor `json:"manifests"`
	Config       *ocispec.Descriptor  `json:"config"`
	Layers       []ocispec.Descriptor `json:"layers"`
	Subject      *ocispec.Descriptor  `json:"subject"`
	ArtifactType string               `json:"artifactType"`
	Annotations  map[string]string    `json:"annotations"`
}

// children are what a document is not whole without. Its subject is not among them.
func (d *document) children() []ocispec.Descriptor {
	list := slices.Concat(d.Manifests, d.Layers)
	if d.Config != nil {
		list = append(list, *d.Config)
	}
	return list
}

// walk calls visit with every descriptor that the images reach, each digest once, and with the document
// if it is an index or a manifest that the node holds. It ends when visit returns false.
func (c Content) walk(ctx context.Context, list []images.Image, visit func(ocispec.Descriptor, *document) bool) error {
	type step struct {
		desc  ocispec.Descriptor
		depth int
	}
	var queue []step
	for _, image := range list {
		queue = append(queue, step{image.Target, 0})
	}
	seen := map[digest.Digest]bool{}
	for len(queue) > 0 {
		at := queue[0]
		queue = queue[1:]
		if seen[at.desc.Digest] || at.depth > maxDepth {
			continue
		}
		seen[at.desc.Digest] = true
		doc, err := c.document(ctx, at.desc)
		if err != nil {
			return err
		}
		if !visit(at.desc, doc) {
			return nil
		}
		if doc == nil {
			continue
		}
		for _, child := range doc.children() {
			queue = append(queue, step{child, at.depth + 1})
		}
	}
	return nil
}

// document reads an index or a manifest. It is nil for other blobs, and for what the
// node does not hold.
func (c Content) document(ctx context.Context, desc ocispec.Descriptor) (*document, error) {
	if !isManifest(desc) || desc.Size > registry.MaxMetadataBytes {
		return nil, nil
	}
	data, err := content.ReadBlob(c.inNamespace(ctx), c.Blobs, desc)
	if errdefs.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", desc.MediaType, desc.Digest, err)
	}
	var doc document
	if err := json.Unmarshal(data, &doc); err != nil {
		return nil, fmt.Errorf("%s %s: %w", desc.MediaType, desc.Digest, err)
	}
	return &doc, nil
}

func isManifest(desc ocispec.Descriptor) bool {
	return images.IsIndexType(desc.MediaType) || images.IsManifestType(desc.MediaType)
}

// find returns the descriptor of a digest that images of the repository reach and the node
// holds; ok is false if there is none. A repository without images is an [*Error].
func (c Content) find(ctx context.Context, repository string, d digest.Digest) (desc ocispec.Descriptor, ok bool, err error) {
	list, err := c.repository(ctx, repository)
	if err != nil {
		return ocispec.Descriptor{}, false, err
	}
	err = c.walk(ctx, list, func(at ocispec.Descriptor, _ *document) bool {
		if at.Digest == d {
			desc, ok = at, true
		}
		return !ok
	})
	if err != nil || !ok {
		return ocispec.Descriptor{}, false, err
	}
	ok, err = c.has(ctx, desc)
	return desc, ok, err
}
