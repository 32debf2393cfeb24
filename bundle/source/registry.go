package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// errNotFound says that a registry answers but has no such thing.
var errNotFound = errors.New("the registry has no such image")

// registries pulls from registries with the credentials of the Docker configuration.
// The requests of one repository share a token and connections.
type registries struct{ puller *remote.Puller }

// openBlobs is how many blobs can be open at once. It is above what the writer of a bundle and
// the resolving of images ask for together: they set the pace, this must not stop them.
const openBlobs = 256

func newRegistries() (*registries, error) {
	puller, err := remote.NewPuller(
		remote.WithAuthFromKeychain(authn.DefaultKeychain),
		remote.WithJobs(openBlobs),
		remote.WithUserAgent("airgap"),
	)
	return &registries{puller}, err
}

// root asks for what a reference points at now.
func (r *registries) root(ctx context.Context, ref Reference) (ocispec.Descriptor, store, error) {
	parsed, err := name.ParseReference(ref.String(), name.StrictValidation)
	if err != nil {
		return ocispec.Descriptor{}, nil, err
	}
	got, err := r.puller.Get(ctx, parsed)
	if err != nil {
		return ocispec.Descriptor{}, nil, explain(parsed.Context().RegistryStr(), err)
	}
	root := ocispec.Descriptor{
		MediaType: string(got.MediaType),
		Digest:    digest.Digest(got.Digest.String()),
		Size:      got.Size,
	}
	known := map[digest.Digest][]byte{root.Digest: got.Manifest}
	return root, inMemory{known, repository{r.puller, parsed.Context()}}, nil
}

// repository is the store of one repository.
type repository struct {
	puller *remote.Puller
	name   name.Repository
}

func (r repository) manifest(ctx context.Context, d ocispec.Descriptor) ([]byte, error) {
	got, err := r.puller.Get(ctx, r.name.Digest(d.Digest.String()))
	if err != nil {
		return nil, explain(r.name.RegistryStr(), err)
	}
	return got.Manifest, nil
}

func (r repository) blob(ctx context.Context, d ocispec.Descriptor) (io.ReadCloser, error) {
	open := func() (io.ReadCloser, error) {
		layer, err := r.puller.Layer(ctx, r.name.Digest(d.Digest.String()))
		if err != nil {
			return nil, explain(r.name.RegistryStr(), err)
		}
		body, err := layer.Compressed()
		if err != nil {
			return nil, explain(r.name.RegistryStr(), err)
		}
		return body, nil
	}
	body, err := open()
	if err != nil {
		return nil, err
	}
	return &resuming{ctx: ctx, body: body, open: open}, nil
}

// explain makes a registry's answer a sentence with a remedy.
func explain(host string, err error) error {
	var answer *transport.Error
	if !errors.As(err, &answer) {
		return fmt.Errorf("cannot reach the registry %s: %w", host, err)
	}
	switch answer.StatusCode {
	case http.StatusNotFound:
		return fmt.Errorf("%w: %w", errNotFound, err)
	case http.StatusUnauthorized, http.StatusForbidden:
		return fmt.Errorf("the registry %s gives no access (or has no such image); log in with `docker login %s`: %w", host, host, err)
	}
	return err
}

// retries is how often the download of one blob is taken up again after it broke off.
const retries = 3

// resuming reads a blob and, if the connection breaks, opens it again and skips what
// it has handed on already. The reader of the blob sees one stream and checks its digest.
type resuming struct {
	ctx    context.Context
	body   io.ReadCloser
	open   func() (io.ReadCloser, error)
	offset int64
	broken int
}

func (r *resuming) Read(p []byte) (int, error) {
	n, err := r.body.Read(p)
	r.offset += int64(n)
	if err == nil || err == io.EOF || r.ctx.Err() != nil || r.broken == retries {
		return n, err
	}
	r.broken++
	again, openErr := r.open()
	if openErr != nil {
		return n, err
	}
	if _, skipErr := io.CopyN(io.Discard, again, r.offset); skipErr != nil {
		again.Close()
		return n, err
	}
	r.body.Close()
	r.body = again
	return n, nil
}

func (r *resuming) Close() error { return r.body.Close() }

// once runs a function one time per key and shares its result: several charts name the
// same image.
type once[K comparable, V any] struct {
	mu    sync.Mutex
	calls map[K]func() (V, error)
}

func (o *once[K, V]) do(key K, f func() (V, error)) (V, error) {
	o.mu.Lock()
	if o.calls == nil {
		o.calls = map[K]func() (V, error){}
	}
	call, ok := o.calls[key]
	if !ok {
		call = sync.OnceValues(f)
		o.calls[key] = call
	}
	o.mu.Unlock()
	return call()
}
