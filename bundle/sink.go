package bundle

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
)

// sink is where a bundle is written: a tar, in one file or in parts, or a folder.
type sink interface {
	// keep reports whether item i is there already, byte for byte, and need not be written. It reads through buffer.
	keep(ctx context.Context, i int, buffer []byte) (bool, error)
	// item returns where item i of the plan is written; contents start at offset. Called from several goroutines.
	item(i int) (w itemWriter, offset int64, err error)
	// commit makes the bundle durable and visible under its name.
	commit() error
	// abort removes whatever commit has not made visible.
	abort() error
}

// itemWriter takes the contents of one item. Close makes a file of its own durable.
type itemWriter interface {
	io.WriterAt
	io.Closer
}

// newSink makes what the form asks for: of the spool, where that can be, which may be nil.
func newSink(output string, p *plan, directory bool, partBytes int64, spool *Spool) (sink, error) {
	switch {
	case isOneFile(output, directory, partBytes):
		return newTarSink(&wholeFile{output: output}, p, spool)
	case partBytes == 0:
		return newFolderSink(output, p)
	case directory || strings.HasSuffix(output, "/"):
		return nil, fmt.Errorf("create bundle %s: a folder is not split; it is files already", output)
	default:
		return newTarSink(newParts(output, partBytes), p, nil)
	}
}

// isOneFile reports whether a bundle of that form is one file.
func isOneFile(output string, directory bool, partBytes int64) bool {
	return !directory && !strings.HasSuffix(output, "/") && partBytes == 0
}

// tarSink writes a bundle as one tar, each item at its own offset.
type tarSink struct {
	output  tarOutput
	offsets []int64 // of the contents of each item
	written int     // so many items from the last one are there already
}

// newTarSink writes every header: into the spool, if that can become the tar, else into the output, where it reserves all space.
func newTarSink(output tarOutput, p *plan, spool *Spool) (*tarSink, error) {
	offsets, size := p.tarOffsets()
	s := &tarSink{output: output, offsets: offsets}
	var err error
	if spool != nil && spool.become(p, offsets) {
		s.output, s.written = spool.take(), len(spool.layers)
	} else {
		err = output.reserve(size)
	}
	for i := 0; i < len(p.items) && err == nil; i++ {
		header := encodeHeader(p.items[i].name, p.items[i].size, p.mtime)
		_, err = s.output.WriteAt(header[:], offsets[i]-tarBlockBytes)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("create bundle %s: %w", output.name(), err), s.abort())
	}
	return s, nil
}

// tarOffsets returns where the contents of each item begin in the tar, and the length of it all.
func (p *plan) tarOffsets() (offsets []int64, size int64) {
	for _, item := range p.items {
		offsets = append(offsets, size+tarBlockBytes)
		size += entryBytes(item.size)
	}
	return offsets, size + tarTrailerBytes
}

func (s *tarSink) keep(_ context.Context, i int, _ []byte) (bool, error) {
	return i >= len(s.offsets)-s.written, nil
}

func (s *tarSink) item(i int) (itemWriter, int64, error) {
	return shared{s.output}, s.offsets[i], nil
}

// shared is an output that stays open when one of its writers is done.
type shared struct{ io.WriterAt }

func (shared) Close() error { return nil }

func (s *tarSink) commit() error {
	if err := s.output.commit(); err != nil {
		return fmt.Errorf("create bundle %s: %w", s.output.name(), err)
	}
	return nil
}

func (s *tarSink) abort() error { return s.output.abort() }
