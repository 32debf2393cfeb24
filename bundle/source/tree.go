package source

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"

	"airgap/bundle"
	"airgap/bundle/media"
)

// tree is a set of named files that can be opened in any order, several at once: a folder, a tar, or a bundle elsewhere.
type tree interface {
	// open gives a file and its size in bytes; an error that is [fs.ErrNotExist] if
	// it is not there.
	open(name string) (io.ReadCloser, int64, error)
	close() error
}

// openTree opens a folder, or a tar in any compression. Compressed ones are expanded
// into temporary (see [expand]).
func openTree(ctx context.Context, path, temporary string) (tree, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	info, err := file.Stat()
	if err != nil {
		file.Close()
		return nil, err
	}
	if info.IsDir() {
		file.Close()
		root, err := os.OpenRoot(path)
		return folder{root}, err
	}
	if file, err = expand(ctx, file, temporary); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	t, err := indexTar(file)
	if err != nil {
		file.Close()
		return nil, fmt.Errorf("%s is not a tar archive: %w", path, err)
	}
	return t, nil
}

// folder is a tree on disk. Links that lead out of it are refused.
type folder struct{ root *os.Root }

func (f folder) open(name string) (io.ReadCloser, int64, error) {
	file, err := f.root.Open(name)
	if err != nil {
		return nil, 0, err
	}
	info, err := file.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is not a regular file", name)
	}
	if err != nil {
		file.Close()
		return nil, 0, err
	}
	return file, info.Size(), nil
}

func (f folder) close() error { return f.root.Close() }

// tarFile is a tree in an uncompressed tar, read where it lies.
type tarFile struct {
	file    *os.File
	members map[string]member
}

// member is a regular file in the tar, or a link to one.
type member struct {
	offset, size int64
	link         string
}

// maxLinks bounds a chain of links in an archive.
const maxLinks = 8

// indexTar notes where each file of a tar lies. Contents are skipped, not read.
func indexTar(file *os.File) (*tarFile, error) {
	t := &tarFile{file: file, members: map[string]member{}}
	for reader := tar.NewReader(file); ; {
		header, err := reader.Next()
		if errors.Is(err, io.EOF) {
			if len(t.members) == 0 {
				return nil, errors.New("it is empty")
			}
			return t, nil
		} else if err != nil {
			return nil, err
		}
		name := path.Clean(header.Name)
		switch header.Typeflag {
		case tar.TypeReg:
			offset, err := file.Seek(0, io.SeekCurrent)
			if err != nil {
				return nil, err
			}
			t.members[name] = member{offset: offset, size: header.Size}
		case tar.TypeSymlink: // old archives link layers that images share
			t.members[name] = member{link: path.Join(path.Dir(name), header.Linkname)}
		case tar.TypeLink:
			t.members[name] = member{link: path.Clean(header.Linkname)}
		}
	}
}

func (t *tarFile) open(name string) (io.ReadCloser, int64, error) {
	wanted := path.Clean(name)
	for range maxLinks {
		m, ok := t.members[wanted]
		if !ok {
			break
		}
		if m.link == "" {
			return io.NopCloser(io.NewSectionReader(t.file, m.offset, m.size)), m.size, nil
		}
		wanted = m.link
	}
	return nil, 0, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
}

func (t *tarFile) close() error { return t.file.Close() }

// distantTree is a bundle elsewhere, of which each file is fetched when it is opened.
type distantTree struct {
	ctx     context.Context // of all fetches
	blobs   media.Blobs
	entries map[string]bundle.Entry // by path
}

func newDistantTree(ctx context.Context, blobs media.Blobs, entries []bundle.Entry) distantTree {
	t := distantTree{ctx, blobs, make(map[string]bundle.Entry, len(entries))}
	for _, e := range entries {
		t.entries[e.Path] = e
	}
	return t
}

func (t distantTree) open(name string) (io.ReadCloser, int64, error) {
	e, ok := t.entries[name]
	if !ok {
		return nil, 0, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	reader, err := t.blobs.Open(t.ctx, e)
	if err != nil {
		return nil, 0, fmt.Errorf("%s: %w", name, err)
	}
	return reader, e.Size, nil
}

func (distantTree) close() error { return nil }

// readSmall reads a whole file of a tree that must be small: metadata.
func readSmall(t tree, name string) ([]byte, error) {
	reader, size, err := t.open(name)
	if err != nil {
		return nil, err
	}
	defer reader.Close()
	if size > maxMetadataBytes {
		return nil, fmt.Errorf("%s has %d bytes; metadata of at most %d is read", name, size, maxMetadataBytes)
	}
	return io.ReadAll(reader)
}
