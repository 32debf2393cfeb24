package bundle

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"sync"
	"sync/atomic"

	"airgap/internal/progress"
	"airgap/signing"
)

// copyBytes is the unit in which contents are copied: one buffer per worker.
const copyBytes = 1 << 20

// defaultConcurrency is how many blobs are fetched at once when the caller does not say.
const defaultConcurrency = 4

// CreateOptions are the choices of [Create].
type CreateOptions struct {
	Signers     []*signing.PrivateKey // none makes an unsigned bundle, which installs only when asked to explicitly
	Directory   bool                  // write a folder instead of a tar; so does an output that ends in "/"
	PartBytes   int64                 // above 0: cut the tar into parts of so many bytes, named by [PartName]
	Concurrency int                   // blobs fetched at once; 0 means 4. The bytes written do not depend on it.
	Spool       *Spool                // made for the same output and form, with layers that are there already; may be nil

	// Progress is told how many of all bytes have been written, never from two goroutines at once. May be nil.
	Progress func(done, total int64)
	// Transfer is asked for a report of each long blob when it begins. May be nil, and so may the report.
	Transfer func(label string, bytes int64) *progress.Transfer
}

// Create writes the bundle of c to output and returns its manifest.
//
// The manifest is made and signed, and each header laid, before a layer is fetched; then blobs stream straight to
// their place, several at a time, each held against what was signed. The output
// appears under its name when it is complete and on disk; after an error nothing of it is left.
// A bundle that is already there is replaced, whole: a file and a folder in one step, parts so that the first is there only with
// all others. Of a folder, what stays the same is neither fetched nor written again, where the file system has hard links.
func Create(ctx context.Context, output string, c Content, opts CreateOptions) (*Manifest, error) {
	p, err := newPlan(ctx, c, opts.Signers)
	if err != nil {
		return nil, err
	}
	sink, err := newSink(output, p, opts.Directory, opts.PartBytes, opts.Spool)
	if err != nil {
		return nil, err
	}
	err = p.write(ctx, sink, cmp.Or(opts.Concurrency, defaultConcurrency), p.reports(opts.Progress, opts.Transfer))
	if err == nil {
		err = sink.commit()
	}
	if err != nil {
		return nil, errors.Join(err, sink.abort())
	}
	return p.manifest, nil
}

// write copies every item to the sink with the given number of workers.
func (p *plan) write(ctx context.Context, sink sink, workers int, report reports) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var next atomic.Int64
	var group sync.WaitGroup
	for range max(1, workers) {
		group.Go(func() {
			buffer := make([]byte, copyBytes)
			for i := int(next.Add(1)) - 1; i < len(p.items) && ctx.Err() == nil; i = int(next.Add(1)) - 1 {
				if err := p.writeItem(ctx, sink, i, buffer, report); err != nil {
					cancel(err)
					return
				}
			}
		})
	}
	group.Wait()
	return context.Cause(ctx)
}

func (p *plan) writeItem(ctx context.Context, sink sink, i int, buffer []byte, report reports) (err error) {
	item := p.items[i]
	kept, err := sink.keep(ctx, i, buffer)
	if kept {
		report.moved(int(item.size))
	}
	if kept || err != nil {
		return err
	}
	w, offset, err := sink.item(i)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	transfer := report.begin(item.entry())
	defer transfer.End()
	return copyBlob(ctx, item.entry(), item.open, buffer, func(b []byte) error {
		n, err := w.WriteAt(b, offset)
		offset += int64(n)
		report.moved(n)
		transfer.Add(int64(n))
		return err
	})
}

// copyBlob streams what open gives to write, in pieces of up to len(buffer) bytes, and holds it against
// the size and, unless empty, the SHA-256 of want. Bytes beyond the size are not written.
func copyBlob(ctx context.Context, want Entry, open func(context.Context) (io.ReadCloser, error), buffer []byte, write func([]byte) error) error {
	r, err := open(ctx)
	if err != nil {
		return fmt.Errorf("%s: %w", want.Path, err)
	}
	defer r.Close()
	check := newContentCheck(want)
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := io.ReadFull(r, buffer[:min(int64(len(buffer)), check.left+1)]) // one more byte than wanted shows a blob that is too long
		if err := check.fits(n); err != nil {
			return err
		}
		check.add(buffer[:n])
		if err := write(buffer[:n]); err != nil {
			return fmt.Errorf("%s: %w", want.Path, err)
		}
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			return check.end()
		}
		if err != nil {
			return fmt.Errorf("%s: %w", want.Path, err)
		}
	}
}

// contentCheck holds the contents of an entry that come from somewhere against the size and, unless empty, the SHA-256 that it
// should have. Its errors are [ErrDigest].
type contentCheck struct {
	want Entry
	left int64 // bytes that are to come
	hash hash.Hash
}

func newContentCheck(want Entry) *contentCheck {
	return &contentCheck{want, want.Size, sha256.New()}
}

// fits says whether n bytes more are not too many.
func (c *contentCheck) fits(n int) error {
	if int64(n) > c.left {
		return c.differ("more than the declared %d bytes", c.want.Size)
	}
	return nil
}

// add takes the next bytes, which fit.
func (c *contentCheck) add(b []byte) {
	c.left -= int64(len(b))
	c.hash.Write(b)
}

// taken is how many bytes have come.
func (c *contentCheck) taken() int64 { return c.want.Size - c.left }

// end says whether what came was all, and the right.
func (c *contentCheck) end() error {
	if c.left > 0 {
		return c.differ("%d of the declared %d bytes", c.taken(), c.want.Size)
	}
	if got := hex.EncodeToString(c.hash.Sum(nil)); c.want.SHA256 != "" && got != c.want.SHA256 {
		return c.differ("the SHA-256 %s", got)
	}
	return nil
}

func (c *contentCheck) differ(has string, args ...any) error {
	return fmt.Errorf("%w: %s has %s; its source has changed, or is damaged; build again", ErrDigest, c.want.Path, fmt.Sprintf(has, args...))
}
