package bundle

import (
	"context"
	"errors"
	"io"

	"airgap/internal/progress"
)

// CopyOptions are the choices of [Copy].
type CopyOptions struct {
	Directory bool  // as in [CreateOptions]
	PartBytes int64 // as in [CreateOptions]

	// Progress is told how many of all bytes have been copied. May be nil.
	Progress func(done, total int64)
	Transfer func(label string, bytes int64) *progress.Transfer // as in [CreateOptions]
}

// Copy writes the bundle that r reads, from which nothing has been read yet, to output: the same bytes, from whatever medium they
// come, since the manifest, the signatures and the blobs determine each of them. What was there is replaced as by [Create]; it appears
// when all of it has been verified, and is on disk.
func Copy(ctx context.Context, r *Reader, output string, opts CopyOptions) error {
	p, err := r.plan()
	if err != nil {
		return err
	}
	sink, err := newSink(output, p, opts.Directory, opts.PartBytes, nil)
	if err != nil {
		return err
	}
	err = r.copyTo(ctx, sink, p, p.reports(opts.Progress, opts.Transfer))
	if err == nil {
		err = sink.commit()
	}
	if err != nil {
		return errors.Join(err, sink.abort())
	}
	return nil
}

// plan is that of the bundle being read. The entries' items cannot be opened: they come when they come.
func (r *Reader) plan() (*plan, error) {
	issued, err := parseIssuedAt(r.manifest.IssuedAt)
	if err != nil {
		return nil, err
	}
	p := &plan{manifest: r.manifest, mtime: issued.Unix()}
	for _, f := range r.head {
		p.items = append(p.items, memoryItem(f.Name, f.Data))
	}
	for _, e := range r.manifest.Carried() {
		p.items = append(p.items, item{name: e.Path, size: e.Size, sha256: e.SHA256, role: e.Role})
	}
	return p, nil
}

func (r *Reader) copyTo(ctx context.Context, sink sink, p *plan, report reports) error {
	buffer := make([]byte, copyBytes)
	at := make(map[string]int, len(p.items))
	for i, item := range p.items {
		at[item.name] = i
		if item.open == nil {
			continue
		}
		if err := p.writeItem(ctx, sink, i, buffer, report); err != nil {
			return err
		}
	}
	for {
		e, contents, err := r.Next()
		if err == io.EOF {
			return nil
		}
		if err == nil {
			err = copyEntry(ctx, sink, at[e.Path], e, contents, buffer, report)
		}
		if err != nil {
			return err
		}
	}
}

// copyEntry writes one entry, which the reader verifies.
func copyEntry(ctx context.Context, sink sink, i int, e Entry, contents io.Reader, buffer []byte, report reports) (err error) {
	kept, err := sink.keep(ctx, i, buffer)
	if err != nil {
		return err
	}
	var w io.Writer = io.Discard
	if !kept {
		item, offset, openErr := sink.item(i)
		if openErr != nil {
			return openErr
		}
		defer func() { err = errors.Join(err, item.Close()) }()
		w = io.NewOffsetWriter(item, offset)
	}
	transfer := report.begin(e)
	defer transfer.End()
	moved := func(n int) {
		report.moved(n)
		transfer.Add(int64(n))
	}
	_, err = io.CopyBuffer(reportingWriter{ctx, w, moved}, struct{ io.Reader }{contents}, buffer)
	return err
}

// reportingWriter counts what is written, and fails once its context is done.
type reportingWriter struct {
	ctx    context.Context
	w      io.Writer
	report func(n int)
}

func (c reportingWriter) Write(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := c.w.Write(p)
	c.report(n)
	return n, err
}
