package media

import (
	"bytes"
	"errors"
	"io"
	"sync/atomic"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// errReadOnce says that a blob cannot be sent again: it comes from a medium that is read once.
var errReadOnce = errors.New("the connection broke; run it again: what has been sent stays")

// blob is a file of a bundle as what package remote uploads.
type blob struct {
	sent     *atomic.Int64   // of all blobs, bytes that are sent
	from     name.Repository // where in the registry it can be mounted from; zero: nowhere
	digest   string
	size     int64
	contents io.Reader     // a *bytes.Reader of a small one, which can be sent again
	moved    func(n int64) // told of what is read of a long one
	begun    bool
	failure  error // of contents
}

func (b *blob) Digest() (v1.Hash, error)             { return v1.NewHash(b.digest) }
func (b *blob) DiffID() (v1.Hash, error)             { return b.Digest() }
func (b *blob) Size() (int64, error)                 { return b.size, nil }
func (b *blob) MediaType() (types.MediaType, error)  { return fileMediaType, nil }
func (b *blob) Uncompressed() (io.ReadCloser, error) { return b.Compressed() }

// Compressed opens the blob to be sent.
func (b *blob) Compressed() (io.ReadCloser, error) {
	if small, ok := b.contents.(*bytes.Reader); ok && !b.begun {
		b.sent.Add(b.size)
		b.begun = true
		return io.NopCloser(small), nil
	} else if ok {
		_, err := small.Seek(0, io.SeekStart)
		return io.NopCloser(small), err
	}
	if b.begun {
		return nil, errReadOnce
	}
	b.begun = true
	b.sent.Add(b.size)
	return io.NopCloser(b), nil
}

// Read reads the contents, and keeps why that failed.
func (b *blob) Read(p []byte) (int, error) {
	n, err := b.contents.Read(p)
	b.moved(int64(n))
	if err != nil && err != io.EOF {
		b.failure = err
	}
	return n, err
}
