package retained

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"airgap/internal/atomicfile"
	"airgap/internal/site"
)

// Content is what is kept of one bundle.
type Content struct {
	// Files are its manifest and signatures by their names, those that [site.Bundle] lists.
	Files map[string][]byte
	// Blobs are paths of files by the hex digits of their SHA-256, each whole, verified and synced. They are linked to,
	// where the file system can, else copied: whoever calls may remove them afterwards, and must not write to them.
	Blobs map[string]string
}

// Keep makes a bundle one of those that the node has, the last in their order, and forgets the other ones of
// its name. It may be repeated, and a Keep that was interrupted left either the bundle or nothing of it but blobs, which
// the next Keep removes.
func (f *Folder) Keep(b site.Bundle, content Content) error {
	digits, err := digitsOf(b.Digest)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(f.dir, blobsFolder), 0o700); err != nil {
		return err
	}
	if err := f.keepBlobs(content.Blobs); err != nil {
		return fmt.Errorf("keep the blobs of bundle %s: %w", b.Name, err)
	}
	others, err := f.records(digits)
	if err != nil {
		return err
	}
	b.Order = 1
	for _, r := range others {
		b.Order = max(b.Order, r.Bundle.Order+1)
	}
	if err := f.publish(digits, record{b, slices.Sorted(maps.Keys(content.Blobs))}, content.Files); err != nil {
		return fmt.Errorf("keep bundle %s: %w", b.Name, err)
	}
	for _, r := range others {
		if r.Bundle.Name == b.Name {
			if err := f.forget(strings.TrimPrefix(r.Bundle.Digest, "sha256:")); err != nil {
				return fmt.Errorf("forget bundle %s %s: %w", r.Bundle.Name, r.Bundle.Version, err)
			}
		}
	}
	return f.sweep()
}

// keepBlobs brings blobs under their names, durably.
func (f *Folder) keepBlobs(blobs map[string]string) error {
	for digits, from := range blobs {
		if !isHex(digits) {
			return fmt.Errorf("blob %q: want the hex digits of its SHA-256", digits)
		}
		err := os.Link(from, f.blobPath(digits))
		if errors.Is(err, unix.EXDEV) || errors.Is(err, unix.EPERM) || errors.Is(err, unix.EMLINK) || errors.Is(err, unix.EOPNOTSUPP) {
			err = copyFile(from, f.blobPath(digits))
		}
		if err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return atomicfile.SyncDir(filepath.Join(f.dir, blobsFolder))
}

// copyFile copies a file to another file system.
func copyFile(from, to string) (err error) {
	source, err := os.Open(from)
	if err != nil {
		return err
	}
	defer source.Close()
	file, err := os.CreateTemp(filepath.Dir(to), temporaryPrefix)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, file.Close(), os.Remove(file.Name()))
		}
	}()
	if _, err := io.Copy(file, source); err != nil {
		return err
	}
	return atomicfile.Commit(file, to)
}

// publish writes a bundle's folder beside its place, then renames it there. One that is there already is replaced: it says
// the same, but for what it lists of blobs.
func (f *Folder) publish(digits string, r record, files map[string][]byte) (err error) {
	temporary, err := os.MkdirTemp(f.dir, temporaryPrefix)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(temporary))
		}
	}()
	for _, name := range r.Bundle.Files {
		data, ok := files[name]
		if !ok || !isName(name) {
			return fmt.Errorf("file %q is not among those handed in, or no name of a file", name)
		}
		if err := atomicfile.Write(filepath.Join(temporary, name), data, 0o600); err != nil {
			return err
		}
	}
	if err := atomicfile.WriteJSON(filepath.Join(temporary, recordFile), r, 0o600); err != nil {
		return err
	}
	if err := f.forget(digits); err != nil {
		return err
	}
	if err := os.Rename(temporary, filepath.Join(f.dir, digits)); err != nil {
		return err
	}
	return atomicfile.SyncDir(f.dir)
}

// forget removes a bundle's folder, if there is one: at once under its name, then what is in it.
func (f *Folder) forget(digits string) error {
	gone := filepath.Join(f.dir, temporaryPrefix+digits)
	if err := os.RemoveAll(gone); err != nil {
		return err
	}
	err := os.Rename(filepath.Join(f.dir, digits), gone)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := atomicfile.SyncDir(f.dir); err != nil {
		return err
	}
	return os.RemoveAll(gone)
}

// sweep removes the blobs that no bundle lists, and what interrupted calls left. When a bundle cannot be read
// nobody knows what it lists, and all stay.
func (f *Folder) sweep() error {
	records, err := f.records("")
	if err != nil {
		return err
	}
	listed := map[string]bool{}
	for _, r := range records {
		for _, digits := range r.Blobs {
			listed[digits] = true
		}
	}
	var errs []error
	for _, folder := range []string{f.dir, filepath.Join(f.dir, blobsFolder)} {
		entries, err := os.ReadDir(folder)
		if err != nil {
			return err
		}
		for _, entry := range entries {
			name := entry.Name()
			unlisted := folder != f.dir && isHex(name) && !listed[name]
			if unlisted || strings.HasPrefix(name, temporaryPrefix) {
				errs = append(errs, os.RemoveAll(filepath.Join(folder, name)))
			}
		}
	}
	return errors.Join(errs...)
}
