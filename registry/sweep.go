package registry

import (
	"context"
	"fmt"
	"strings"

	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/core/metadata"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"
	bolt "go.etcd.io/bbolt"
)

// snapshotResource is the type of a snapshot in a lease.
const snapshotResource = "snapshots/" + snapshotterName

// sweep removes what an interrupted import left half done: snapshots that were being
// unpacked, under whatever lease, for only one import can be going on; snapshots that the
// snapshotter knows and the metadata does not; folders that neither knows.
func (s *Store) sweep(ctx context.Context) error {
	halfDone, err := s.halfUnpacked(ctx)
	if err != nil {
		return err
	}
	orphaned, err := s.hasOrphans(ctx)
	if err != nil {
		return err
	}
	if len(halfDone) > 0 || orphaned {
		err := s.update(ctx, func(ctx context.Context) error {
			for _, key := range halfDone {
				if err := s.snapshotter().Remove(ctx, key); err != nil && !errdefs.IsNotFound(err) {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		if len(halfDone) == 0 {
			// The collector looks at the snapshotter only after a snapshot was removed.
			const key = unpackPrefix + "sweep"
			if _, err := s.snapshotter().Prepare(ctx, key, ""); err != nil {
				return err
			}
			if err := s.snapshotter().Remove(ctx, key); err != nil {
				return err
			}
		}
		if err := s.collect(ctx); err != nil {
			return err
		}
	}
	return s.overlay.Cleanup(ctx)
}

// halfUnpacked returns the keys of snapshots that an import was unpacking. They are
// all in leases, also those whose counterpart in the snapshotter is gone.
func (s *Store) halfUnpacked(ctx context.Context) ([]string, error) {
	manager := metadata.NewLeaseManager(s.db)
	all, err := manager.List(ctx)
	if err != nil {
		return nil, err
	}
	var keys []string
	for _, lease := range all {
		resources, err := manager.ListResources(ctx, leases.Lease{ID: lease.ID})
		if err != nil {
			return nil, err
		}
		for _, resource := range resources {
			if resource.Type == snapshotResource && strings.HasPrefix(resource.ID, unpackPrefix) {
				keys = append(keys, resource.ID)
			}
		}
	}
	return keys, nil
}

// hasOrphans compares the number of snapshots that the snapshotter has with those that the metadata
// has, over all namespaces.
func (s *Store) hasOrphans(ctx context.Context) (bool, error) {
	backend := 0
	err := s.overlay.Walk(ctx, func(context.Context, snapshots.Info) error {
		backend++
		return nil
	})
	if err != nil && !errdefs.IsNotFound(err) { // not found: the database is new
		return false, err
	}
	known := 0
	err = s.db.View(func(tx *bolt.Tx) error {
		all, err := metadata.NewNamespaceStore(tx).List(ctx)
		if err != nil {
			return err
		}
		for _, namespace := range all {
			// Bucket v1/<namespace>/snapshots/overlayfs, see core/metadata/buckets.go.
			bucket := tx.Bucket([]byte("v1"))
			for _, name := range []string{namespace, "snapshots", snapshotterName} {
				if bucket != nil {
					bucket = bucket.Bucket([]byte(name))
				}
			}
			if bucket == nil {
				continue
			}
			if err := bucket.ForEachBucket(func([]byte) error { known++; return nil }); err != nil {
				return err
			}
		}
		return nil
	})
	return backend != known, err
}

// collect runs containerd's garbage collection.
func (s *Store) collect(ctx context.Context) error {
	if _, err := s.db.GarbageCollect(ctx); err != nil {
		return fmt.Errorf("garbage collection: %w", err)
	}
	return nil
}
