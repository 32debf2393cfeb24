package bundle

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"airgap/internal/atomicfile"
)

// tarSink writes a bundle as one tar, each part at its own offset.
type tarSink struct {
	file    *os.File // temporary, beside output
	output  string
	offsets []int64 // of the contents of each item
}

// newTarSink reserves the space of the whole tar and writes every header.
func newTarSink(output string, p *plan) (*tarSink, error) {
	file, err := os.CreateTemp(filepath.Dir(output), "."+filepath.Base(output)+".*.tmp")
	if err != nil {
		return nil, fmt.Errorf("create bundle: %w", err)
	}
	s := &tarSink{file: file, output: output}
	if err := s.lay(p); err != nil {
		return nil, errors.Join(fmt.Errorf("create bundle %s: %w", output, err), s.abort())
	}
	return s, nil
}

func (s *tarSink) lay(p *plan) error {
	var end int64
	for _, item := range p.items {
		s.offsets = append(s.offsets, end+tarBlockBytes)
		end += tarBlockBytes + paddedSize(item.size)
	}
	end += 2 * tarBlockBytes
	if err := requireSpace(s.file, end); err != nil {
		return err
	}
	if err := reserve(s.file, end); err != nil {
		return fmt.Errorf("reserve %d bytes: %w", end, err)
	}
	for i, item := range p.items {
		header := encodeHeader(item.name, item.size, p.mtime)
		if _, err := s.file.WriteAt(header[:], s.offsets[i]-tarBlockBytes); err != nil {
			return err
		}
	}
	return nil
}

// requireSpace fails, with ENOSPC, if the file system of f has no room for size bytes more.
func requireSpace(f *os.File, size int64) error {
	var stat unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &stat); err != nil {
		return fmt.Errorf("free space: %w", err)
	}
	if free := int64(stat.Bavail) * stat.Bsize; size > free {
		return fmt.Errorf("it needs %d MB and %d MB are free: %w", size/1e6, free/1e6, unix.ENOSPC)
	}
	return nil
}

// reserve gives f its size, and its space where the file system can do that. Everything is zero
// then: paddings need no writing.
func reserve(f *os.File, size int64) error {
	err := unix.EINTR
	for err == unix.EINTR { // Go's own signals interrupt it on tmpfs
		err, _ = unix.Fallocate(int(f.Fd()), 0, 0, size).(unix.Errno)
	}
	if err == 0 {
		return nil
	}
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS) {
		return f.Truncate(size)
	}
	return err
}

func (s *tarSink) item(i int) (itemWriter, int64, error) {
	return sharedFile{s.file}, s.offsets[i], nil
}

// sharedFile is a file that stays open when one of its writers is done.
type sharedFile struct{ *os.File }

func (sharedFile) Close() error { return nil }

func (s *tarSink) commit() error {
	if err := s.file.Chmod(0o644); err != nil {
		return fmt.Errorf("create bundle: %w", err)
	}
	if err := atomicfile.Commit(s.file, s.output); err != nil {
		return fmt.Errorf("create bundle %s: %w", s.output, err)
	}
	return nil
}

func (s *tarSink) abort() error {
	s.file.Close()
	if err := os.Remove(s.file.Name()); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// folderSink writes a bundle as a folder of files.
type folderSink struct {
	temporary string // beside output
	output    string
	items     []item
}

func newFolderSink(output string, p *plan) (*folderSink, error) {
	s := &folderSink{output: filepath.Clean(output), items: p.items}
	if _, err := os.Lstat(s.output); !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("create bundle: %s is already there; remove it, or choose another name", s.output)
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

func (s *folderSink) lay() error {
	dir, err := os.Open(s.temporary)
	if err != nil {
		return err
	}
	defer dir.Close()
	var total int64
	for _, item := range s.items {
		total += item.size
	}
	if err := requireSpace(dir, total); err != nil {
		return err
	}
	if err := dir.Chmod(0o755); err != nil {
		return err
	}
	return os.MkdirAll(filepath.Join(s.temporary, filepath.FromSlash(blobFolder)), 0o755)
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
	if err := os.Rename(s.temporary, s.output); err != nil {
		return fmt.Errorf("create bundle: %w", err)
	}
	return atomicfile.SyncDir(filepath.Dir(s.output))
}

func (s *folderSink) abort() error { return os.RemoveAll(s.temporary) }
