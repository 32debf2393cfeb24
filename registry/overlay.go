package registry

import (
	"context"
	"errors"
	"os"
	"path/filepath"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/core/snapshots/storage"
	"github.com/containerd/containerd/v2/plugins/snapshots/overlay"
	"github.com/containerd/errdefs"
	bolt "go.etcd.io/bbolt"
)

// upperLabel is the label under which the overlay snapshotter tells where a snapshot's own
// files are. It is computed, not stored.
const upperLabel = "containerd.io/snapshot/overlay.upperdir"

// overlayBackend is containerd's overlay snapshotter with two things added: many changes
// in one transaction, and commits that do not walk the tree when its usage is known.
type overlayBackend struct {
	snapshots.Snapshotter
	store batchStore
	root  string
}

func newOverlayBackend(root string) (*overlayBackend, error) {
	store, err := storage.NewMetaStore(filepath.Join(root, "metadata.db"), func(o *bolt.Options) error {
		o.Timeout = lockTimeout
		return nil
	})
	if err != nil {
		return nil, err
	}
	batches := batchStore{store}
	snapshotter, err := overlay.NewSnapshotter(root, overlay.WithMetaStore(batches),
		overlay.AsynchronousRemove, overlay.WithUpperdirLabel)
	if err != nil {
		return nil, err
	}
	return &overlayBackend{Snapshotter: snapshotter, store: batches, root: root}, nil
}

// batch runs fn inside one transaction of the snapshotter's database. Every call of
// the snapshotter with the context that fn gets is part of it.
func (o *overlayBackend) batch(ctx context.Context, fn func(context.Context) error) error {
	return o.store.MetaStore.WithTransaction(ctx, true, func(ctx context.Context) error {
		return fn(context.WithValue(ctx, batchKey{}, true))
	})
}

// Commit makes key's snapshot the committed one called name. With a usage in the context
// (see [withUsage]) the snapshotter's walk over all its files is saved.
func (o *overlayBackend) Commit(ctx context.Context, name, key string, opts ...snapshots.Opt) error {
	usage, known := ctx.Value(usageKey{}).(snapshots.Usage)
	if !known {
		return o.Snapshotter.Commit(ctx, name, key, opts...)
	}
	return o.store.WithTransaction(ctx, true, func(ctx context.Context) error {
		_, err := storage.CommitActive(ctx, key, name, usage, opts...)
		return err
	})
}

// Cleanup removes the folders of snapshots that are not in the database: removed ones, and those of a
// transaction that was interrupted, whose numbers will be given again.
func (o *overlayBackend) Cleanup(ctx context.Context) error {
	err := o.Snapshotter.(snapshots.Cleaner).Cleanup(ctx)
	if !errdefs.IsNotFound(err) {
		return err
	}
	// The database has no snapshot yet.
	folders, err := filepath.Glob(filepath.Join(o.root, "snapshots", "*"))
	for _, folder := range folders {
		err = errors.Join(err, os.RemoveAll(folder))
	}
	return err
}

// withUsage tells overlayBackend.Commit the size and inodes of the snapshot.
func withUsage(ctx context.Context, usage snapshots.Usage) context.Context {
	return context.WithValue(ctx, usageKey{}, usage)
}

type (
	batchKey struct{} // the context holds the transaction of a batch
	usageKey struct{} // the context holds a snapshots.Usage
)

// batchStore is the snapshotter's database, which takes part in the transaction of a
// batch instead of making one for each call.
type batchStore struct{ *storage.MetaStore }

func (b batchStore) WithTransaction(ctx context.Context, writable bool, fn storage.TransactionCallback) error {
	if ctx.Value(batchKey{}) != nil {
		return fn(ctx)
	}
	return b.MetaStore.WithTransaction(ctx, writable, fn)
}
