package bundle

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"airgap/internal/atomicfile"
)

// tarOutput is what the bytes of a tar are written to: one file, or parts. It is temporary until commit.
type tarOutput interface {
	io.WriterAt
	// reserve makes room for a tar of size bytes, all of them zero so far.
	reserve(size int64) error
	commit() error
	abort() error
	name() string
}

// wholeFile is a tar in one file.
type wholeFile struct {
	*os.File        // temporary, beside output
	output   string // what it becomes
}

func (w *wholeFile) name() string { return w.output }

// WriteAt asks the kernel to begin with long pieces at once.
func (w *wholeFile) WriteAt(b []byte, offset int64) (int, error) {
	n, err := w.File.WriteAt(b, offset)
	if n >= copyBytes {
		w.startWriting(offset, int64(n))
	}
	return n, err
}

// startWriting asks the kernel, without waiting, to bring a range to the disk, so that it works while more is fetched. Only commit makes
// it durable. A page that is not full yet is left out: it would be written twice.
func (w *wholeFile) startWriting(offset, length int64) {
	const pageBytes = 4 << 10
	end := (offset + length) / pageBytes * pageBytes
	_ = unix.SyncFileRange(int(w.Fd()), offset, end-offset, unix.SYNC_FILE_RANGE_WRITE)
}

func (w *wholeFile) reserve(size int64) (err error) {
	if w.File, err = temporaryBeside(w.output); err != nil {
		return err
	}
	if err := requireSpace(w.File, size, size); err != nil {
		return err
	}
	return reserve(w.File, 0, size)
}

func (w *wholeFile) commit() error {
	if err := w.Chmod(0o644); err != nil {
		return err
	}
	return atomicfile.Commit(w.File, w.output)
}

func (w *wholeFile) abort() error { return removeTemporary(w.File) }

// temporaryBeside creates a file that can be renamed to path.
func temporaryBeside(path string) (*os.File, error) {
	return os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*.tmp")
}

// removeTemporary closes and removes a file of temporaryBeside, unless it has been renamed.
func removeTemporary(f *os.File) error {
	if f == nil {
		return nil
	}
	f.Close()
	if err := os.Remove(f.Name()); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// MaxParts is how many parts a tar can be cut into.
const MaxParts = 999

// PartName returns the name of part n, from 1, of the bundle with the given name: site.airgap.001, site.airgap.002 …
func PartName(name string, n int) string { return fmt.Sprintf("%s.%03d", name, n) }

// PartCount returns how many parts of partBytes a tar of size bytes has.
func PartCount(size, partBytes int64) int { return int((size + partBytes - 1) / partBytes) }

// parts is a tar that is cut into files of partBytes each; the last one has what is left.
type parts struct {
	output    string
	partBytes int64
	files     []*os.File // temporary, beside output
}

func newParts(output string, partBytes int64) *parts {
	return &parts{output: output, partBytes: partBytes}
}

func (p *parts) name() string { return p.output }

func (p *parts) reserve(size int64) error {
	count := PartCount(size, p.partBytes)
	if count > MaxParts {
		return fmt.Errorf("%d parts of %d bytes; there can be %d parts: make them larger", count, p.partBytes, MaxParts)
	}
	for n := range count {
		file, err := temporaryBeside(PartName(p.output, n+1))
		if err != nil {
			return err
		}
		p.files = append(p.files, file)
		if n == 0 {
			if err := requireSpace(file, size, min(size, p.partBytes)); err != nil {
				return err
			}
		}
		if err := reserve(file, 0, min(p.partBytes, size-int64(n)*p.partBytes)); err != nil {
			return err
		}
	}
	return nil
}

func (p *parts) WriteAt(b []byte, offset int64) (written int, err error) {
	for len(b) > 0 {
		file, at := p.files[offset/p.partBytes], offset%p.partBytes
		n, err := file.WriteAt(b[:min(int64(len(b)), p.partBytes-at)], at)
		written += n
		if err != nil {
			return written, err
		}
		b, offset = b[n:], offset+int64(n)
	}
	return written, nil
}

// commit names the first part last: where it is, all are. Parts of a bundle that was there before go first.
func (p *parts) commit() error {
	if err := p.removeOld(); err != nil {
		return err
	}
	for n := len(p.files); n > 0; n-- {
		file := p.files[n-1]
		if err := file.Chmod(0o644); err != nil {
			return err
		}
		if err := atomicfile.Commit(file, PartName(p.output, n)); err != nil {
			return err
		}
	}
	return nil
}

// removeOld removes the parts of another bundle of that name, the first one first.
func (p *parts) removeOld() error {
	for n := 1; n <= MaxParts; n++ {
		err := os.Remove(PartName(p.output, n))
		if errors.Is(err, fs.ErrNotExist) {
			if n > len(p.files) {
				break
			}
			continue
		}
		if err == nil && n == 1 {
			err = atomicfile.SyncDir(filepath.Dir(p.output))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (p *parts) abort() error {
	var errs []error
	for _, file := range p.files {
		errs = append(errs, removeTemporary(file))
	}
	return errors.Join(errs...)
}
