package gunzip

import (
	"errors"
	"io"
)

// streamBytes is how much a [Stream] decompresses at once.
const streamBytes = 256 << 10

// Stream is a gzip stream as an [io.Reader], for those who want a few of its bytes. What they pass over with Seek is decompressed
// and checked, but not copied: archive/tar does that with the contents of entries that nobody reads.
type Stream struct {
	source *Reader
	buffer []byte
	rest   []byte // of buffer, not read yet
	offset int64  // in what is decompressed
	err    error  // after rest
}

// NewStream returns a reader of what the gzip stream in source contains. It reads ahead.
func NewStream(source io.Reader) *Stream {
	return &Stream{source: NewReader(source), buffer: make([]byte, HistoryBytes+streamBytes)}
}

// fill sees to it that there is something to read, or returns why there is nothing.
func (s *Stream) fill() error {
	for len(s.rest) == 0 {
		if s.err != nil {
			return s.err
		}
		s.rest, s.err = s.source.Next(s.buffer)
	}
	return nil
}

func (s *Stream) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if err := s.fill(); err != nil {
		return 0, err
	}
	n := copy(p, s.rest)
	s.rest, s.offset = s.rest[n:], s.offset+int64(n)
	return n, nil
}

// errSeek says that a Stream was to go where it cannot.
var errSeek = errors.New("gzip: a stream goes forward only")

// Seek moves forward from where the stream is (whence is [io.SeekCurrent]); it goes no further than the end, which is an
// [io.ErrUnexpectedEOF] then.
func (s *Stream) Seek(offset int64, whence int) (int64, error) {
	if whence != io.SeekCurrent || offset < 0 {
		return s.offset, errSeek
	}
	for offset > 0 {
		switch err := s.fill(); {
		case err == io.EOF:
			return s.offset, io.ErrUnexpectedEOF
		case err != nil:
			return s.offset, err
		}
		n := min(offset, int64(len(s.rest)))
		s.rest, s.offset, offset = s.rest[n:], s.offset+n, offset-n
	}
	return s.offset, nil
}
