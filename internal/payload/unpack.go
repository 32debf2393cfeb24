package payload

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/klauspost/compress/zstd"

	"airgap/internal/atomicfile"
)

// Unpack writes the tree into the existing, empty folder dir, while it hashes all that the
// digest covers, and returns once every byte is verified and on the disk. After an error the
// folder's content is worthless. The error wraps [ErrDamaged] when the file is at fault.
func (p *Payload) Unpack(dir string) error { return p.unpack(dir, io.Discard) }

// unpack is Unpack that also copies launcher and payload to tee.
func (p *Payload) unpack(dir string, tee io.Writer) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()

	hash := sha256.New()
	source := io.TeeReader(p.reader(), io.MultiWriter(hash, tee))
	if _, err := io.CopyN(io.Discard, source, p.offset); err != nil {
		return p.readError(err)
	}
	dec, err := zstd.NewReader(source, zstd.WithDecoderMaxWindow(windowBytes), zstd.WithDecoderLowmem(true))
	if err != nil {
		return err
	}
	treeErr := readTar(root, dec)
	if treeErr == nil {
		_, treeErr = io.Copy(io.Discard, sourceErrors{dec}) // the tar's padding
	}
	dec.Close() // it reads ahead from source until then
	if treeErr != nil && !errors.Is(treeErr, errTree) {
		return fmt.Errorf("unpack into %s: %w", dir, treeErr) // the disk's fault, not the file's
	}
	if _, err := io.Copy(io.Discard, source); err != nil {
		return p.readError(err)
	}
	if !bytes.Equal(hash.Sum(nil), p.sum[:]) {
		return fmt.Errorf("%s: %w", p.file.Name(), ErrDamaged)
	}
	if treeErr != nil { // packed so: the digest agrees
		return fmt.Errorf("%s: %w", p.file.Name(), treeErr)
	}
	return syncTree(dir)
}

func (p *Payload) readError(err error) error {
	return fmt.Errorf("read %s: %w", p.file.Name(), err)
}

// errTree marks errors of the archive itself, in contrast to those of the disk written to.
var errTree = errors.New("bad archive")

// readTar writes the archive's tree under root. Nothing in an archive can reach out of root:
// os.Root sees to that, whatever its names and links say.
func readTar(root *os.Root, r io.Reader) error {
	tr := tar.NewReader(r)
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%w: %w", errTree, err)
		}
		if !filepath.IsLocal(h.Name) {
			return fmt.Errorf("%w: the name %q leaves the tree", errTree, h.Name)
		}
		mode := fs.FileMode(h.Mode).Perm()
		switch h.Typeflag {
		case tar.TypeDir:
			err = root.Mkdir(filepath.Clean(h.Name), mode)
		case tar.TypeSymlink:
			err = root.Symlink(h.Linkname, h.Name)
		case tar.TypeReg:
			err = writeFile(root, h.Name, mode, tr)
		default:
			err = fmt.Errorf("%w: %s has the type %q", errTree, h.Name, h.Typeflag)
		}
		if err != nil {
			return err
		}
	}
}

func writeFile(root *os.Root, name string, mode fs.FileMode, r io.Reader) error {
	f, err := root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, mode)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := io.Copy(f, sourceErrors{r}); err != nil {
		return err
	}
	if err := f.Chmod(mode); err != nil { // whatever the umask
		return err
	}
	return f.Close()
}

// sourceErrors marks the errors of reading, so that they differ from those of writing.
type sourceErrors struct{ r io.Reader }

func (s sourceErrors) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = fmt.Errorf("%w: %w", errTree, err)
	}
	return n, err
}

// syncTree makes every file and every name under dir durable. It comes last, when the kernel
// has already written most of it, and costs less than a sync after each file.
func syncTree(dir string) error {
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir():
			return atomicfile.SyncDir(path)
		case !d.Type().IsRegular():
			return nil
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		return f.Sync()
	})
}
