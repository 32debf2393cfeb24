package peer

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"time"

	"airgap/internal/site"
)

const (
	// stallTimeout is how long a peer may give nothing in the middle of a blob.
	stallTimeout = 15 * time.Second
	// slowAfter and slowPart tell a slow peer: one that gives, over that time, less than a part of what the fastest has given. It is
	// left for another once.
	slowAfter = 15 * time.Second
	slowPart  = 1. / 50
	// takeBufferBytes is read at once from a peer.
	takeBufferBytes = 256 << 10
)

// failure is why a take came to nothing.
type failure struct {
	why string // one of site's Why constants; empty: nobody is to blame
	err error
}

func (f *failure) Error() string { return f.err.Error() }

func broken(format string, args ...any) *failure {
	return &failure{site.WhyBroken, fmt.Errorf(format, args...)}
}

// errSpool says that this machine failed, not a peer.
type errSpool struct{ error }

func (e errSpool) Unwrap() error { return e.error }

// start takes a blob from a peer in a goroutine of its own. The lock is held.
func (f *Fetcher) start(ctx context.Context, w *wanted, from string, tracked bool) {
	w.state = taking
	count := &f.large
	if w.Size <= directBytes {
		count = &f.tiny
	}
	*count++
	f.running.Go(func() {
		err := f.take(ctx, w, from)
		f.mu.Lock()
		*count--
		f.ended(w, from, tracked, err)
		f.mu.Unlock()
		poke(f.wake)
		poke(f.news)
	})
}

// ended notes what became of a take. The lock is held.
func (f *Fetcher) ended(w *wanted, from string, tracked bool, err error) {
	var spool errSpool
	var failed *failure
	switch {
	case err == nil:
		f.arrived(w)
		delete(f.reasons, from)
		if !f.rests[from].ever {
			delete(f.rests, from)
		}
		if tracked {
			f.done = append(f.done, site.Take{Digest: w.Digest, From: from})
		}
		return
	case errors.As(err, &spool):
		if f.err == nil {
			f.err = fmt.Errorf("spool of blobs: %w", spool.error)
		}
		return
	case !errors.As(err, &failed):
		failed = &failure{site.WhyBroken, err}
	}
	w.state = missing
	w.failures++
	f.reasons[from] = failed.Error()
	f.restFrom(w, from, failed.why)
	if tracked && failed.why != "" {
		f.failed = append(f.failed, site.Take{Digest: w.Digest, From: from, Why: failed.why})
	}
}

// restFrom leaves a peer alone for a while, or forever. The lock is held.
func (f *Fetcher) restFrom(w *wanted, from, why string) {
	now := time.Now()
	rest := f.rests[from]
	switch why {
	case site.WhyAbsent:
		if w.absent == nil {
			w.absent = map[string]time.Time{}
		}
		w.absent[from] = now.Add(absentRest)
		return
	case site.WhyBytes:
		rest.ever = true
	case site.WhyBusy:
		rest.until = now.Add(jitter(busyRest))
	case site.WhyBroken:
		rest.until = now.Add(jitter(min(firstRest<<min(rest.failures, 10), longestRest)))
		rest.failures++
	}
	f.rests[from] = rest
}

// take adds what a peer gives to what has come of a blob, until the blob is whole and verified.
func (f *Fetcher) take(ctx context.Context, w *wanted, from string) error {
	file, err := w.open()
	if err != nil {
		return errSpool{err}
	}
	defer file.Close()
	if _, only := w.sources[from]; w.whole && w.offset > 0 && !(only && len(w.sources) == 1) {
		if err := w.restart(file); err != nil {
			return errSpool{err}
		}
	}
	if w.offset < w.Size || w.Size == 0 {
		if err := f.download(ctx, w, from, file); err != nil {
			return err
		}
	}
	if got := key(w.hash.Sum(nil)).String(); got != w.Digest {
		mixed := len(w.sources) > 1
		w.whole = w.whole || mixed
		if err := w.restart(file); err != nil {
			return errSpool{err}
		}
		if mixed {
			return &failure{"", fmt.Errorf("%s: bytes of several machines do not make it; it is taken anew from one", w.Digest)}
		}
		return &failure{site.WhyBytes, fmt.Errorf("it gave other bytes as %s; it is not asked again", w.Digest)}
	}
	if err := os.Rename(w.path, f.spooled(w.Digest)); err != nil {
		return errSpool{err}
	}
	return nil
}

// download asks a peer for what is missing of a blob.
func (f *Fetcher) download(ctx context.Context, w *wanted, from string, file *os.File) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watchdog := time.AfterFunc(f.stall, func() { cancel(fmt.Errorf("it gave nothing for %v", f.stall)) })
	defer watchdog.Stop()
	response, err := f.get(ctx, from, site.PathBlobs+w.Digest, w.offset)
	if err != nil {
		return broken("%w", cause(ctx, err))
	}
	defer response.Body.Close()
	if err := w.accept(response, file); err != nil {
		return err
	}
	if response.ContentLength >= 0 && response.ContentLength != w.Size-w.offset {
		return &failure{site.WhyBytes, fmt.Errorf("it has %d bytes more of %s where %d are missing", response.ContentLength, w.Digest, w.Size-w.offset)}
	}
	began, first := time.Now(), w.offset
	buffer := make([]byte, min(w.Size-w.offset+1, takeBufferBytes))
	for w.offset < w.Size {
		n, err := response.Body.Read(buffer[:min(int64(len(buffer)), w.Size-w.offset)])
		if n > 0 {
			watchdog.Reset(f.stall)
			if _, err := file.Write(buffer[:n]); err != nil {
				return errSpool{err}
			}
			w.hash.Write(buffer[:n])
			w.offset += int64(n)
			w.sources[from] = true
			if err := f.moving(from, w.offset-first, time.Since(began)); err != nil {
				return err
			}
		}
		if err != nil && w.offset < w.Size {
			return broken("it stopped after %d of %d bytes: %w", w.offset, w.Size, cause(ctx, err))
		}
	}
	return nil
}

// accept checks the head of an answer.
func (w *wanted) accept(response *http.Response, file *os.File) error {
	switch response.StatusCode {
	case http.StatusOK:
		if w.offset > 0 { // it knows no ranges
			if err := w.restart(file); err != nil {
				return errSpool{err}
			}
		}
		return nil
	case http.StatusPartialContent:
		want := fmt.Sprintf("bytes %d-%d/%d", w.offset, w.Size-1, w.Size)
		if got := response.Header.Get("Content-Range"); w.offset == 0 || got != want {
			return broken("it gives %q where %q was asked for", got, want)
		}
		return nil
	case http.StatusNotFound:
		return &failure{site.WhyAbsent, errors.New("it does not have " + w.Digest)}
	case http.StatusServiceUnavailable, http.StatusTooManyRequests:
		return &failure{site.WhyBusy, errors.New("it gives to enough others")}
	case http.StatusRequestedRangeNotSatisfiable:
		return &failure{site.WhyBytes, fmt.Errorf("what it has as %s is shorter", w.Digest)}
	}
	return broken("it answers %s", response.Status)
}

// moving notes that bytes came, and tells whether they come too slowly.
func (f *Fetcher) moving(from string, n int64, took time.Duration) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.moved = time.Now()
	rate := float64(n) / max(took.Seconds(), 1e-3)
	if n >= largeBytes {
		f.best = max(f.best, rate)
	}
	if took > slowAfter && rate < f.best*slowPart && !f.slow[from] {
		f.slow[from] = true
		return broken("it gives %.0f kB/s, others gave %.0f", rate/1e3, f.best/1e3)
	}
	return nil
}

// cause is why ctx ended, if it has, or err.
func cause(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}
