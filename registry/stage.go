package registry

import (
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/opencontainers/go-digest"
)

const copyBufferBytes = 1 << 20

// emptyStaging makes the staging folder. What an interrupted import left in it is not known to be
// on the disk, so it is written anew.
func (i *Import) emptyStaging() error {
	if err := os.RemoveAll(i.staging); err != nil {
		return fmt.Errorf("import: %w", err)
	}
	if err := os.Mkdir(i.staging, 0o700); err != nil {
		return i.store.explainSpace(fmt.Errorf("import: %w", err))
	}
	return nil
}

// stage writes a blob into the staging folder, and removes it again unless r says that it is whole.
func (i *Import) stage(d digest.Digest, size int64, r io.Reader) (err error) {
	if err := requireSpace(i.store.contentDir, size); err != nil {
		return err
	}
	path := i.stagingPath(d)
	// 0444 is the mode of a blob that containerd wrote.
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o444)
	if err != nil {
		return err
	}
	defer func() {
		if closed := file.Close(); err == nil {
			err = closed
		}
		if err != nil {
			os.Remove(path)
		}
	}()
	if err := copyExactly(file, r, size); err != nil {
		return err
	}
	startWriteback(int(file.Fd()))
	return nil
}

// copyExactly copies all of r, up to its own end, which must come after size bytes.
func copyExactly(w io.Writer, r io.Reader, size int64) error {
	buffer := make([]byte, min(size+1, copyBufferBytes))
	// Hiding the file's ReadFrom keeps the copy in the buffer of our size.
	n, err := io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{io.LimitReader(r, size+1)}, buffer)
	if err != nil {
		return err
	}
	if n > size {
		return fmt.Errorf("it has more than the %d bytes declared", size)
	}
	if n < size {
		return fmt.Errorf("it has %d of the %d bytes declared: %w", n, size, io.ErrUnexpectedEOF)
	}
	return nil
}

func (i *Import) stagingPath(d digest.Digest) string {
	return filepath.Join(i.staging, d.Encoded())
}
