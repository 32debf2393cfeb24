package media

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"airgap/bundle"
)

// Blobs opens entries of a bundle in any order, several at a time, each by a request of its own. What it gives is held against nothing:
// that is for the caller, who knows each entry's SHA-256. A connection that breaks is taken up again where it broke.
type Blobs interface {
	Open(ctx context.Context, e bundle.Entry) (io.ReadCloser, error)
}

// ErrInOrder says that a medium gives the bytes of a bundle from front to back alone.
var ErrInOrder = errors.New("its bytes come in order alone")

// OpenBlobs lets entries be opened of a bundle at a location that is no path, whose head r has read there: in a registry, or on a server that
// gives parts of files (RFC 9110, 14). The error is [ErrInOrder] for all other media.
func OpenBlobs(ctx context.Context, location string, r *bundle.Reader, opts Options) (Blobs, error) {
	switch scheme, rest := cut(location); {
	case scheme == "oci":
		a, err := newArtifact(ctx, rest, opts.Cache)
		if err != nil {
			return nil, err
		}
		return artifactBlobs{a}, a.lists(r.Manifest().Carried())
	case scheme != "" && !IsPart(location):
		return openRanges(ctx, location, r)
	}
	return nil, ErrInOrder
}

// artifactBlobs are those of a bundle in a registry.
type artifactBlobs struct{ artifact *artifact }

func (b artifactBlobs) Open(ctx context.Context, e bundle.Entry) (io.ReadCloser, error) {
	return b.artifact.open(ctx, e.Digest(), e.Size)
}

// ranges are the entries of a bundle in a file on a server: what was signed says where each lies.
type ranges struct {
	url     string
	offsets map[string]int64 // of contents in the file, by path
	tag     string           // of the file
}

// openRanges asks for the last byte of the file, to see whether the server gives parts of it and whether it is as long as the bundle.
func openRanges(ctx context.Context, location string, r *bundle.Reader) (Blobs, error) {
	length := r.TarBytes()
	last := newDownload(ctx, location)
	last.offset, last.size, last.section = length-1, length, true
	if err := last.begin(); err != nil {
		var status *statusError
		if errors.As(err, &status) && status.code == http.StatusRequestedRangeNotSatisfiable {
			err = fmt.Errorf("%w: the server has less than the %d bytes of it; %s", bundle.ErrTruncated, length, recopyToServer)
		}
		return nil, err
	}
	defer last.Close()
	if last.whole >= 0 {
		if err := (&download{size: last.whole}).Expect(length); err != nil {
			return nil, err
		}
	}
	return &ranges{location, r.Offsets(), last.tag}, nil
}

func (r *ranges) Open(ctx context.Context, e bundle.Entry) (io.ReadCloser, error) {
	d := newDownload(ctx, r.url)
	d.offset = r.offsets[e.Path]
	d.size, d.tag, d.section = d.offset+e.Size, r.tag, true
	if e.Size == 0 {
		return d, nil
	}
	return d, d.begin()
}

// acceptSection notes what the answer to a request for a section of a file says of all of it.
func (d *download) acceptSection(answer *http.Response) {
	d.tag = tagOf(answer)
	_, whole, _ := strings.Cut(answer.Header.Get("Content-Range"), "/")
	var err error
	if d.whole, err = strconv.ParseInt(whole, 10, 64); err != nil { // "*": the server does not say
		d.whole = -1
	}
}
