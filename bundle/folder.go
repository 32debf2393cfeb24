package bundle

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// folderMedium reads a bundle from a folder of files. It leaves the folder by no link, and follows none.
type folderMedium struct {
	root *os.Root
	file *os.File // the present entry; nil between entries
	name string
}

func openFolder(path string) (*folderMedium, error) {
	root, err := os.OpenRoot(path)
	if err != nil {
		return nil, fmt.Errorf("open bundle: %w", err)
	}
	return &folderMedium{root: root}, nil
}

func (d *folderMedium) at(name string) (bool, error) {
	_, err := d.root.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, mediumError(err)
	}
	return true, nil
}

func (d *folderMedium) enter(name string) (int64, error) {
	before, err := d.root.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, fmt.Errorf("%w: %s is missing; %s", ErrFormat, name, recopy)
	}
	if err != nil {
		return 0, mediumError(err)
	}
	if !before.Mode().IsRegular() {
		return 0, fmt.Errorf("%w: %s is not a regular file but %v; %s", ErrFormat, name, before.Mode().Type(), recopy)
	}
	// Should the name have become a FIFO since, opening it does not wait.
	file, err := d.root.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return 0, mediumError(err)
	}
	d.file, d.name = file, name
	after, err := file.Stat()
	if err != nil {
		return 0, mediumError(err)
	}
	if !os.SameFile(before, after) {
		return 0, fmt.Errorf("%w: %s has been exchanged while it was opened", ErrFormat, name)
	}
	return after.Size(), nil
}

func (d *folderMedium) next(read int) (int, error) { return read, nil }
func (d *folderMedium) remedy() string             { return recopy }

func (d *folderMedium) Read(p []byte) (int, error) { return d.file.Read(p) }

func (d *folderMedium) leave() error {
	var more [1]byte
	if n, err := d.file.Read(more[:]); n > 0 || err == nil {
		return fmt.Errorf("%w: %s has grown while it was read", ErrFormat, d.name)
	} else if err != io.EOF {
		return mediumError(err)
	}
	err := d.file.Close()
	d.file = nil
	return err
}

// confirm refuses any file that the manifest does not list, before a large one is read.
func (d *folderMedium) confirm(_ *Manifest, names []string) error {
	listed := map[string]fs.FileMode{".": fs.ModeDir, "blobs": fs.ModeDir, "blobs/sha256": fs.ModeDir}
	for _, name := range names {
		listed[name] = 0
	}
	return fs.WalkDir(d.root.FS(), ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return mediumError(err)
		}
		if kind, ok := listed[name]; !ok || kind != entry.Type() {
			return fmt.Errorf("%w: %q in the bundle's folder is no part of it; remove it if it came by accident, or %s", ErrFormat, name, recopy)
		}
		return nil
	})
}

func (d *folderMedium) end() error { return nil }

func (d *folderMedium) Close() error {
	var err error
	if d.file != nil {
		err = d.file.Close()
	}
	return errors.Join(err, d.root.Close())
}
