package registry

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/pkg/archive"
	"github.com/containerd/continuity/fs"
	"github.com/opencontainers/go-digest"
)

// unpackPrefix starts the key of every snapshot that an import is unpacking.
const unpackPrefix = "airgap-unpack "

// labelParentChain is set by containerd's unpacker on snapshots (core/unpack).
const labelParentChain = "containerd.io/snapshot/parent-chain-id"

// layer is a snapshot to be made: a blob unpacked on top of a chain of others.
type layer struct {
	chainID digest.Digest // of this layer and all below it; the snapshot's name
	diffID  digest.Digest // of the uncompressed tar
	parent  *layer        // nil for the lowest
	blob    *node

	queued    bool
	folder    string          // where its files go; set once a snapshot is prepared
	usage     snapshots.Usage // once unpacked
	implied   []string        // folders that had no entry of their own: see impliedFolders
	unpacked  bool
	committed bool
}

func (l *layer) key() string { return unpackPrefix + l.chainID.String() }

// enqueue hands a layer whose blob is present to the workers. The caller holds i.mu.
func (i *Import) enqueue(l *layer) {
	if l.queued {
		return
	}
	l.queued = true
	i.queue = append(i.queue, l)
	i.work.Signal()
}

// unpackQueued is one worker: it unpacks layers until there are no more, or the import fails.
func (i *Import) unpackQueued() {
	for {
		l, err := i.next()
		if l == nil && err == nil {
			return
		}
		if err == nil {
			err = i.unpack(l)
		}
		if err != nil {
			i.fail(err)
			return
		}
	}
}

// next waits for a layer to unpack, and for its snapshot. It returns nil at the end.
func (i *Import) next() (*layer, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for len(i.queue) == 0 {
		if i.closed || i.ctx.Err() != nil {
			return nil, nil
		}
		i.work.Wait()
	}
	if i.ctx.Err() != nil {
		return nil, nil
	}
	l := i.queue[0]
	i.queue = i.queue[1:]
	if l.folder == "" {
		// All that are known by now, in one transaction: metadata comes first, so mostly all there are.
		if err := i.prepare(); err != nil {
			return nil, err
		}
	}
	return l, nil
}

// prepare makes an active snapshot for every layer that has none. It has no parent until it is
// committed, which is what lets layers be unpacked in any order.
func (i *Import) prepare() error {
	folders := map[*layer]string{}
	err := i.store.update(i.ctx, func(ctx context.Context) error {
		for _, l := range i.order {
			if l.folder != "" {
				continue
			}
			mounts, err := i.store.snapshotter().Prepare(ctx, l.key(), "", l.options()...)
			if err != nil {
				return fmt.Errorf("prepare snapshot of layer %s: %w", l.blob.desc.Digest, err)
			}
			folders[l] = mounts[0].Source // without a parent it is a bind mount of the folder itself
		}
		return nil
	})
	if err != nil {
		return err
	}
	for l, folder := range folders {
		l.folder = folder
	}
	return nil
}

// options are the labels that containerd's unpacker gives a snapshot.
func (l *layer) options() []snapshots.Opt {
	labels := map[string]string{
		snapshots.LabelSnapshotRef:    l.chainID.String(),
		snapshots.LabelSnapshotDiffID: l.diffID.String(),
	}
	if l.parent != nil {
		labels[labelParentChain] = l.parent.chainID.String()
	}
	return []snapshots.Opt{snapshots.WithLabels(labels)}
}

// unpack applies a layer to its folder and verifies what it unpacked to.
func (i *Import) unpack(l *layer) error {
	i.mu.Lock()
	file, err := i.open(l.blob)
	i.mu.Unlock()
	if err != nil {
		return err
	}
	defer file.Close()
	folders := impliedFolders{}
	usage, err := i.apply(l, file, folders)
	if err != nil {
		return fmt.Errorf("unpack layer %s: %w", l.blob.desc.Digest, err)
	}
	leaveCache(int(file.Fd()))
	i.mu.Lock()
	defer i.mu.Unlock()
	l.usage = usage
	l.implied = folders.list()
	l.unpacked = true
	l.blob.diffID = l.diffID
	i.done += l.blob.desc.Size
	if i.progress != nil {
		i.progress(i.done, i.total)
	}
	return nil
}

func (i *Import) apply(l *layer, file *os.File, folders impliedFolders) (snapshots.Usage, error) {
	stream, err := i.decompress(file)
	if err != nil {
		return snapshots.Usage{}, err
	}
	defer stream.Close()
	hash := sha256.New()
	contents := io.TeeReader(&boundedReader{r: stream, disk: i.store.snapshotDir}, hash)
	usage, err := applyTar(i.ctx, l.folder, contents, folders.note)
	if err != nil {
		return usage, err
	}
	// The tar may end before the stream does; the digest is of all of it.
	if _, err := io.Copy(io.Discard, contents); err != nil {
		return usage, err
	}
	if sum := hex.EncodeToString(hash.Sum(nil)); sum != l.diffID.Encoded() {
		return usage, fmt.Errorf("%w: it unpacks to sha256:%s, the image's configuration says %s", ErrDigest, sum, l.diffID)
	}
	return usage, nil
}

// applyTar unpacks a layer's tar into the folder of a snapshot, and tells what it takes of the disk.
func applyTar(ctx context.Context, folder string, contents io.Reader, note archive.Filter) (snapshots.Usage, error) {
	if !canResolveInRoot() {
		_, err := archive.Apply(ctx, folder, contents,
			archive.WithConvertWhiteout(archive.OverlayConvertWhiteout), archive.WithFilter(note))
		if err != nil {
			return snapshots.Usage{}, err
		}
		usage, err := fs.DiskUsage(ctx, folder)
		return snapshots.Usage(usage), err
	}
	a, err := newApplier(folder)
	if err != nil {
		return snapshots.Usage{}, err
	}
	defer a.close()
	err = a.apply(ctx, contents, note)
	return a.usage, err
}

// boundedReader stops with ErrNoSpace when what it read, written to disk, has
// filled the disk up to the reserve. A layer may expand a thousandfold.
type boundedReader struct {
	r       io.Reader
	disk    *os.File
	unasked int64 // bytes since the free space was last looked at
}

// spaceCheckBytes is how often boundedReader looks at the free space.
const spaceCheckBytes = 16 << 20

func (b *boundedReader) Read(p []byte) (int, error) {
	if b.unasked >= spaceCheckBytes {
		b.unasked = 0
		if err := requireSpace(b.disk, spaceCheckBytes); err != nil {
			return 0, err
		}
	}
	n, err := b.r.Read(p)
	b.unasked += int64(n)
	return n, err
}
