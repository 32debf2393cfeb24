package bundle

import (
	"errors"
	"io"
	"os"
)

// TarStream is where the bytes of a bundle's tar come from: a file, parts on several sticks, standard input, a server. It is
// read once, from front to back. One that is also an [io.ReaderAt] of the whole tar lets [Reader.Verify] hash several entries
// at once: then each byte after the metadata is asked for with ReadAt, once, from one goroutine, and Read no more.
type TarStream interface {
	io.ReadCloser
	// Expect is told the length of the whole tar in bytes once the manifest is trusted, so that a stream which
	// knows its own can refuse before the long entries are read. Some bytes beyond the manifest may have been read by then.
	Expect(bytes int64) error
	// Remedy is what to do about bytes that cannot be read, or are not what was written.
	Remedy() string
}

// OpenTar reads a bundle from stream and verifies its manifest. Close closes the stream, and so does a failure.
func OpenTar(stream TarStream, trust Trust) (*Reader, error) {
	r, err := newReader(newTarMedium(stream), trust)
	if err != nil {
		return nil, errors.Join(err, stream.Close())
	}
	return r, nil
}

// tarFile is the tar in a file. What it should be long shows when its end is read.
type tarFile struct{ *os.File }

func (tarFile) Expect(int64) error { return nil }
func (tarFile) Remedy() string     { return recopy }

// tarPipe is the tar from a pipe or a terminal, which has but one place to read at.
type tarPipe struct{ io.ReadCloser }

func (tarPipe) Expect(int64) error { return nil }
func (tarPipe) Remedy() string     { return recopy }

// streamOf returns file as a stream of its bytes.
func streamOf(file *os.File) TarStream {
	if _, err := file.Seek(0, io.SeekCurrent); err != nil {
		return tarPipe{file}
	}
	return tarFile{file}
}

// anyTar is a tar that nothing is known of.
type anyTar struct{ io.Reader }

func (anyTar) Expect(int64) error { return nil }
func (anyTar) Remedy() string     { return recopy }
func (anyTar) Close() error       { return nil }
