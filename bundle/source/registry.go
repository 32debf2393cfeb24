package source

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"sync"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"airgap/internal/blobcache"
	"airgap/internal/registryclient"
)

// registries pulls from registries with the credentials of the Docker configuration.
// The requests of one repository share a token and connections.
type registries struct {
	puller  *remote.Puller
	clients once[string, *http.Client] // by repository
	cache   *blobcache.Cache           // nil: nothing is kept
}

// openBlobs is how many blobs can be open at once. It is above what the writer of a bundle and
// the resolving of images ask for together: they set the pace, this must not stop them.
const openBlobs = 256

// newRegistries keeps what it pulls in the folder cache, unless that is "".
func newRegistries(cache string) (*registries, error) {
	r := &registries{}
	var err error
	if cache != "" {
		if r.cache, err = blobcache.Open(cache); err != nil {
			return nil, err
		}
	}
	r.puller, err = remote.NewPuller(registryclient.Options(remote.WithJobs(openBlobs))...)
	return r, err
}

// root asks for what a reference points at now.
func (r *registries) root(ctx context.Context, ref Reference) (ocispec.Descriptor, store, error) {
	parsed, err := ref.named()
	if err != nil {
		return ocispec.Descriptor{}, nil, err
	}
	from := repository{r, parsed.Context()}
	if root, data := r.cachedRoot(ref.Digest); data != nil {
		return root, inMemory{map[digest.Digest][]byte{root.Digest: data}, from}, nil
	}
	got, err := r.puller.Get(ctx, parsed)
	if err != nil {
		return ocispec.Descriptor{}, nil, explain(parsed.Context(), err)
	}
	root := ocispec.Descriptor{
		MediaType: string(got.MediaType),
		Digest:    digest.Digest(got.Digest.String()),
		Size:      got.Size,
	}
	r.keep(ctx, root.Digest, got.Manifest)
	return root, inMemory{map[digest.Digest][]byte{root.Digest: got.Manifest}, from}, nil
}

// named is a reference as the client of registries has it.
func (r Reference) named() (name.Reference, error) {
	return name.ParseReference(r.String(), name.StrictValidation)
}

// cachedRoot is an index or manifest by its digest, if it is in the cache and says itself what it is.
func (r *registries) cachedRoot(of string) (ocispec.Descriptor, []byte) {
	if r.cache == nil || of == "" {
		return ocispec.Descriptor{}, nil
	}
	data := r.cache.Bytes(of)
	var said struct {
		MediaType string `json:"mediaType"`
	}
	if json.Unmarshal(data, &said) != nil || said.MediaType == "" {
		return ocispec.Descriptor{}, nil
	}
	return ocispec.Descriptor{MediaType: said.MediaType, Digest: digest.Digest(of), Size: int64(len(data))}, data
}

// keep puts an index or manifest into the cache.
func (r *registries) keep(ctx context.Context, d digest.Digest, data []byte) {
	if r.cache == nil {
		return
	}
	kept, err := r.cache.Blob(ctx, d.String(), int64(len(data)), func(_ context.Context, offset int64) (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(data[offset:])), nil
	})
	if err == nil {
		_, _ = io.Copy(io.Discard, kept) // a cache that does not take it is no hindrance
		kept.Close()
	}
}

// repository is the store of one repository.
type repository struct {
	registries *registries
	name       name.Repository
}

func (r repository) manifest(ctx context.Context, d ocispec.Descriptor) ([]byte, error) {
	if r.registries.cache != nil {
		if data := r.registries.cache.Bytes(d.Digest.String()); data != nil {
			return data, nil
		}
	}
	got, err := r.registries.puller.Get(ctx, r.name.Digest(d.Digest.String()))
	if err != nil {
		return nil, explain(r.name, err)
	}
	r.registries.keep(ctx, d.Digest, got.Manifest)
	return got.Manifest, nil
}

func (r repository) blob(ctx context.Context, d ocispec.Descriptor) (io.ReadCloser, error) {
	open := func(ctx context.Context, offset int64) (io.ReadCloser, error) {
		body, err := r.openAt(ctx, d, offset)
		if err != nil {
			return nil, err
		}
		reopen := func(offset int64) (io.ReadCloser, error) { return r.openAt(ctx, d, offset) }
		return &resuming{ctx: ctx, body: body, open: reopen, offset: offset}, nil
	}
	if r.registries.cache == nil {
		return open(ctx, 0)
	}
	return r.registries.cache.Blob(ctx, d.Digest.String(), d.Size, open)
}

// explain says in words what a registry answers about an image or chart.
func explain(repository name.Repository, err error) error {
	return registryclient.Explain(repository.RegistryStr(), "image", err)
}

// retries is how often the download of one blob is taken up again after it broke off.
const retries = 3

// resuming reads a blob and, if the connection breaks, goes on from there with another. The reader of the blob
// sees one stream and checks its digest.
type resuming struct {
	ctx    context.Context
	body   io.ReadCloser
	open   func(offset int64) (io.ReadCloser, error)
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
	again, openErr := r.open(r.offset)
	if openErr != nil {
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
