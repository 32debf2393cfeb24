package registry

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/metadata"
	"github.com/containerd/containerd/v2/core/metadata/boltutil"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/containerd/v2/plugins/content/local"
	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

// Namespace is the containerd namespace of the kubelet's images.
const Namespace = "k8s.io"

// SiteNamespace is the containerd namespace of images that were pushed into the node's registry. They are apart from
// those of the kubelet, which sees a pushed image when a pod pulls it and then shares its blobs.
const SiteNamespace = "airgap-registry"

// Folders of containerd's root, named for the plugin that owns each.
const (
	contentFolder  = "io.containerd.content.v1.content"
	metadataFolder = "io.containerd.metadata.v1.bolt"
	snapshotFolder = "io.containerd.snapshotter.v1.overlayfs"
)

// snapshotterName is the overlay snapshotter's name in labels and leases.
const snapshotterName = "overlayfs"

// lockTimeout is how long OpenStore waits for the database: another process that is just
// ending gets time to let go, a running containerd never does.
const lockTimeout = 2 * time.Second

// Errors a caller decides on.
var (
	// ErrInUse says that another process, mostly containerd, has the store open.
	ErrInUse = errors.New("image store is in use")
	// ErrNotFound says that the store has no such image or blob.
	ErrNotFound = errors.New("not in the image store")
	// ErrNoSpace says that the disk is too full to go on.
	ErrNoSpace = errors.New("not enough disk space")
	// ErrIncomplete says that an import was committed before all its blobs had come.
	ErrIncomplete = errors.New("image is incomplete")
	// ErrDigest says that a layer does not unpack to what its image declares.
	ErrDigest = errors.New("digest mismatch")
)

// Store is containerd's content, metadata and overlay snapshots, opened in this process.
// It holds the database's lock: containerd waits for [Store.Close] to start.
// Its methods may be used by several goroutines.
type Store struct {
	root         string
	contentRoot  string
	snapshotRoot string

	// Folders held open from the start, so that syncfs reports every write error since.
	contentDir  *os.File
	snapshotDir *os.File

	blobs      content.Store // the files; knows neither names nor labels
	overlay    *overlayBackend
	bolt       *bolt.DB
	db         *metadata.DB
	images     images.Store
	importing  atomic.Bool
	separateFS bool // content and snapshots are on different filesystems
}

// OpenStore opens the store under root, containerd's root folder
// ("<data-dir>/agent/containerd"), and makes it if it is not there. containerd must not be running:
// the error is then [ErrInUse]. It needs root's privileges.
func OpenStore(root string) (_ *Store, err error) {
	s := &Store{
		root:         root,
		contentRoot:  filepath.Join(root, contentFolder),
		snapshotRoot: filepath.Join(root, snapshotFolder),
	}
	defer func() {
		if err != nil {
			s.Close()
		}
	}()
	// The modes are those that containerd gives its folders.
	for _, folder := range []struct {
		path string
		mode os.FileMode
	}{
		{root, 0o700},
		{filepath.Join(s.contentRoot, "blobs", "sha256"), 0o755},
		{filepath.Join(root, metadataFolder), 0o711},
		{s.snapshotRoot, 0o700},
	} {
		if err := os.MkdirAll(folder.path, folder.mode); err != nil {
			return nil, fmt.Errorf("open image store: %w", err)
		}
	}
	if err := s.openDatabase(filepath.Join(root, metadataFolder, "meta.db")); err != nil {
		return nil, err
	}
	if s.contentDir, err = os.Open(s.contentRoot); err != nil {
		return nil, fmt.Errorf("open image store: %w", err)
	}
	if s.snapshotDir, err = os.Open(s.snapshotRoot); err != nil {
		return nil, fmt.Errorf("open image store: %w", err)
	}
	if s.separateFS, err = onSeparateFilesystems(s.contentDir, s.snapshotDir); err != nil {
		return nil, fmt.Errorf("open image store: %w", err)
	}
	return s, nil
}

// openDatabase opens the database first, for its lock, then the stores that it indexes.
func (s *Store) openDatabase(path string) error {
	// As containerd's metadata plugin opens it (plugins/metadata/plugin.go), but for
	// the time limit.
	options := *bolt.DefaultOptions
	options.NoFreelistSync = true
	options.NoStatistics = true
	options.Timeout = lockTimeout
	var err error
	if s.bolt, err = bolt.Open(path, 0o644, &options); err != nil {
		if errors.Is(err, bolterrors.ErrTimeout) {
			return fmt.Errorf("%w: another process holds %s; stop containerd (the airgap service) and any other install, then run again", ErrInUse, path)
		}
		return fmt.Errorf("open containerd's database %s: %w", path, err)
	}
	if s.blobs, err = local.NewStore(s.contentRoot); err != nil {
		return fmt.Errorf("open content store %s: %w", s.contentRoot, err)
	}
	if s.overlay, err = newOverlayBackend(s.snapshotRoot); err != nil {
		return fmt.Errorf("open overlay snapshots %s: %w", s.snapshotRoot, err)
	}
	s.db = metadata.NewDB(s.bolt, s.blobs, map[string]snapshots.Snapshotter{snapshotterName: s.overlay})
	if err := s.db.Init(context.Background()); err != nil {
		return fmt.Errorf("open containerd's database %s: %w", path, err)
	}
	s.images = metadata.NewImageStore(s.db)
	return nil
}

// Close releases the store, and the lock that keeps containerd from starting.
// An [Import] must have ended before.
func (s *Store) Close() error {
	var errs []error
	if s.overlay != nil {
		errs = append(errs, s.overlay.Close())
	}
	if s.bolt != nil {
		errs = append(errs, s.bolt.Close())
	}
	for _, dir := range []*os.File{s.contentDir, s.snapshotDir} {
		if dir != nil {
			errs = append(errs, dir.Close())
		}
	}
	return errors.Join(errs...)
}

// sync waits until every file written so far is on the disk. It reports the write errors
// that happened since the store was opened or last synced.
func (s *Store) sync() error {
	if err := syncFilesystem(s.contentDir); err != nil {
		return err
	}
	if s.separateFS {
		return syncFilesystem(s.snapshotDir)
	}
	return nil
}

// update runs fn in one transaction of the metadata database around one of the
// snapshotter's. The snapshotter's is committed first: should only it survive, it holds
// snapshots that the metadata does not know, which [Store.sweep] removes.
func (s *Store) update(ctx context.Context, fn func(context.Context) error) error {
	return s.db.Update(func(tx *bolt.Tx) error {
		return s.overlay.batch(boltutil.WithTransaction(ctx, tx), fn)
	})
}

// blobPath returns the path of a blob's file.
func (s *Store) blobPath(hex string) string {
	return filepath.Join(s.contentRoot, "blobs", "sha256", hex)
}

// inNamespace gives ctx the namespace that every call of containerd's code needs.
func inNamespace(ctx context.Context) context.Context {
	return namespaces.WithNamespace(ctx, Namespace)
}

// snapshotter returns the snapshotter that keeps the metadata in step.
func (s *Store) snapshotter() snapshots.Snapshotter {
	return s.db.Snapshotter(snapshotterName)
}
