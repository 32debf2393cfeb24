package registry

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"
)

// checkpoint makes durable, then registers under the lease, every blob that is verified and
// every layer that is unpacked and whose parents are. Each step may be the last: see
// the package's invariants 2, 3 and 5.
func (i *Import) checkpoint(ctx context.Context) error {
	i.saving.Lock()
	defer i.saving.Unlock()
	blobs, layers := i.complete()
	if len(blobs) == 0 && len(layers) == 0 {
		return nil
	}
	for _, l := range layers {
		if err := i.inherit(ctx, l); err != nil {
			return fmt.Errorf("layer %s: %w", l.blob.desc.Digest, err)
		}
	}
	if err := i.store.sync(); err != nil {
		return err
	}
	if err := i.publish(blobs); err != nil {
		return err
	}
	err := i.store.update(ctx, func(ctx context.Context) error {
		for _, n := range blobs {
			if err := i.register(ctx, n); err != nil {
				return fmt.Errorf("register blob %s: %w", n.desc.Digest, err)
			}
		}
		for _, l := range layers {
			if err := i.commitLayer(ctx, l); err != nil {
				return fmt.Errorf("commit snapshot of layer %s: %w", l.blob.desc.Digest, err)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, l := range layers {
		l.committed = true
	}
	return nil
}

// complete lists what can be registered.
func (i *Import) complete() (blobs []*node, layers []*layer) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, n := range i.nodes {
		if n.expanded && !n.registered { // present, and referred to
			blobs = append(blobs, n)
		}
	}
	listed := map[*layer]bool{}
	for _, l := range i.order {
		if !l.unpacked || l.committed {
			continue
		}
		if l.parent == nil || l.parent.committed || listed[l.parent] {
			listed[l] = true
			layers = append(layers, l)
		}
	}
	return blobs, layers
}

// publish moves blobs, which are synced, from staging to where containerd has them.
func (i *Import) publish(blobs []*node) error {
	if len(blobs) == 0 {
		return nil
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, n := range blobs {
		path := i.store.blobPath(n.desc.Digest.Encoded())
		if err := os.Rename(i.stagingPath(n.desc.Digest), path); err != nil {
			return err
		}
		n.registered = true
	}
	return syncFolder(filepath.Join(i.store.contentRoot, "blobs", "sha256"))
}

// register enters a blob, whose file is in place, in the database. With the file there
// containerd's writer has nothing to write: it takes over what it finds.
func (i *Import) register(ctx context.Context, n *node) error {
	w, err := i.store.db.ContentStore().Writer(ctx,
		content.WithRef("airgap-import-"+n.desc.Digest.String()), content.WithDescriptor(n.desc))
	if errdefs.IsAlreadyExists(err) {
		return nil // and now leased
	}
	if err != nil {
		return err
	}
	defer w.Close()
	return w.Commit(ctx, n.desc.Size, n.desc.Digest)
}

func (i *Import) commitLayer(ctx context.Context, l *layer) error {
	options := l.options()
	if l.parent != nil {
		options = append(options, snapshots.WithParent(l.parent.chainID.String()))
	}
	return i.store.snapshotter().Commit(withUsage(ctx, l.usage), l.chainID.String(), l.key(), options...)
}

// inherit completes a layer whose parents are all unpacked: see impliedFolders.
func (i *Import) inherit(ctx context.Context, l *layer) error {
	if len(l.implied) == 0 || l.parent == nil {
		return nil
	}
	var lowers []string
	for parent := l.parent; parent != nil; parent = parent.parent {
		if parent.folder != "" {
			lowers = append(lowers, parent.folder)
			continue
		}
		info, err := i.store.snapshotter().Stat(ctx, parent.chainID.String())
		if err != nil {
			return err
		}
		if info.Labels[upperLabel] == "" {
			return errors.New("the overlay snapshotter does not say where a snapshot is")
		}
		lowers = append(lowers, info.Labels[upperLabel])
	}
	return inheritFolders(l.folder, l.implied, lowers)
}
