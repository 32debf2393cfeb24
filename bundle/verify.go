package bundle

import (
	"context"
	"fmt"
	"io"
)

// Size returns how many bytes the entries of the bundle have, without headers, signatures and the manifest itself.
func (m *Manifest) Size() int64 {
	var total int64
	for _, e := range m.Entries {
		total += e.Size
	}
	return total
}

// Verify reads the bundle at path, a file or a folder, from front to back and returns its manifest and the IDs of
// those who signed it once every byte has been checked. progress is as for [Reader.Verify].
func Verify(ctx context.Context, path string, trust Trust, progress func(done, total int64)) (*Manifest, []string, error) {
	r, err := Open(path, trust)
	if err != nil {
		return nil, nil, err
	}
	defer r.Close()
	if err := r.Verify(ctx, progress); err != nil {
		return nil, nil, fmt.Errorf("%s: %w", path, err)
	}
	return r.Manifest(), r.Signers(), nil
}

// Verify reads what is left of the bundle, to its proper end, and returns nil once every byte has been checked. progress, which may
// be nil, is told how many of the entries' bytes have been read.
func (r *Reader) Verify(ctx context.Context, progress func(done, total int64)) error {
	counter := &counter{ctx: ctx, total: r.Manifest().Size(), progress: progress}
	for {
		_, contents, err := r.Next()
		if err == io.EOF {
			return nil
		}
		if err == nil {
			_, err = io.Copy(counter, contents)
		}
		if err != nil {
			return err
		}
	}
}

// counter is a writer that reports how much has been written to it, and fails once its context is done.
type counter struct {
	ctx         context.Context
	done, total int64
	progress    func(done, total int64)
}

func (c *counter) Write(p []byte) (int, error) {
	c.done += int64(len(p))
	if c.progress != nil {
		c.progress(c.done, c.total)
	}
	return len(p), c.ctx.Err()
}
