package build

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// epoch is the time of everything in an image.
var epoch = time.Unix(0, 0).UTC()

// file is an entry of a layer: a regular file, a folder or a symbolic link.
type file struct {
	name string // absolute in the image
	mode fs.FileMode
	path string // on this machine; of a regular file without content
	data []byte // of a regular file without path
	link string // target, of a symbolic link
}

// newLayer makes a gzip-compressed layer of the files and of the folders above them. It is held
// in memory: system images are small.
func newLayer(files []file) (v1.Layer, error) {
	files = slices.Clone(files)
	for _, f := range slices.Clone(files) {
		for dir := path.Dir(f.name); dir != "/"; dir = path.Dir(dir) {
			files = append(files, file{name: dir, mode: fs.ModeDir | 0o755})
		}
	}
	// A declared folder comes before the one implied by a file in it, which is dropped.
	slices.SortStableFunc(files, func(a, b file) int { return strings.Compare(a.name, b.name) })
	files = slices.CompactFunc(files, func(a, b file) bool {
		return a.name == b.name && b.mode.IsDir()
	})
	for i := 1; i < len(files); i++ {
		if files[i].name == files[i-1].name {
			return nil, fmt.Errorf("%s is there twice", files[i].name)
		}
	}

	var compressed bytes.Buffer
	zip, err := gzip.NewWriterLevel(&compressed, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	archive := tar.NewWriter(zip)
	for _, f := range files {
		if err := f.write(archive); err != nil {
			return nil, fmt.Errorf("layer entry %s: %w", f.name, err)
		}
	}
	if err := archive.Close(); err != nil {
		return nil, err
	}
	if err := zip.Close(); err != nil {
		return nil, err
	}
	return tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(compressed.Bytes())), nil
	}, tarball.WithMediaType(types.OCILayer))
}

// write writes the entry with owner root, whatever the image's user: what runs shall not be
// able to change what it runs from.
func (f file) write(w *tar.Writer) error {
	h := &tar.Header{Name: strings.TrimPrefix(f.name, "/"), ModTime: epoch, Mode: int64(f.mode.Perm())}
	for bit, mode := range map[fs.FileMode]int64{fs.ModeSticky: 0o1000, fs.ModeSetgid: 0o2000, fs.ModeSetuid: 0o4000} {
		if f.mode&bit != 0 {
			h.Mode |= mode
		}
	}
	data := f.data
	switch {
	case f.mode.IsDir():
		h.Typeflag, h.Name = tar.TypeDir, h.Name+"/"
	case f.link != "":
		h.Typeflag, h.Linkname, h.Mode = tar.TypeSymlink, f.link, 0o777
	default:
		if f.path != "" {
			var err error
			if data, err = os.ReadFile(f.path); err != nil {
				return err
			}
		}
		h.Typeflag, h.Size = tar.TypeReg, int64(len(data))
	}
	if err := w.WriteHeader(h); err != nil {
		return err
	}
	_, err := w.Write(data)
	return err
}

// addTree returns the file at from, or all files of the folder at from, as entries at target.
func addTree(from, target string) ([]file, error) {
	var files []file
	err := filepath.WalkDir(from, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(from, p)
		if err != nil {
			return err
		}
		files = append(files, file{name: path.Join(target, filepath.ToSlash(rel)), mode: 0o644, path: p})
		return nil
	})
	return files, err
}
