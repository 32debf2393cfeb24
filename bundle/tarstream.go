package bundle

import (
	"errors"
	"io"
	"os"
)

// TarStream is where the bytes of a bundle's tar come from: a file, parts on several sticks, standard input, a server. It is
// read once, from front to back.
type TarStream interface {
	io.ReadCloser
	// Expect is told the length of the whole tar in bytes once the manifest is trusted, so that a stream which
	// knows its own can refuse before the long entries are read. Some bytes beyond the manifest may have been read by then.
	Expect(bytes int64) error
	// Remedy is what to do about bytes that cannot be read, or are not what was written: some of those from offset first of the
	// tar up to, without it, after.
	Remedy(first, after int64) string
}

// WholeTar is a [TarStream] that can be read at several places, so that [Reader.Verify] hashes several entries at once.
type WholeTar interface {
	TarStream
	// Whole is called after Expect and returns the whole tar, or nil if it can only be read in order. Each byte that has not
	// been read before is then asked for once, from one goroutine, and Read is not called any more.
	Whole() io.ReaderAt
}

// OpenTar reads a bundle from stream and verifies its manifest. Close closes the stream, and so does a failure.
func OpenTar(stream TarStream, trust Trust) (*Reader, error) {
	r, err := newReader(newTarMedium(stream), trust)
	if err != nil {
		return nil, errors.Join(err, stream.Close())
	}
	return r, nil
}

// Offsets returns where in the bundle's tar the contents of each carried entry begin, in bytes, by path.
func (r *Reader) Offsets() map[string]int64 {
	offsets := map[string]int64{}
	at := r.headBytes()
	for _, e := range r.manifest.Carried() {
		offsets[e.Path] = at + tarBlockBytes
		at += entryBytes(e.Size)
	}
	return offsets
}

// tarFile is the tar in a file. What it should be long shows when its end is read.
type tarFile struct{ *os.File }

func (tarFile) Expect(int64) error         { return nil }
func (tarFile) Remedy(int64, int64) string { return recopy }

// Whole implements [WholeTar] for all but a pipe or a terminal.
func (f tarFile) Whole() io.ReaderAt {
	if _, err := f.Seek(0, io.SeekCurrent); err != nil {
		return nil
	}
	return f.File
}

// anyTar is a tar that nothing is known of.
type anyTar struct{ io.Reader }

func (anyTar) Expect(int64) error         { return nil }
func (anyTar) Remedy(int64, int64) string { return recopy }
func (anyTar) Close() error               { return nil }
