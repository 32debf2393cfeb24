package registry

import (
	"bufio"
	"bytes"
	"fmt"
	"io"

	"github.com/containerd/containerd/v2/pkg/archive/compression"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// What one layer's decompression takes of memory: a buffer for its input, and chunks of output
// between the goroutine that inflates and the one that hashes and writes.
const (
	inputBytes   = 256 << 10
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
	head := make([]byte, 8)
	n, err := io.ReadFull(r, head)
	if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
		return nil, err
	}
	input := io.MultiReader(bytes.NewReader(head[:n]), r)
	switch compression.DetectCompression(head[:n]) {
	case compression.Gzip:
		inflater, err := gzip.NewReader(bufio.NewReaderSize(input, inputBytes))
		if err != nil {
			return nil, fmt.Errorf("gzip: %w", err)
		}
		return newReadAhead(inflater, func() {}), nil
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
		return newReadAhead(decoder, func() { decoder.Close(); <-i.zstd }), nil
	default:
		return io.NopCloser(input), nil
	}
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
	data []byte
	err  error // after data
}

// newReadAhead reads from source until its end or Close, then calls release.
func newReadAhead(source io.Reader, release func()) *readAhead {
	a := &readAhead{
		full:    make(chan chunk, layerBuffers),
		empty:   make(chan []byte, layerBuffers),
		stopped: make(chan struct{}),
	}
	for range layerBuffers {
		a.empty <- make([]byte, chunkBytes)
	}
	go func() {
		defer close(a.stopped)
		defer release()
		for buffer := range a.empty {
			n, err := fill(source, buffer)
			a.full <- chunk{buffer[:n], err} // never blocks: as many places as buffers
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
		if a.current.data != nil {
			a.empty <- a.current.data[:chunkBytes]
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
