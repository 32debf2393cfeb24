// Package atomicfile writes files so that a power cut leaves the old content or the
// new, never a mixture and never an empty file.
//
// The order is the one every updater that survives in the field uses: write a
// temporary file beside the target, fsync it, rename it over the target, fsync the
// folder. The last step is what makes the rename itself durable.
package atomicfile

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Write replaces the file at path by data, with exactly the permission bits of mode
// whatever the umask. The folder must exist. When Write returns nil the content is
// durable; when it fails the file is as it was.
func Write(path string, data []byte, mode fs.FileMode) (err error) {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, "."+filepath.Base(path)+".*.tmp")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			f.Close()
			err = errors.Join(err, ignoreNotExist(os.Remove(f.Name())))
		}
	}()
	if _, err = f.Write(data); err != nil {
		return err
	}
	if err = f.Chmod(mode.Perm()); err != nil {
		return err
	}
	return Commit(f, path)
}

// WriteJSON replaces the file at path by v as indented JSON, with a newline at its end; else it is [Write].
func WriteJSON(path string, v any, mode fs.FileMode) error {
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	return Write(path, append(data, '\n'), mode)
}

// Link makes path a symbolic link to target, in the place of what was there, in one step. When Link returns nil it is durable.
func Link(target, path string) error {
	temporary := path + ".new"
	if err := ignoreNotExist(os.Remove(temporary)); err != nil {
		return err
	}
	if err := os.Symlink(target, temporary); err != nil {
		return err
	}
	if err := os.Rename(temporary, path); err != nil {
		return err
	}
	return SyncDir(filepath.Dir(path))
}

// Commit makes the open temporary file f the file at path, durably, and closes it. Both
// must be on one file system. After an error f may still exist under its old name.
func Commit(f *os.File, path string) error {
	if err := f.Sync(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	return SyncDir(filepath.Dir(path))
}

// SyncDir makes the names in dir durable: those created, renamed and removed so far.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.Sync(); err != nil {
		return fmt.Errorf("sync folder %s: %w", dir, err)
	}
	return nil
}

func ignoreNotExist(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
