package registry

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/pkg/labels"
	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Commit waits for the last layers, syncs everything, then makes all images visible and
// ends the lease in one transaction. When a blob has not come, the error is [ErrIncomplete]
// and the import goes on: Blob may be called again. After another error only Close and
// Abort may be called.
func (i *Import) Commit(ctx context.Context) error {
	if err := i.failed(ctx); err != nil {
		return err
	}
	if err := i.requireComplete(); err != nil {
		return err
	}
	i.mu.Lock()
	i.closed = true
	i.work.Broadcast()
	i.mu.Unlock()
	stop := context.AfterFunc(ctx, func() { i.fail(ctx.Err()) })
	i.workers.Wait()
	stop()
	if err := i.failed(ctx); err != nil {
		return err
	}
	if err := i.checkpoint(i.ctx); err != nil {
		return i.store.explainSpace(fmt.Errorf("import: %w", err))
	}
	if err := i.store.update(i.ctx, i.finish); err != nil {
		return i.store.explainSpace(fmt.Errorf("import: %w", err))
	}
	return i.Close()
}

// requireComplete checks that every blob that an image needs has come.
func (i *Import) requireComplete() error {
	i.mu.Lock()
	defer i.mu.Unlock()
	var errs []error
	for _, image := range i.images {
		var missing []error
		i.walk(image.target, func(n *node) {
			if n.required && !n.present {
				missing = append(missing, fmt.Errorf("%w: %s lacks its blob %s", ErrIncomplete, image.names[0].full, n.desc.Digest))
			}
		})
		if len(missing) == 0 && i.manifest(image.target) == nil {
			missing = append(missing, fmt.Errorf("%w: %s has nothing for %s", ErrIncomplete, image.names[0].full, platforms.Format(i.wanted)))
		}
		errs = append(errs, missing...)
	}
	return errors.Join(errs...)
}

// walk visits every blob that target refers to, itself included, each once, as far as known.
func (i *Import) walk(target ocispec.Descriptor, visit func(*node)) {
	seen := map[digest.Digest]bool{}
	var descend func(digest.Digest)
	descend = func(d digest.Digest) {
		n := i.nodes[d]
		if n == nil || seen[d] {
			return
		}
		seen[d] = true
		visit(n)
		for _, child := range n.children {
			descend(child.Digest)
		}
	}
	descend(target.Digest)
}

// manifest returns the image's manifest for the wanted platform, nil if it has none.
func (i *Import) manifest(target ocispec.Descriptor) *node {
	var found *node
	i.walk(target, func(n *node) {
		if found == nil && n.required && n.present && images.IsManifestType(n.desc.MediaType) {
			found = n
		}
	})
	return found
}

// finish labels the blobs, makes the names and ends the lease. It runs in one transaction.
func (i *Import) finish(ctx context.Context) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	origin := map[*node]sources{}
	for _, image := range i.images {
		i.walk(image.target, func(n *node) {
			if origin[n] == nil {
				origin[n] = sources{}
			}
			origin[n].add(image.names)
		})
	}
	for n, from := range origin {
		if !n.present {
			continue // another platform's
		}
		if err := i.labelBlob(ctx, n, from); err != nil {
			return fmt.Errorf("label blob %s: %w", n.desc.Digest, err)
		}
	}
	for _, image := range i.images {
		if err := i.name(ctx, image); err != nil {
			return fmt.Errorf("name image %s: %w", image.names[0].full, err)
		}
	}
	return i.leases.Delete(ctx, i.lease)
}

// labelBlob sets what containerd's pull sets: what the blob refers to, for the garbage
// collection; what it unpacks to; where it comes from.
func (i *Import) labelBlob(ctx context.Context, n *node, from sources) error {
	blobs := i.store.db.ContentStore()
	info, err := blobs.Info(ctx, n.desc.Digest)
	if err != nil {
		return err
	}
	set := maps.Clone(info.Labels)
	if set == nil {
		set = map[string]string{}
	}
	maps.Copy(set, childLabels(n.children))
	if n.diffID != "" {
		set[labels.LabelUncompressed] = n.diffID.String()
	}
	if n.top != "" {
		set[labelSnapshotRef] = n.top.String()
	}
	from.labels(info.Labels, set)
	if maps.Equal(set, info.Labels) {
		return nil
	}
	_, err = blobs.Update(ctx, content.Info{Digest: n.desc.Digest, Labels: set}, "labels")
	return err
}

// name makes the records under which CRI knows the image.
func (i *Import) name(ctx context.Context, image *image) error {
	set := map[string]string{LabelManaged: Managed}
	maps.Copy(set, image.labels)
	var config digest.Digest
	if manifest := i.manifest(image.target); !manifest.artifact {
		config = manifest.children[0].Digest
	}
	// The annotations of an index.json, if it came with any, are the bundle's and not the image's.
	target := ocispec.Descriptor{MediaType: image.target.MediaType, Digest: image.target.Digest, Size: image.target.Size}
	for _, name := range recordNames(image.names, target.Digest, config) {
		record := images.Image{Name: name, Target: target, Labels: set}
		_, err := i.store.images.Create(ctx, record)
		if errdefs.IsAlreadyExists(err) {
			paths := []string{"target"}
			for _, key := range slices.Sorted(maps.Keys(set)) {
				paths = append(paths, "labels."+key)
			}
			_, err = i.store.images.Update(ctx, record, paths...)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Abort ends the import and removes what it brought: the blobs and snapshots that only
// its lease protected. It does so by containerd's own garbage collection, so whatever else nothing refers to
// goes as well. An import that was interrupted is aborted by starting
// it again with the same lease, with or without images, and calling Abort.
func (i *Import) Abort(ctx context.Context) error {
	if i.ended {
		return errors.New("import: it has ended")
	}
	i.stop(errors.New("import: aborted"))
	ctx = leases.WithLease(inNamespace(ctx), i.lease.ID)
	if err := i.store.sweep(ctx); err != nil {
		return fmt.Errorf("abort import: %w", err)
	}
	ctx = inNamespace(context.WithoutCancel(ctx))
	if err := i.leases.Delete(ctx, i.lease); err != nil {
		return fmt.Errorf("abort import: %w", err)
	}
	if err := i.store.collect(ctx); err != nil {
		return fmt.Errorf("abort import: %w", err)
	}
	return i.Close()
}
