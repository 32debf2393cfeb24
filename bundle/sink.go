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

// newSink makes what the form of options asks for.
func newSink(output string, p *plan, directory bool, partBytes int64) (sink, error) {
	switch {
	case directory || strings.HasSuffix(output, "/"):
		if partBytes > 0 {
			return nil, fmt.Errorf("create bundle %s: a folder is not split; it is files already", output)
		}
		return newFolderSink(output, p)
	case partBytes > 0:
		return newTarSink(newParts(output, partBytes), p)
	default:
		return newTarSink(&wholeFile{output: output}, p)
	}
}

// tarSink writes a bundle as one tar, each item at its own offset.
type tarSink struct {
	output  tarOutput
	offsets []int64 // of the contents of each item
}

// newTarSink reserves the space of the whole tar and writes every header.
func newTarSink(output tarOutput, p *plan) (*tarSink, error) {
	s := &tarSink{output: output}
	if err := s.lay(p); err != nil {
		return nil, errors.Join(fmt.Errorf("create bundle %s: %w", output.name(), err), s.abort())
	}
	return s, nil
}

func (s *tarSink) lay(p *plan) error {
	var end int64
	for _, item := range p.items {
		s.offsets = append(s.offsets, end+tarBlockBytes)
		end += tarBlockBytes + paddedSize(item.size)
	}
	end += 2 * tarBlockBytes
	if err := s.output.reserve(end); err != nil {
		return err
	}
	for i, item := range p.items {
		header := encodeHeader(item.name, item.size, p.mtime)
		if _, err := s.output.WriteAt(header[:], s.offsets[i]-tarBlockBytes); err != nil {
			return err
		}
	}
	return nil
}

func (s *tarSink) keep(context.Context, int, []byte) (bool, error) { return false, nil }

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
