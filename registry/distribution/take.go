package distribution

import (
	"context"
	"fmt"
	"net/http"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Take makes another node's record this node's: it gets what the record's manifest needs through fetch, which stores a
// blob under the lease of its context, and names it when all is here.
func (s *Site) Take(ctx context.Context, record Record, fetch func(ctx context.Context, desc ocispec.Descriptor) error) error {
	if err := ParseRecordName(record.Name); err != nil {
		return err
	}
	if record.Deleted {
		return s.name(ctx, record)
	}
	ctx, end, err := s.lease(ctx)
	if err != nil {
		return err
	}
	defer end()
	if err := s.takeContent(ctx, record.Target, 0, fetch); err != nil {
		return fmt.Errorf("%s: %w", record.Name, err)
	}
	return s.name(ctx, record)
}

// takeContent gets one blob and what it refers to.
func (s *Site) takeContent(ctx context.Context, desc ocispec.Descriptor, depth int, fetch func(context.Context, ocispec.Descriptor) error) error {
	if _, err := parseBlobDigest(desc.Digest.String()); err != nil {
		return err
	}
	manifest := isManifest(desc)
	if manifest && (desc.Size > MaxManifestBytes || depth > maxDepth) {
		return newError(http.StatusBadRequest, CodeManifestInvalid, "manifest %s: too large or too deep", desc.Digest)
	}
	if err := s.keep(ctx, desc.Digest); err != nil {
		return err
	}
	if held, err := s.content.has(ctx, desc); err != nil {
		return err
	} else if !held {
		if err := s.options.Space(desc.Size); err != nil {
			return err
		}
		if err := fetch(ctx, desc); err != nil {
			return err
		}
	}
	if !manifest {
		return nil
	}
	data, err := content.ReadBlob(ctx, s.options.Blobs, desc)
	if err != nil {
		return err
	}
	_, doc, err := parseManifest(data, desc.MediaType)
	if err != nil {
		return err
	}
	for _, child := range doc.children() {
		if images.IsNonDistributable(child.MediaType) && len(child.URLs) > 0 {
			continue
		}
		if err := s.takeContent(ctx, child, depth+1, fetch); err != nil {
			return err
		}
	}
	return s.storeManifest(ctx, desc, data, doc)
}

// name makes a record of another node this node's, if it is later than the own one. The content must be whole here and under
// the lease of ctx.
func (s *Site) name(ctx context.Context, record Record) error {
	s.changing.Lock()
	defer s.changing.Unlock()
	image, err := s.options.Images.Get(s.inNamespace(ctx), SiteHost+"/"+record.Name)
	if err != nil && !errdefs.IsNotFound(err) {
		return err
	}
	if own, ok := recordOf(image); err == nil && ok && !record.Later(own) {
		return nil
	}
	s.see(record.Time)
	return s.write(ctx, record)
}
