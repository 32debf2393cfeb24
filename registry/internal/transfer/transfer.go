// Package transfer writes large bodies of HTTP answers: with the kernel's own copy where there is no TLS, in large
// pieces where there is, and to clients of any speed as long as they take something.
package transfer

import (
	"io"
	"net/http"
	"sync"
	"time"
)

const (
	// pieceBytes is written before the deadline moves on.
	pieceBytes = 1 << 20
	// pieceTimeout is how long a client may take for one piece: it is given up below 17 kB/s.
	pieceTimeout = time.Minute
	// bufferBytes is read from a file at once where the kernel cannot copy: fewer reads, and many records of TLS in each.
	bufferBytes = 256 << 10
)

var buffers = sync.Pool{New: func() any { return new([bufferBytes]byte) }}

// Writer is w, the answer to r, with a deadline that moves on as the client takes what is copied. Before and after that there is
// none: the next request on the same connection may be a long upload.
func Writer(w http.ResponseWriter, r *http.Request) http.ResponseWriter {
	if made, ok := w.(*writer); ok {
		return made
	}
	return &writer{ResponseWriter: w, control: http.NewResponseController(w), plain: r.TLS == nil}
}

type writer struct {
	http.ResponseWriter
	control *http.ResponseController
	plain   bool // the kernel can copy
}

// until sets the deadline. A writer that knows none, as those of tests, needs none.
func (w *writer) until(t time.Time) { _ = w.control.SetWriteDeadline(t) }

// Unwrap lets [http.ResponseController] find the connection.
func (w *writer) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// ReadFrom implements [io.ReaderFrom], which [http.ServeContent] copies with. The source is mostly a part of a file.
func (w *writer) ReadFrom(source io.Reader) (written int64, err error) {
	limited, ok := source.(*io.LimitedReader)
	if !ok {
		limited = &io.LimitedReader{R: source, N: 1<<63 - 1}
	}
	defer w.until(time.Time{})
	for {
		w.until(time.Now().Add(pieceTimeout))
		piece := &io.LimitedReader{R: limited.R, N: min(limited.N, pieceBytes)}
		n, err := w.copy(piece)
		limited.N -= n
		written += n
		if err != nil || piece.N > 0 || limited.N == 0 {
			return written, err
		}
	}
}

// copy writes one piece.
func (w *writer) copy(piece *io.LimitedReader) (int64, error) {
	if from, ok := w.ResponseWriter.(io.ReaderFrom); ok && w.plain {
		return from.ReadFrom(piece)
	}
	buffer := buffers.Get().(*[bufferBytes]byte)
	defer buffers.Put(buffer)
	return io.CopyBuffer(struct{ io.Writer }{w.ResponseWriter}, struct{ io.Reader }{piece}, buffer[:])
}
