package registry

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// adoptPushed names the images again that were pushed into the node's registry, as far as their blobs are among the verified ones.
// Nothing of them is unpacked: a pod that needs one pulls it from the node's own registry. All of one image, or nothing, is kept.
func (s *Store) adoptPushed(ctx context.Context, list []RecordedImage, verified map[digest.Digest]int64) (back int, lost []LostImage, err error) {
	ctx = namespaces.WithNamespace(ctx, SiteNamespace)
	for _, image := range list {
		target := ocispec.Descriptor{MediaType: image.MediaType, Digest: image.Digest, Size: image.Size}
		g := pushedGraph{store: s, verified: verified, children: map[digest.Digest][]ocispec.Descriptor{}}
		if _, deleted := image.Labels[labelDeletedPush]; !deleted { // a record of a deletion has no blobs
			if err := g.walk(target); err != nil {
				return back, lost, fmt.Errorf("pushed image %s: %w", image.Name, err)
			}
		}
		if len(g.missing) > 0 {
			lost = append(lost, LostImage{Name: image.Name, Missing: g.missing})
			continue
		}
		err := s.update(ctx, func(ctx context.Context) error {
			for _, d := range g.order {
				if err := s.adoptBlob(ctx, d, g.children[d.Digest]); err != nil {
					return err
				}
			}
			_, err := s.images.Create(ctx, images.Image{Name: image.Name, Target: target, Labels: image.Labels})
			if errdefs.IsAlreadyExists(err) {
				return nil
			}
			return err
		})
		if err != nil {
			return back, lost, fmt.Errorf("pushed image %s: %w", image.Name, err)
		}
		back++
	}
	return back, lost, nil
}

// labelDeletedPush marks a record that remembers that a pushed name was deleted (registry/distribution).
const labelDeletedPush = "airgap.internal/deleted"

// pushedGraph is what an image refers to.
type pushedGraph struct {
	store    *Store
	verified map[digest.Digest]int64
	order    []ocispec.Descriptor
	children map[digest.Digest][]ocispec.Descriptor
	missing  []digest.Digest
}

func (g *pushedGraph) walk(d ocispec.Descriptor) error {
	if _, seen := g.children[d.Digest]; seen {
		return nil
	}
	g.children[d.Digest] = nil
	if size, ok := g.verified[d.Digest]; !ok || size != d.Size {
		g.missing = append(g.missing, d.Digest)
		return nil
	}
	g.order = append(g.order, d)
	if !images.IsIndexType(d.MediaType) && !images.IsManifestType(d.MediaType) {
		return nil
	}
	file, err := os.Open(g.store.blobPath(d.Digest.Encoded()))
	if err != nil {
		return err
	}
	defer file.Close()
	var document struct {
		Config    *ocispec.Descriptor  `json:"config"`
		Layers    []ocispec.Descriptor `json:"layers"`
		Manifests []ocispec.Descriptor `json:"manifests"`
	}
	if err := json.NewDecoder(io.LimitReader(file, MaxMetadataBytes)).Decode(&document); err != nil {
		return err
	}
	var children []ocispec.Descriptor
	if document.Config != nil {
		children = append(children, *document.Config)
	}
	children = append(append(children, document.Layers...), document.Manifests...)
	g.children[d.Digest] = children
	for _, child := range children {
		if err := g.walk(child); err != nil {
			return err
		}
	}
	return nil
}

// adoptBlob enters a blob whose file is in place in the database, with what it refers to.
func (s *Store) adoptBlob(ctx context.Context, d ocispec.Descriptor, children []ocispec.Descriptor) error {
	blobs := s.db.ContentStore()
	w, err := blobs.Writer(ctx, content.WithRef("airgap-rebuild-"+d.Digest.String()), content.WithDescriptor(d))
	if err == nil {
		err = w.Commit(ctx, d.Size, d.Digest)
		w.Close()
	}
	if err != nil && !errdefs.IsAlreadyExists(err) {
		return fmt.Errorf("register blob %s: %w", d.Digest, err)
	}
	if len(children) == 0 {
		return nil
	}
	_, err = blobs.Update(ctx, content.Info{Digest: d.Digest, Labels: childLabels(children)}, "labels")
	return err
}

// childLabels keep what a blob refers to from the garbage collection, as containerd's pull sets them.
func childLabels(children []ocispec.Descriptor) map[string]string {
	set, count := map[string]string{}, map[string]int{}
	for _, child := range children {
		for _, key := range images.ChildGCLabels(child) {
			at := count[key]
			count[key]++
			if at > 0 || key[len(key)-1] == '.' {
				key = fmt.Sprintf("%s%d", key, at)
			}
			set[key] = child.Digest.String()
		}
	}
	return set
}
