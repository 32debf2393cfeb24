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
	read int64 // bytes of the entry
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
		return false, readError(err, name, 0, recopy)
	}
	return true, nil
}

func (d *folderMedium) enter(name string) (int64, error) {
	before, err := d.root.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, refuse(RuleOrder, name, nowhere, recopy, "%s is missing", name)
	}
	if err != nil {
		return 0, readError(err, name, 0, recopy)
	}
	if !before.Mode().IsRegular() {
		return 0, refuse(RuleFile, name, nowhere, recopy, "%s is not a regular file but %v", name, before.Mode().Type())
	}
	// Should the name have become a FIFO since, opening it does not wait.
	file, err := d.root.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return 0, readError(err, name, 0, recopy)
	}
	d.file, d.name, d.read = file, name, 0
	after, err := file.Stat()
	if err != nil {
		return 0, readError(err, name, 0, recopy)
	}
	if !os.SameFile(before, after) {
		return 0, refuse(RuleFile, name, nowhere, recopy, "%s has been exchanged while it was opened", name)
	}
	return after.Size(), nil
}

func (d *folderMedium) next(read int) (int, error) { return read, nil }
func (d *folderMedium) remedy() string             { return recopy }

func (d *folderMedium) begins() int64   { return 0 }
func (d *folderMedium) position() int64 { return d.read }

func (d *folderMedium) Read(p []byte) (int, error) {
	n, err := d.file.Read(p)
	d.read += int64(n)
	return n, err
}

func (d *folderMedium) leave() error {
	var more [1]byte
	if n, err := d.file.Read(more[:]); n > 0 || err == nil {
		return refuse(RuleFile, d.name, d.read, recopy, "%s has grown while it was read", d.name)
	} else if err != io.EOF {
		return readError(err, d.name, d.read, recopy)
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
			return readError(err, name, 0, recopy)
		}
		if kind, ok := listed[name]; !ok || kind != entry.Type() {
			return refuse(RuleListed, name, nowhere, "remove it if it came by accident, or "+recopy, "%q in the bundle's folder is no part of it", name)
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
