package peer

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"airgap/internal/site"
)

// ErrStalled says that no peer gave anything for a long time.
var ErrStalled = errors.New("no machine of the site gives the rest")

const (
	defaultSlots = 3
	// defaultStall is how long nothing may come before a fetcher gives up.
	defaultStall = 2 * time.Minute
	// maxSpooledBytes is how much may wait for the consumer before no more is fetched.
	maxSpooledBytes = 512 << 20
)

// FetcherOptions say where blobs come from and where they wait.
type FetcherOptions struct {
	// Tracker is asked who has what; a [*site.Client] is one. Nil: the peers are asked at random.
	Tracker interface {
		Exchange(context.Context, site.ExchangeRequest) (*site.ExchangeResponse, error)
	}
	// TLS is how peers are talked to, [site.TLSConfig]; nil: without.
	TLS *tls.Config
	// Peers are the nodes that hold everything, "address:port"; the servers first.
	Peers []string
	// Address is where this machine serves what it has, "address:port".
	Address string
	// Dir is the spool: blobs wait there for their consumer. What an earlier run left in it is verified and used.
	Dir string
	// Slots is how many large blobs are taken at once; 0: 3.
	Slots int
	// StallTimeout is how long nothing may come before [Fetcher.Next] fails with [ErrStalled]; 0: two minutes. As long as the tracker
	// says to wait, another joiner is getting something: then it is five times that.
	StallTimeout time.Duration
}

// Fetcher takes blobs from peers into a spool folder, several at once, each from whom the tracker says. What is in
// the spool under its final name is whole and has its digest. Its methods may be used by several goroutines.
type Fetcher struct {
	options  FetcherOptions
	client   *http.Client
	stall    time.Duration // stallTimeout, but in tests
	hopeless time.Duration // hopelessAfter, but in tests
	cancel   context.CancelFunc
	running  sync.WaitGroup
	wake     chan struct{} // the loop has something to do
	news     chan struct{} // Next has something to look at

	mu      sync.Mutex // guards what follows
	blobs   map[string]*wanted
	order   []string // of Fetch
	ready   []string // verified, and not yet given out
	waiting int64    // bytes of blobs in the spool
	left    int      // blobs that Next has not given out
	large   int      // takes of other blobs under way
	tiny    int      // takes of blobs up to directBytes under way
	have    []string // to announce; the first told are known to the tracker
	told    int
	done    []site.Take
	failed  []site.Take
	rests   map[string]rest // by peer; those that failed this machine
	slow    map[string]bool // peers that were left for being slow; once
	best    float64         // bytes a second of the fastest take
	reasons map[string]string
	moved   time.Time // when bytes last came, or nothing was wanted
	heard   time.Time // when the tracker last answered
	err     error     // why nothing more comes
}

// NewFetcher makes a fetcher and its spool folder. Close ends it.
func NewFetcher(o FetcherOptions) (*Fetcher, error) {
	if o.Slots == 0 {
		o.Slots = defaultSlots
	}
	o.Slots = min(o.Slots, maxSlots)
	if o.StallTimeout == 0 {
		o.StallTimeout = defaultStall
	}
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("spool of blobs: %w", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	now := time.Now()
	f := &Fetcher{
		options: o, client: newClient(o.TLS), stall: stallTimeout, hopeless: hopelessAfter, cancel: cancel,
		wake: make(chan struct{}, 1), news: make(chan struct{}, 1),
		blobs: map[string]*wanted{}, rests: map[string]rest{}, slow: map[string]bool{}, reasons: map[string]string{}, moved: now, heard: now,
	}
	f.running.Go(func() { f.run(ctx) })
	return f, nil
}

// Close ends all transfers. The spool stays.
func (f *Fetcher) Close() error {
	f.cancel()
	f.fail(errors.New("peers: the fetcher is closed"))
	f.running.Wait()
	f.client.CloseIdleConnections()
	return nil
}

// Fetch asks for blobs, in the order in which they are wished for. [Fetcher.Next] gives them out. One that has been given out before
// is fetched again.
func (f *Fetcher) Fetch(ctx context.Context, want []site.Blob) error {
	for _, b := range want {
		if _, err := parseKey(b.Digest); err != nil {
			return fmt.Errorf("fetch: %w", err)
		}
		if b.Size < 0 {
			return fmt.Errorf("fetch %s: %d bytes", b.Digest, b.Size)
		}
		if err := f.want(ctx, b); err != nil {
			return err
		}
	}
	poke(f.wake)
	poke(f.news)
	return nil
}

func (f *Fetcher) want(ctx context.Context, b site.Blob) error {
	f.mu.Lock()
	known := f.blobs[b.Digest]
	f.mu.Unlock()
	if known != nil && known.state != held {
		return nil
	}
	found, err := verifySpooled(ctx, f.spooled(b.Digest), b)
	if err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	w := &wanted{Blob: b, path: f.spooled(b.Digest) + ".part"}
	f.blobs[b.Digest] = w
	f.left++
	if found {
		f.arrived(w)
		return nil
	}
	if f.left == 1 {
		f.moved = time.Now()
	}
	f.order = append(f.order, b.Digest)
	return nil
}

// Next gives out the next blob that is whole, in any order; io.EOF when everything has been given out. The caller closes the
// file, and calls Done when it has the bytes elsewhere.
func (f *Fetcher) Next(ctx context.Context) (digest string, contents *os.File, err error) {
	for {
		f.mu.Lock()
		switch {
		case len(f.ready) > 0:
			digest, f.ready = f.ready[0], f.ready[1:]
			f.left--
			f.mu.Unlock()
			contents, err = os.Open(f.spooled(digest))
			return digest, contents, err
		case f.left == 0:
			f.mu.Unlock()
			return "", nil, io.EOF
		case f.err != nil:
			err = f.err
			f.mu.Unlock()
			return "", nil, err
		}
		f.mu.Unlock()
		select {
		case <-f.news:
		case <-ctx.Done():
			return "", nil, ctx.Err()
		}
	}
}

// Done says that the caller has a blob in a place of its own, from which it serves it: it leaves the spool.
func (f *Fetcher) Done(digest string) error {
	f.mu.Lock()
	w := f.blobs[digest]
	if w != nil && w.state == spooled {
		w.state = held
		f.waiting -= w.Size
	}
	f.mu.Unlock()
	poke(f.wake)
	if err := os.Remove(f.spooled(digest)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("spool of blobs: %w", err)
	}
	return nil
}

// Have announces blobs that this machine has and serves without having fetched them.
func (f *Fetcher) Have(digests ...string) {
	f.mu.Lock()
	f.have = append(f.have, digests...)
	f.mu.Unlock()
	poke(f.wake)
}

// Blob opens a blob that is in the spool, whole and verified. The error is [fs.ErrNotExist] if it is not.
func (f *Fetcher) Blob(digest string) (*os.File, error) {
	f.mu.Lock()
	w := f.blobs[digest]
	there := w != nil && w.state == spooled
	f.mu.Unlock()
	if !there {
		return nil, fmt.Errorf("blob %.80q: %w", digest, fs.ErrNotExist)
	}
	return os.Open(f.spooled(digest))
}

// spooled is the path of a whole blob.
func (f *Fetcher) spooled(digest string) string {
	return filepath.Join(f.options.Dir, strings.TrimPrefix(digest, digestPrefix))
}

// arrived notes that a blob is in the spool. The lock is held.
func (f *Fetcher) arrived(w *wanted) {
	w.state = spooled
	f.waiting += w.Size
	f.ready = append(f.ready, w.Digest)
	f.have = append(f.have, w.Digest)
}

// fail ends everything; the first error counts.
func (f *Fetcher) fail(err error) {
	f.mu.Lock()
	if f.err == nil {
		f.err = err
	}
	f.mu.Unlock()
	poke(f.news)
	poke(f.wake)
}

// poke wakes whoever waits for the channel.
func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// SpoolBytes is the most that the spool of a fetcher with the usual number of slots takes on the disk for blobs of the given sizes.
func SpoolBytes(sizes []int64) int64 {
	var all, largest int64
	for _, size := range sizes {
		all += size
		largest = max(largest, size)
	}
	return min(all, maxSpooledBytes+defaultSlots*largest)
}
