package media

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"airgap/bundle"
	"airgap/internal/registryclient"
)

const (
	// attempts is how often in a row a download is taken up again without a byte having come.
	attempts = 5
	// firstPause is how long it waits before the first of them; before each further one twice as long.
	firstPause = 500 * time.Millisecond
	// stall is how long no byte may come before a connection counts as broken.
	stall = time.Minute
)

// errChanged says that a server has another file now.
var errChanged = errors.New("the file on the server has changed while it was read")

// download reads a file of a server from an offset, and takes it up again where the connection broke.
type download struct {
	ctx    context.Context
	url    string
	client *http.Client

	body   io.ReadCloser
	cancel context.CancelFunc // ends the request that body is of
	watch  *time.Timer        // does so when nothing comes
	offset int64              // bytes read so far
	size   int64              // of the file; -1: the server does not say
	fixed  bool               // the address stands for these bytes alone, and size is known
	// section says that the bytes from offset to size are wanted alone, and that whole is the file's size as far as the server says it.
	section bool
	whole   int64
	tag     string        // what tells the file from one that has taken its place; empty: nothing does
	failed  int           // attempts since the last byte
	pause   time.Duration // before the first attempt
}

// openURL asks a server for a file. The error is [fs.ErrNotExist] if it has none.
func openURL(ctx context.Context, location string) (*download, error) {
	d := newDownload(ctx, location)
	return d, d.begin()
}

func newDownload(ctx context.Context, location string) *download {
	return &download{ctx: ctx, url: location, client: http.DefaultClient, pause: firstPause}
}

// begin opens the file at the offset.
func (d *download) begin() error {
	ctx, cancel := context.WithCancel(d.ctx)
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, d.url, nil)
	if err != nil {
		cancel()
		return err
	}
	request.Header.Set("User-Agent", registryclient.UserAgent)
	request.Header.Set("Accept-Encoding", "identity") // the bytes themselves
	if d.offset > 0 {
		last := ""
		if d.size >= 0 { // some registries want to be told
			last = strconv.FormatInt(d.size-1, 10)
		}
		request.Header.Set("Range", fmt.Sprintf("bytes=%d-%s", d.offset, last))
		if d.tag != "" {
			request.Header.Set("If-Range", d.tag) // RFC 9110, 13.1.5: the whole file, if it is another one now
		}
	}
	watch := time.AfterFunc(stall, cancel)
	answer, err := d.client.Do(request)
	if err != nil {
		cancel()
		return redacted(err)
	}
	if err := d.accept(answer); err != nil {
		answer.Body.Close()
		cancel()
		return err
	}
	watch.Stop()
	d.body, d.cancel, d.watch = answer.Body, cancel, watch
	return nil
}

// accept checks an answer, and brings its body to the offset.
func (d *download) accept(answer *http.Response) error {
	partial := answer.StatusCode == http.StatusPartialContent
	switch {
	case !partial && answer.StatusCode != http.StatusOK:
		return &statusError{answer.StatusCode, answer.Request.URL.Redacted()}
	case partial:
		if from, ok := strings.CutPrefix(answer.Header.Get("Content-Range"), fmt.Sprintf("bytes %d-", d.offset)); !ok || d.offset == 0 {
			return fmt.Errorf("the server sent the range %q, asked for was byte %d", from, d.offset)
		}
		if d.section {
			d.acceptSection(answer)
		}
		return nil
	case d.section:
		if d.tag != "" && tagOf(answer) != d.tag {
			return errChanged
		}
		return ErrInOrder
	case d.fixed:
		if answer.ContentLength >= 0 && answer.ContentLength != d.size {
			return fmt.Errorf("%w: the server has %d bytes of it, there must be %d", bundle.ErrDigest, answer.ContentLength, d.size)
		}
		return skip(answer.Body, d.offset)
	}
	tag := tagOf(answer)
	if d.offset == 0 {
		d.tag, d.size = tag, answer.ContentLength
		return nil
	}
	if tag != d.tag || answer.ContentLength != d.size {
		return errChanged
	}
	return skip(answer.Body, d.offset)
}

// skip passes over what has been read before, of a server that knows no ranges.
func skip(body io.Reader, n int64) error {
	_, err := io.CopyN(io.Discard, body, n)
	return err
}

// tagOf is what tells the file of an answer from one that takes its place.
func tagOf(answer *http.Response) string {
	return cmp.Or(strong(answer.Header.Get("Etag")), answer.Header.Get("Last-Modified"))
}

// strong returns an entity tag if it stands for the bytes of a file; one of a server that compresses may not.
func strong(tag string) string {
	if strings.HasPrefix(tag, "W/") {
		return ""
	}
	return tag
}

func (d *download) Read(p []byte) (int, error) {
	for {
		if d.offset == d.size {
			return 0, io.EOF
		}
		n, err := 0, io.ErrUnexpectedEOF
		if d.body != nil {
			d.watch.Reset(stall)
			if d.section {
				p = p[:min(int64(len(p)), d.size-d.offset)]
			}
			n, err = d.body.Read(p)
			d.watch.Stop()
		}
		d.offset += int64(n)
		switch {
		case n > 0:
			d.failed = 0
			return n, nil
		case err == nil:
			continue
		case err == io.EOF && d.size < 0:
			return 0, io.EOF
		case d.ctx.Err() != nil:
			return 0, d.ctx.Err()
		}
		if err := d.resume(err); err != nil {
			return 0, err
		}
	}
}

// resume waits a little and opens the file again. cause is why.
func (d *download) resume(cause error) error {
	d.Close()
	if d.failed == attempts {
		return fmt.Errorf("the connection broke after %d bytes: %w", d.offset, redacted(cause))
	}
	select {
	case <-time.After(d.pause << d.failed):
	case <-d.ctx.Done():
		return d.ctx.Err()
	}
	d.failed++
	err := d.begin()
	var status *statusError
	if err == nil || errors.Is(err, errChanged) || errors.Is(err, ErrInOrder) || errors.As(err, &status) && status.code < http.StatusInternalServerError {
		return err
	}
	return nil // the next read tries again
}

// Expect refuses a file of another length before the rest of it is read.
func (d *download) Expect(bytes int64) error {
	switch {
	case d.size < 0 || d.size == bytes:
		return nil
	case d.size < bytes:
		return fmt.Errorf("%w: the server has %d bytes of %d; %s", bundle.ErrTruncated, d.size, bytes, recopyToServer)
	default:
		return fmt.Errorf("%w: the server has %d bytes, the bundle has %d; %s", bundle.ErrFormat, d.size, bytes, recopyToServer)
	}
}

// recopyToServer is the remedy for what a server has wrong.
const recopyToServer = "run it again; if it stays so, copy the bundle to the server again"

func (*download) Remedy(int64, int64) string { return recopyToServer }

func (d *download) Close() error {
	if d.body == nil {
		return nil
	}
	d.watch.Stop()
	d.cancel()
	err := d.body.Close()
	d.body = nil
	return err
}

// statusError is an answer that is none of those wanted.
type statusError struct {
	code int
	url  string
}

func (e *statusError) Error() string {
	return fmt.Sprintf("%s: the server answers %d %s", e.url, e.code, http.StatusText(e.code))
}

// Is makes a file that the server does not have a missing file.
func (e *statusError) Is(target error) bool {
	return target == fs.ErrNotExist && (e.code == http.StatusNotFound || e.code == http.StatusGone)
}

// redacted is an error of the HTTP client without the address, which may have a password in it: who asked names it.
func redacted(err error) error {
	var of *url.Error
	if errors.As(err, &of) {
		return of.Err
	}
	return err
}

// urlFolder is a folder of a server.
type urlFolder struct{ base *url.URL }

func (d urlFolder) String() string { return d.base.Redacted() }

func (d urlFolder) location(name string) string {
	at := *d.base
	at.Path += name
	return at.String()
}

func (d urlFolder) open(ctx context.Context, name string) (io.ReadCloser, int64, error) {
	file, err := openURL(ctx, d.location(name))
	if err != nil {
		return nil, 0, err
	}
	if file.size < 0 {
		return nil, 0, errors.Join(fmt.Errorf("%s: the server does not say how large it is", name), file.Close())
	}
	return file, file.size, nil
}

func (d urlFolder) size(ctx context.Context, name string) (int64, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodHead, d.location(name), nil)
	if err != nil {
		return 0, err
	}
	request.Header.Set("Accept-Encoding", "identity")
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, redacted(err)
	}
	answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return 0, &statusError{answer.StatusCode, answer.Request.URL.Redacted()}
	}
	size, err := strconv.ParseInt(answer.Header.Get("Content-Length"), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%s: the server does not say how large it is", name)
	}
	return size, nil
}
