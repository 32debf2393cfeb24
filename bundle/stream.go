package bundle

import (
	"crypto/sha256"
	"io"
)

const (
	// chunkBytes is the unit in which long entries are read and hashed.
	chunkBytes = 1 << 20
	// chunks is how many of them may be under way: memory of a Reader beside its metadata.
	chunks = 4
)

// stream is the contents of a long entry. A goroutine reads the medium and hashes each chunk while the
// consumer works on it; both only read the chunk, and it is not filled again before both are done.
type stream struct {
	full chan []byte   // chunks in order; closed after err is set
	free chan<- []byte // where consumed chunks go back to
	stop chan struct{} // closed by Reader.Close
	err  error         // nil when every byte is verified; read after full is closed

	chunk []byte // the one being consumed
	rest  []byte // what is left of it
}

func (r *Reader) startStream(e Entry) *stream {
	s := &stream{full: make(chan []byte, chunks), free: r.free, stop: make(chan struct{})}
	go func() {
		defer close(s.full)
		s.err = r.fill(s, e)
	}()
	return s
}

// fill reads e from the medium into chunks, hands them on, and verifies them.
func (r *Reader) fill(s *stream, e Entry) error {
	hash := sha256.New()
	for left := e.Size; left > 0; {
		var chunk []byte
		select {
		case chunk = <-r.free:
		case <-s.stop:
			return io.ErrClosedPipe
		}
		if chunk == nil {
			chunk = make([]byte, chunkBytes)
		}
		chunk = chunk[:min(left, chunkBytes)]
		if _, err := io.ReadFull(r.medium, chunk); err != nil {
			return readError(err, e.Path, r.medium.position(), r.medium.remedy())
		}
		s.full <- chunk // never waits: there are no more chunks than it holds
		hash.Write(chunk)
		left -= int64(len(chunk))
	}
	return finishEntry(r.medium, e, hash.Sum(nil))
}

// advance releases the present chunk and waits for the next. At the end it returns io.EOF, or why the entry is refused.
func (s *stream) advance() error {
	if s.chunk != nil {
		s.free <- s.chunk[:chunkBytes]
		s.chunk = nil
	}
	chunk, ok := <-s.full
	if !ok {
		if s.err != nil {
			return s.err
		}
		return io.EOF
	}
	s.chunk, s.rest = chunk, chunk
	return nil
}

// Read implements [io.Reader].
func (s *stream) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if len(s.rest) == 0 {
		if err := s.advance(); err != nil {
			return 0, err
		}
	}
	n := copy(p, s.rest)
	s.rest = s.rest[n:]
	return n, nil
}

// WriteTo implements [io.WriterTo], without a copy. w must not keep what it is given.
func (s *stream) WriteTo(w io.Writer) (written int64, err error) {
	for {
		if len(s.rest) > 0 {
			n, err := w.Write(s.rest)
			written += int64(n)
			s.rest = s.rest[n:]
			if err != nil {
				return written, err
			}
		}
		switch err := s.advance(); err {
		case nil:
		case io.EOF:
			return written, nil
		default:
			return written, err
		}
	}
}

// drain reads the entry to its end and returns whether it is verified.
func (s *stream) drain() error {
	_, err := s.WriteTo(io.Discard)
	return err
}
