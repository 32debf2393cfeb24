package registry

import (
	"bytes"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"

	"airgap/internal/compression"
	"airgap/internal/gunzip"
)

// What one layer's decompression takes of memory, beside the decoder's own: chunks of output
// between the goroutine that inflates and the one that hashes and writes.
const (
	chunkBytes   = 256 << 10
	layerBuffers = 4

	// maxZstdWindowBytes is the largest window a layer may ask for. The zstd program makes
	// up to 8 MiB unless told --ultra or --long.
	maxZstdWindowBytes = 64 << 20
	// maxZstdDecoders bounds how many such windows there are at a time.
	maxZstdDecoders = 2
)

// decompress returns what the layer in r contains, which is recognised by its first bytes, as
// containerd does. It inflates in a goroutine of its own, ahead of its reader.
func (i *Import) decompress(r io.Reader) (io.ReadCloser, error) {
	head := make([]byte, compression.HeadBytes)
	n, err := io.ReadFull(r, head)
	if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
		return nil, err
	}
	input := io.MultiReader(bytes.NewReader(head[:n]), r)
	switch compression.Of(head[:n]) {
	case compression.Gzip:
		return newReadAhead(gunzip.NewReader(input), func() {}), nil
	case compression.Zstd:
		select {
		case i.zstd <- struct{}{}:
		case <-i.ctx.Done():
			return nil, i.ctx.Err()
		}
		decoder, err := zstd.NewReader(input, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
			zstd.WithDecoderMaxWindow(maxZstdWindowBytes))
		if err != nil {
			<-i.zstd
			return nil, fmt.Errorf("zstd: %w", err)
		}
		return newReadAhead(filler{decoder}, func() { decoder.Close(); <-i.zstd }), nil
	default:
		return io.NopCloser(input), nil
	}
}

// A chunkSource puts more of its content into buffer, and returns the part of buffer where it is. The first bytes of
// buffer, [gunzip.HistoryBytes], are its to work with. The error after the last of the content, or with it, is [io.EOF].
type chunkSource interface {
	Next(buffer []byte) ([]byte, error)
}

// filler makes a chunkSource of a reader.
type filler struct{ io.Reader }

func (f filler) Next(buffer []byte) ([]byte, error) {
	n, err := fill(f.Reader, buffer)
	return buffer[:n], err
}

// readAhead reads its source in a goroutine, into a few chunks that go round.
type readAhead struct {
	full    chan chunk
	empty   chan []byte
	stopped chan struct{}
	current chunk
	at      int
}

type chunk struct {
	buffer []byte // the whole of it
	data   []byte
	err    error // after data
}

// newReadAhead reads from source until its end or Close, then calls release.
func newReadAhead(source chunkSource, release func()) *readAhead {
	a := &readAhead{
		full:    make(chan chunk, layerBuffers),
		empty:   make(chan []byte, layerBuffers),
		stopped: make(chan struct{}),
	}
	for range layerBuffers {
		a.empty <- make([]byte, gunzip.HistoryBytes+chunkBytes)
	}
	go func() {
		defer close(a.stopped)
		defer release()
		for buffer := range a.empty {
			data, err := source.Next(buffer)
			a.full <- chunk{buffer, data, err} // never blocks: as many places as buffers
			if err != nil {
				return
			}
		}
	}()
	return a
}

func (a *readAhead) Read(p []byte) (int, error) {
	for a.at == len(a.current.data) {
		if a.current.err != nil {
			return 0, a.current.err
		}
		if a.current.buffer != nil {
			a.empty <- a.current.buffer
		}
		a.current, a.at = <-a.full, 0
	}
	n := copy(p, a.current.data[a.at:])
	a.at += n
	return n, nil
}

// Close stops the goroutine and waits until it has let go of the source.
func (a *readAhead) Close() error {
	close(a.empty)
	<-a.stopped
	return nil
}

// fill reads until buffer is full or source ends. Unlike io.ReadFull it hands on the source's own
// error, which tells an early end of a compressed stream from its proper one.
func fill(source io.Reader, buffer []byte) (n int, err error) {
	for n < len(buffer) && err == nil {
		var read int
		read, err = source.Read(buffer[n:])
		n += read
	}
	return n, err
}
