package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/core/metadata"
	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

const (
	// stagingFolder, in the content store's folder, holds blobs that are not yet verified
	// and synced. containerd does not look at it.
	stagingFolder = "airgap-import"
	// checkpointInterval is how often what is complete is synced and registered.
	checkpointInterval = 10 * time.Second
	// maxWorkers bounds the memory that unpacking takes: see [layerBuffers].
	maxWorkers = 16
)

// ImportOptions says what is imported.
type ImportOptions struct {
	Lease    string        // names the import; a second one of the same lease continues the first
	Platform string        // the one to unpack, "linux/arm64"; empty: this machine's
	Images   []ImportImage // what Commit makes visible
	Workers  int           // layers unpacked at once; 0: one for each core
	// Progress, if set, gets the bytes of compressed layers unpacked and those known to need it.
	// It is called with a lock held: it must be quick and must not call the Import.
	Progress func(done, total int64)
}

// ImportImage is one image of an import.
type ImportImage struct {
	// Names are its references: "docker.io/library/nginx:1.29". The repository with its digest
	// and the image's ID are added as CRI does.
	Names []string
	// Target is the index or manifest that the names stand for: digest, size and media type.
	Target ocispec.Descriptor
	// Labels are set on every name, beside [LabelManaged].
	Labels map[string]string
}

// Import is an import that is going on. Blob, Commit and Abort are called by one goroutine.
type Import struct {
	store    *Store
	lease    leases.Lease
	leases   leases.Manager
	platform platforms.MatchComparer
	wanted   ocispec.Platform
	progress func(done, total int64)
	staging  string
	ctx      context.Context // with namespace and lease; ends with the import
	cancel   context.CancelCauseFunc
	workers  sync.WaitGroup
	ticker   sync.WaitGroup
	saving   sync.Mutex // one checkpoint at a time
	zstd     chan struct{}
	ended    bool

	mu     sync.Mutex // guards what follows
	work   *sync.Cond // queue, closed or ctx changed
	images []*image
	nodes  map[digest.Digest]*node
	layers map[digest.Digest]*layer // by chain ID
	order  []*layer                 // parents before children
	queue  []*layer
	closed bool // nothing more will be queued
	done   int64
	total  int64
}

// image is an [ImportImage] with its names parsed.
type image struct {
	names  []imageName
	target ocispec.Descriptor
	labels map[string]string
}

// Import starts an import, or continues the one that had the same lease and did not end.
// The store can have one at a time.
func (s *Store) Import(ctx context.Context, opts ImportOptions) (_ *Import, err error) {
	if opts.Lease == "" {
		return nil, errors.New("import: no lease given")
	}
	platform := platforms.DefaultSpec()
	if opts.Platform != "" {
		if platform, err = platforms.Parse(opts.Platform); err != nil {
			return nil, fmt.Errorf("import: platform %q: %w", opts.Platform, err)
		}
	}
	i := &Import{
		store:    s,
		lease:    leases.Lease{ID: opts.Lease},
		leases:   metadata.NewLeaseManager(s.db),
		platform: platforms.Only(platform),
		wanted:   platform,
		progress: opts.Progress,
		staging:  filepath.Join(s.contentRoot, stagingFolder),
		zstd:     make(chan struct{}, maxZstdDecoders),
		nodes:    map[digest.Digest]*node{},
		layers:   map[digest.Digest]*layer{},
	}
	i.work = sync.NewCond(&i.mu)
	if err := i.parseImages(opts.Images); err != nil {
		return nil, err
	}
	if !s.importing.CompareAndSwap(false, true) {
		return nil, fmt.Errorf("import %s: another import has not ended in this store", opts.Lease)
	}
	defer func() {
		if err != nil {
			s.importing.Store(false)
		}
	}()
	ctx = leases.WithLease(inNamespace(ctx), opts.Lease)
	if _, err := i.leases.Create(ctx, leases.WithID(opts.Lease)); err != nil && !errdefs.IsAlreadyExists(err) {
		return nil, s.explainSpace(fmt.Errorf("import: %w", err))
	}
	if err := s.sweep(ctx); err != nil {
		return nil, s.explainSpace(fmt.Errorf("import: remove what an interrupted one left: %w", err))
	}
	if err := i.emptyStaging(); err != nil {
		return nil, err
	}
	i.ctx, i.cancel = context.WithCancelCause(ctx)
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, image := range i.images {
		if err := i.want(image.target, true); err != nil {
			i.cancel(err)
			return nil, fmt.Errorf("import %s: %w", image.names[0].full, err)
		}
	}
	context.AfterFunc(i.ctx, func() { // wake those that wait for work
		i.mu.Lock()
		i.work.Broadcast()
		i.mu.Unlock()
	})
	i.start(opts.Workers)
	return i, nil
}

func (i *Import) parseImages(list []ImportImage) error {
	for _, wanted := range list {
		if _, err := parseDigest(wanted.Target.Digest.String()); err != nil {
			return fmt.Errorf("import %v: %w", wanted.Names, err)
		}
		if len(wanted.Names) == 0 {
			return fmt.Errorf("import %s: image has no name", wanted.Target.Digest)
		}
		parsed := &image{target: wanted.Target, labels: wanted.Labels}
		for _, name := range wanted.Names {
			n, err := parseName(name)
			if err != nil {
				return fmt.Errorf("import: %w", err)
			}
			if n.digest != "" && n.digest != wanted.Target.Digest {
				return fmt.Errorf("import %s: the image's digest is %s", name, wanted.Target.Digest)
			}
			parsed.names = append(parsed.names, n)
		}
		i.images = append(i.images, parsed)
	}
	return nil
}

// start starts the workers, and the goroutine that saves progress.
func (i *Import) start(workers int) {
	if workers <= 0 {
		workers = runtime.GOMAXPROCS(0)
	}
	for range min(workers, maxWorkers) {
		i.workers.Go(i.unpackQueued)
	}
	i.ticker.Go(func() {
		ticker := time.NewTicker(checkpointInterval)
		defer ticker.Stop()
		for {
			select {
			case <-i.ctx.Done():
				return
			case <-ticker.C:
				if err := i.checkpoint(i.ctx); err != nil {
					i.fail(fmt.Errorf("import: save progress: %w", err))
					return
				}
			}
		}
	})
}

// fail ends the import with err; the first one counts.
func (i *Import) fail(err error) {
	i.cancel(i.store.explainSpace(err))
}

// Blob takes a blob of size bytes from r. r must verify it: it returns an error instead of io.EOF
// when the bytes do not have the digest dgst. Nothing that comes out of r is used
// before it has returned io.EOF. A blob that the store has already is read and discarded; one
// that no image of the import refers to is discarded by Commit. An error of
// an earlier layer's unpacking may be reported here.
func (i *Import) Blob(ctx context.Context, dgst string, size int64, r io.Reader) error {
	d, err := parseDigest(dgst)
	if err != nil {
		return fmt.Errorf("import: %w", err)
	}
	if err := i.failed(ctx); err != nil {
		return err
	}
	i.mu.Lock()
	n := i.nodes[d]
	have := n != nil && n.present
	declared := size
	if n != nil {
		declared = n.desc.Size
	}
	i.mu.Unlock()
	if size != declared {
		return fmt.Errorf("import blob %s: it has %d bytes, an image refers to it with %d", d, size, declared)
	}
	if have {
		if err := copyExactly(io.Discard, r, size); err != nil {
			return fmt.Errorf("import blob %s: %w", d, err)
		}
		return nil
	}
	if err := i.stage(d, size, r); err != nil {
		return i.store.explainSpace(fmt.Errorf("import blob %s: %w", d, err))
	}
	if err := i.arrived(d, size); err != nil {
		err = fmt.Errorf("import: %w", err)
		i.fail(err)
		return err
	}
	return nil
}

// Wants says whether an image of the import refers to a blob, as far as is known: once all metadata has come, whether Commit
// will leave the blob in the store.
func (i *Import) Wants(dgst string) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	n := i.nodes[digest.Digest(dgst)]
	return n != nil && n.desc.MediaType != ""
}

// Open opens a blob that has come, or that the store had, wherever it is at this moment. The error is [fs.ErrNotExist] if it has not
// come. Unlike the other methods it may be called by any goroutine, also after the import has ended.
func (i *Import) Open(dgst string) (*os.File, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	n := i.nodes[digest.Digest(dgst)]
	if n == nil || !n.present {
		return nil, fmt.Errorf("blob %s: %w", dgst, fs.ErrNotExist)
	}
	return i.open(n)
}

// arrived notes that a blob is verified, and starts what waited for it.
func (i *Import) arrived(d digest.Digest, size int64) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	n := i.nodes[d]
	if n == nil { // referred to by something that comes later, or by nothing
		n = &node{desc: ocispec.Descriptor{Digest: d, Size: size}}
		i.nodes[d] = n
	}
	n.present = true
	return i.expand(n)
}

// failed returns the error that ended the import, if one has, or ctx's.
func (i *Import) failed(ctx context.Context) error {
	if err := context.Cause(i.ctx); err != nil {
		return err
	}
	return ctx.Err()
}

// Close stops an import that is neither committed nor aborted, and keeps what it has registered
// for another with the same lease. After Commit or Abort it does nothing.
func (i *Import) Close() error {
	if i.ended {
		return nil
	}
	i.stop(errors.New("import: closed"))
	i.ended = true
	i.store.importing.Store(false)
	return os.RemoveAll(i.staging)
}

// stop ends all goroutines of the import.
func (i *Import) stop(cause error) {
	i.fail(cause)
	i.workers.Wait()
	i.ticker.Wait()
}
