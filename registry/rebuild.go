package registry

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/opencontainers/go-digest"

	"airgap/internal/atomicfile"
)

// rebuildLease names the import that a rebuild is.
const rebuildLease = "airgap-rebuild"

// RebuildOptions say which store is made anew, and of what.
type RebuildOptions struct {
	Root   string // containerd's root folder; containerd must not be running
	Record Record // what the store had
	Aside  string // folder for the damaged databases and blobs; made, durable
}

// Rebuilt is what a rebuild has made.
type Rebuilt struct {
	Images  int           // that are back, with all their names
	Pushed  int           // names of the node's own registry that are back
	Lost    []LostImage   // that are not
	Blobs   int           // verified
	Bytes   int64         // of these
	Corrupt []string      // digests of blobs that were not what they are named for; they are in Aside
	Took    time.Duration //
}

// LostImage is an image of which something is missing.
type LostImage struct {
	Name    string
	Missing []digest.Digest
}

// rebuildMarker is there from before the first change until the rebuilt store is complete.
func rebuildMarker(root string) string { return filepath.Join(root, "rebuild.json") }

// Rebuild makes both databases and all snapshots anew from the blobs on the disk, each of which is verified first. Containers and
// what they wrote are forgotten: whoever calls has ended them. Killed anywhere, it begins anew when it is called again, as
// [CheckDatabases] says it must be.
func Rebuild(ctx context.Context, o RebuildOptions) (done Rebuilt, err error) {
	begin := time.Now()
	if err := o.putAside(); err != nil {
		return done, fmt.Errorf("put the damaged image store aside: %w", err)
	}
	s, err := OpenStore(o.Root)
	if err != nil {
		return done, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	i, err := s.Import(ctx, ImportOptions{Lease: rebuildLease, Images: o.Record.imports()})
	if err != nil {
		return done, err
	}
	defer i.Close()
	verified, err := o.adoptBlobs(ctx, i, &done)
	if err != nil {
		return done, err
	}
	done.Lost = i.dropIncomplete()
	done.Images = len(i.images)
	if err := i.Commit(ctx); err != nil {
		return done, err
	}
	pushed, lost, err := s.adoptPushed(ctx, o.Record.Pushed, verified)
	if err != nil {
		return done, err
	}
	done.Pushed, done.Lost = pushed, append(done.Lost, lost...)
	if err := os.Remove(rebuildMarker(o.Root)); err != nil {
		return done, err
	}
	done.Took = time.Since(begin)
	return done, atomicfile.SyncDir(o.Root)
}

// putAside moves the databases away, and removes the snapshots, whose files nothing describes any more.
func (o RebuildOptions) putAside() error {
	if err := os.MkdirAll(o.Aside, 0o700); err != nil {
		return err
	}
	if err := atomicfile.SyncDir(filepath.Dir(o.Aside)); err != nil {
		return err
	}
	marker := struct {
		Aside string `json:"aside"`
	}{o.Aside}
	// A rebuild that was cut off has put the damaged databases aside, and what is in their place is its own.
	if data, err := os.ReadFile(rebuildMarker(o.Root)); err == nil {
		_ = json.Unmarshal(data, &marker) // what is in Aside is only to be kept
	}
	if err := atomicfile.WriteJSON(rebuildMarker(o.Root), marker, 0o600); err != nil {
		return err
	}
	for _, file := range []string{metaFile(o.Root), overlayFile(o.Root)} {
		kept := filepath.Join(marker.Aside, filepath.Base(file))
		if _, err := os.Lstat(kept); err == nil {
			if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
			continue
		}
		if err := os.Rename(file, kept); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return errors.Join(os.RemoveAll(filepath.Join(o.Root, snapshotFolder)), atomicfile.SyncDir(marker.Aside), atomicfile.SyncDir(o.Root))
}

// adoptBlobs verifies every blob on the disk, hands it to the import where it lies, and returns the sizes of those that are whole.
func (o RebuildOptions) adoptBlobs(ctx context.Context, i *Import, done *Rebuilt) (map[digest.Digest]int64, error) {
	folder, verified := blobsFolder(o.Root), map[digest.Digest]int64{}
	entries, err := os.ReadDir(folder)
	if err != nil {
		return nil, err
	}
	for _, entry := range entries {
		d, err := parseDigest("sha256:" + entry.Name())
		if err != nil || !entry.Type().IsRegular() {
			continue
		}
		path := filepath.Join(folder, entry.Name())
		size, err := verifyBlob(ctx, path, d)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err != nil {
			// Under its name containerd would take it for what it is not.
			done.Corrupt = append(done.Corrupt, d.String())
			if err := os.Rename(path, filepath.Join(o.Aside, entry.Name())); err != nil {
				return nil, errors.Join(err, os.Remove(path))
			}
			continue
		}
		if err := os.Link(path, i.stagingPath(d)); err != nil {
			return nil, err
		}
		if err := i.arrived(d, size); err != nil {
			return nil, fmt.Errorf("rebuild: blob %s: %w", d, err)
		}
		verified[d] = size
		done.Blobs, done.Bytes = done.Blobs+1, done.Bytes+size
	}
	return verified, nil
}

// verifyBlob fails unless the file's content has the digest.
func verifyBlob(ctx context.Context, path string, d digest.Digest) (size int64, err error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	hash, buffer := sha256.New(), make([]byte, copyBufferBytes)
	for {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		n, err := f.Read(buffer)
		hash.Write(buffer[:n])
		size += int64(n)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return 0, err
		}
	}
	if hex.EncodeToString(hash.Sum(nil)) != d.Encoded() {
		return size, ErrDigest
	}
	return size, nil
}

// dropIncomplete takes the images out of the import that lack a blob they need.
func (i *Import) dropIncomplete() (lost []LostImage) {
	i.mu.Lock()
	defer i.mu.Unlock()
	var whole []*image
	for _, image := range i.images {
		var missing []digest.Digest
		i.walk(image.target, func(n *node) {
			if n.required && !n.present {
				missing = append(missing, n.desc.Digest)
			}
		})
		if len(missing) == 0 && i.manifest(image.target) != nil {
			whole = append(whole, image)
			continue
		}
		for _, name := range image.names {
			lost = append(lost, LostImage{Name: name.full, Missing: missing})
		}
	}
	i.images = whole
	return lost
}

// Record is what a store can be made anew from: its images, by the names that were given to them.
type Record struct {
	Images []RecordedImage `json:"images"`           // of the kubelet, sorted by name
	Pushed []RecordedImage `json:"pushed,omitempty"` // into the node's registry, sorted by name
}

// RecordedImage is one name of an image.
type RecordedImage struct {
	Name      string        `json:"name"` // as containerd has it
	MediaType string        `json:"mediaType"`
	Digest    digest.Digest `json:"digest"`
	Size      int64         `json:"size"`
	Pinned    bool          `json:"pinned,omitempty"`

	Labels map[string]string `json:"labels,omitempty"` // of a pushed one
}

// ReadImages reads the record of the images that a store has. Names that follow from others are left
// out: an image's ID, and the repository with the digest beside a tag.
func ReadImages(ctx context.Context, store images.Store) (Record, error) {
	all, err := store.List(inNamespace(ctx))
	if err != nil {
		return Record{}, fmt.Errorf("record images: %w", err)
	}
	tagged := map[string]bool{}
	for _, image := range all {
		if name, err := parseName(image.Name); err == nil && name.digest == "" {
			tagged[name.repo+"@"+image.Target.Digest.String()] = true
		}
	}
	record := Record{Images: []RecordedImage{}}
	for _, image := range all {
		name, err := parseName(image.Name)
		if err != nil || name.full != image.Name || digest.Digest(image.Name).Validate() == nil || tagged[image.Name] {
			continue
		}
		record.Images = append(record.Images, RecordedImage{
			Name: image.Name, MediaType: image.Target.MediaType, Digest: image.Target.Digest, Size: image.Target.Size,
			Pinned: image.Labels[LabelPinned] == Pinned,
		})
	}
	pushed, err := store.List(namespaces.WithNamespace(ctx, SiteNamespace))
	if err != nil {
		return Record{}, fmt.Errorf("record pushed images: %w", err)
	}
	for _, image := range pushed {
		record.Pushed = append(record.Pushed, RecordedImage{
			Name: image.Name, MediaType: image.Target.MediaType, Digest: image.Target.Digest, Size: image.Target.Size, Labels: image.Labels,
		})
	}
	return record, nil
}
