package bundle

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"

	"golang.org/x/sys/unix"

	"airgap/internal/atomicfile"
)

// folderSink writes a bundle as a folder of files, beside the one that it takes the place of.
type folderSink struct {
	temporary string // beside output
	output    string
	items     []item
	old       *os.Root // what was there; nil if nothing
}

func newFolderSink(output string, p *plan) (*folderSink, error) {
	s := &folderSink{output: filepath.Clean(output), items: p.items}
	if err := s.openOld(); err != nil {
		return nil, fmt.Errorf("create bundle: %w", err)
	}
	var err error
	if s.temporary, err = os.MkdirTemp(filepath.Dir(s.output), "."+filepath.Base(s.output)+".*.tmp"); err != nil {
		return nil, fmt.Errorf("create bundle: %w", err)
	}
	if err := s.lay(); err != nil {
		return nil, errors.Join(fmt.Errorf("create bundle %s: %w", s.output, err), s.abort())
	}
	return s, nil
}

// nameInFolder is what the files and folders in a bundle's folder are called.
var nameInFolder = regexp.MustCompile(`^(\.|airgap\.json((\.[0-9]+)?\.(sigstore\.json|sig))?|oci-layout|index\.json|blobs|blobs/sha256|blobs/sha256/[0-9a-f]{64})$`)

// openOld opens the folder that is replaced, if there is one. It must be a bundle's, or empty: what else is in it would be lost.
func (s *folderSink) openOld() error {
	if target, err := filepath.EvalSymlinks(s.output); err == nil {
		s.output = target
	}
	if _, err := os.Lstat(s.output); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	root, err := os.OpenRoot(s.output)
	if err != nil {
		return fmt.Errorf("%s is already there: %w; choose another name", s.output, err)
	}
	err = fs.WalkDir(root.FS(), ".", func(name string, _ fs.DirEntry, err error) error {
		if err == nil && !nameInFolder.MatchString(name) {
			err = fmt.Errorf("%s is already there, and %q in it is no part of a bundle; remove it, or choose another name", s.output, name)
		}
		return err
	})
	if err != nil {
		return errors.Join(err, root.Close())
	}
	s.old = root
	return nil
}

func (s *folderSink) lay() error {
	dir, err := os.Open(s.temporary)
	if err != nil {
		return err
	}
	defer dir.Close()
	var total, largest int64
	for _, item := range s.items {
		largest = max(largest, item.size)
		if !s.mayKeep(item) {
			total += item.size
		}
	}
	if err := requireSpace(dir, total, largest); err != nil {
		return err
	}
	if err := dir.Chmod(0o755); err != nil {
		return err
	}
	return os.MkdirAll(filepath.Join(s.temporary, filepath.FromSlash(blobFolder)), 0o755)
}

// mayKeep says whether the folder that is replaced has a file of the item's name and size.
func (s *folderSink) mayKeep(item item) bool {
	if s.old == nil {
		return false
	}
	info, err := s.old.Lstat(item.name)
	return err == nil && info.Mode().IsRegular() && info.Size() == item.size
}

// keep links a file of the folder that is replaced into the new one, if it has the item's bytes: it stays the same file, with its
// time, which tools that copy only what has changed go by.
func (s *folderSink) keep(ctx context.Context, i int, buffer []byte) (bool, error) {
	item := s.items[i]
	if !s.mayKeep(item) {
		return false, nil
	}
	open := func(context.Context) (io.ReadCloser, error) { return s.old.Open(item.name) }
	compare := func([]byte) error { return nil } // copyBlob itself does
	if err := copyBlob(ctx, Entry{Path: item.name, Size: item.size, SHA256: item.sha256}, open, buffer, compare); err != nil {
		return false, ctx.Err() // a file that is another, or cannot be read, is written anew
	}
	name := filepath.FromSlash(item.name)
	return os.Link(filepath.Join(s.output, name), filepath.Join(s.temporary, name)) == nil, nil
}

func (s *folderSink) item(i int) (itemWriter, int64, error) {
	f, err := os.OpenFile(filepath.Join(s.temporary, filepath.FromSlash(s.items[i].name)), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return nil, 0, fmt.Errorf("create bundle: %w", err)
	}
	return syncedFile{f}, 0, nil
}

// syncedFile is a file that is on disk when it is closed.
type syncedFile struct{ *os.File }

func (f syncedFile) Close() error { return errors.Join(f.Sync(), f.File.Close()) }

func (s *folderSink) commit() error {
	// Deepest first: a folder is durable before the name that leads to it.
	for _, folder := range slices.Backward([]string{".", "blobs", "blobs/sha256"}) {
		if err := atomicfile.SyncDir(filepath.Join(s.temporary, filepath.FromSlash(folder))); err != nil {
			return fmt.Errorf("create bundle: %w", err)
		}
	}
	if err := s.show(); err != nil {
		return fmt.Errorf("create bundle: %w", err)
	}
	if err := atomicfile.SyncDir(filepath.Dir(s.output)); err != nil {
		return err
	}
	if s.old == nil {
		return nil
	}
	return s.abort() // what was there now has the temporary name
}

// show gives the new folder its name, and the one that was there the temporary name, in one step where the file system can do that.
func (s *folderSink) show() error {
	if s.old == nil {
		return os.Rename(s.temporary, s.output)
	}
	err := unix.Renameat2(unix.AT_FDCWD, s.temporary, unix.AT_FDCWD, s.output, unix.RENAME_EXCHANGE)
	if !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOSYS) {
		return err
	}
	aside := s.temporary + ".old"
	if err := os.Rename(s.output, aside); err != nil {
		return err
	}
	if err := os.Rename(s.temporary, s.output); err != nil {
		return errors.Join(err, os.Rename(aside, s.output))
	}
	return os.Rename(aside, s.temporary)
}

func (s *folderSink) abort() error {
	var err error
	if s.old != nil {
		err = s.old.Close()
	}
	return errors.Join(err, os.RemoveAll(s.temporary))
}
