package snapshot

import (
	"archive/tar"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/klauspost/compress/zstd"
)

// maxWindow bounds the decoder's memory for an archive that somebody else has made.
const maxWindow = 8 << 20

// writeArchive writes the manifest and its entries to w; open yields the content of each.
func writeArchive(w io.Writer, m *Manifest, open func(Entry) (io.ReadCloser, error)) error {
	data, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	packed, err := zstd.NewWriter(w, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(maxWindow/2))
	if err != nil {
		return err
	}
	defer packed.Close()
	archive := tar.NewWriter(packed)
	header := func(name string, size int64, mode int64) error {
		return archive.WriteHeader(&tar.Header{
			Typeflag: tar.TypeReg, Name: name, Size: size, Mode: mode, ModTime: m.Created.Truncate(time.Second), Format: tar.FormatPAX,
		})
	}
	if err := header(manifestName, int64(len(data)), 0o600); err != nil {
		return err
	}
	if _, err := archive.Write(data); err != nil {
		return err
	}
	if err := packed.Flush(); err != nil { // so that the manifest is read without the datastore
		return err
	}
	for _, e := range m.Entries {
		if err := header(e.Path, e.Size, int64(e.Mode.Perm())); err != nil {
			return err
		}
		content, err := open(e)
		if err != nil {
			return err
		}
		sum := sha256.New()
		_, err = io.Copy(io.MultiWriter(archive, sum), content)
		content.Close()
		if err != nil {
			return fmt.Errorf("%s: %w", e.Path, err)
		}
		if hex.EncodeToString(sum.Sum(nil)) != e.SHA256 {
			return fmt.Errorf("%s: %w: its copy was changed while it was written", e.Path, ErrDamaged)
		}
	}
	if err := archive.Close(); err != nil {
		return err
	}
	return packed.Close()
}

// reader reads a snapshot from its front.
type reader struct {
	file     *os.File
	packed   *zstd.Decoder
	archive  *tar.Reader
	manifest *Manifest
}

// openArchive opens a snapshot and reads its manifest.
func openArchive(file string) (*reader, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	r := &reader{file: f}
	if err := r.begin(); err != nil {
		r.close()
		return nil, fmt.Errorf("snapshot %s: %w: %w", file, ErrDamaged, err)
	}
	return r, nil
}

func (r *reader) begin() (err error) {
	if r.packed, err = zstd.NewReader(r.file, zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderConcurrency(1)); err != nil {
		return err
	}
	r.archive = tar.NewReader(r.packed)
	header, err := r.archive.Next()
	if err != nil {
		return unexpected(err)
	}
	if header.Name != manifestName || header.Size > maxManifest {
		return fmt.Errorf("it does not begin with a %s", manifestName)
	}
	data, err := io.ReadAll(r.archive)
	if err != nil {
		return err
	}
	r.manifest, err = parseManifest(data)
	return err
}

func (r *reader) close() {
	if r.packed != nil {
		r.packed.Close()
	}
	r.file.Close()
}

// each hands every entry to write, in order, and fails unless the archive holds what its manifest says, all of it, and no more.
// What write was given counts only when each has returned nil.
func (r *reader) each(write func(Entry, io.Reader) error) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("snapshot %s: %w", r.file.Name(), err)
		}
	}()
	for _, e := range r.manifest.Entries {
		header, err := r.archive.Next()
		if err != nil {
			return fmt.Errorf("%w: %s: %w", ErrDamaged, e.Path, unexpected(err))
		}
		if header.Typeflag != tar.TypeReg || header.Name != e.Path || header.Size != e.Size {
			return fmt.Errorf("%w: has %q where its manifest has %q", ErrDamaged, header.Name, e.Path)
		}
		sum := sha256.New()
		source := &readFailure{r: r.archive}
		if err := write(e, io.TeeReader(source, sum)); err != nil {
			if source.err != nil {
				return fmt.Errorf("%w: %s: %w", ErrDamaged, e.Path, source.err)
			}
			return err
		}
		if hex.EncodeToString(sum.Sum(nil)) != e.SHA256 {
			return fmt.Errorf("%w: %s is not what was saved: its SHA-256 differs", ErrDamaged, e.Path)
		}
	}
	if _, err := r.archive.Next(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: it does not end where its manifest says: %w", ErrDamaged, err)
	}
	// The checksum of the compressed stream is at its very end.
	more, err := io.Copy(io.Discard, r.packed)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if more > 0 {
		return fmt.Errorf("%w: %d bytes come after its end", ErrDamaged, more)
	}
	return nil
}

// readFailure remembers why reading failed, to tell it from why writing did.
type readFailure struct {
	r   io.Reader
	err error
}

func (f *readFailure) Read(p []byte) (int, error) {
	n, err := f.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		f.err = err
	}
	return n, err
}

// unexpected is what an end is where there should be more.
func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
