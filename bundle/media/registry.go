package media

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"airgap/bundle"
	"airgap/internal/blobcache"
	"airgap/internal/registryclient"
)

// ArtifactType is the type of a bundle in a registry.
const ArtifactType = "application/vnd.airgap.bundle.v1"

// openAhead is how many blobs are asked for before their turn, so that small ones do not wait for an answer each.
const openAhead = 4

// openRegistry opens a bundle in a registry, of which reference is the name without its scheme.
func openRegistry(ctx context.Context, reference string, trust bundle.Trust, cache *blobcache.Cache) (*bundle.Reader, error) {
	a, err := newArtifact(ctx, reference, cache)
	if err != nil {
		return nil, err
	}
	return bundle.NewCarriedReader(ctx, a, trust)
}

// newArtifact asks a registry for the manifest of a bundle.
func newArtifact(ctx context.Context, reference string, cache *blobcache.Cache) (*artifact, error) {
	ref, err := name.ParseReference(reference, name.StrictValidation)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrReference, err)
	}
	a := &artifact{cache: cache, base: fmt.Sprintf("%s://%s/v2/%s/blobs/", ref.Context().Scheme(), ref.Context().RegistryStr(), ref.Context().RepositoryStr())}
	manifest, err := remote.Get(ref, registryclient.Options(remote.WithContext(ctx))...)
	if err != nil {
		return nil, explain(ref.Context(), err)
	}
	if err := a.read(manifest.Manifest); err != nil {
		return nil, err
	}
	if a.client, err = registryclient.New(ctx, ref.Context()); err != nil {
		return nil, explain(ref.Context(), err)
	}
	return a, nil
}

// ErrReference says that the name of a bundle in a registry is none, or says too little.
var ErrReference = errors.New("want oci://host/repository:tag or @digest")

// explain says in words what a registry answers about a bundle.
func explain(repository name.Repository, err error) error {
	return registryclient.Explain(repository.RegistryStr(), "bundle", err)
}

// artifact is a bundle in a registry as a [bundle.Remote].
type artifact struct {
	base   string // what the address of a blob begins with
	client *http.Client
	cache  *blobcache.Cache // may be nil
	files  map[string]ocispec.Descriptor
	blobs  map[string]bool // digests of files

	entries []bundle.Entry
	next    int               // the entry that Next hands over next
	ahead   []chan openedBlob // those asked for: of next and the entries after it
}

// openedBlob is a blob, or why there is none.
type openedBlob struct {
	contents io.ReadCloser
	err      error
}

// read takes the files of the bundle from the artifact's manifest.
func (a *artifact) read(data []byte) error {
	var manifest ocispec.Manifest
	if err := json.Unmarshal(data, &manifest); err != nil {
		return fmt.Errorf("%w: the registry's manifest of it: %w", bundle.ErrFormat, err)
	}
	if manifest.ArtifactType != ArtifactType {
		kind := manifest.ArtifactType
		if kind == "" {
			kind = manifest.MediaType
		}
		return fmt.Errorf("%w: it is no bundle but %q; `airgap push` puts bundles into a registry", bundle.ErrFormat, kind)
	}
	a.files, a.blobs = map[string]ocispec.Descriptor{}, map[string]bool{}
	for _, layer := range manifest.Layers {
		a.files[layer.Annotations[ocispec.AnnotationTitle]] = layer
		a.blobs[layer.Digest.String()] = true
	}
	return nil
}

// Remedy is what to do about bytes that are not what was signed.
func (*artifact) Remedy() string { return "run it again; if it stays so, push the bundle again" }

// File implements [bundle.Remote].
func (a *artifact) File(ctx context.Context, name string, limit int64) ([]byte, error) {
	file, ok := a.files[name]
	if !ok {
		return nil, fs.ErrNotExist
	}
	if file.Size > limit {
		return nil, fmt.Errorf("%w: %s has %d bytes, the limit is %d", bundle.ErrFormat, name, file.Size, limit)
	}
	blob, err := a.open(ctx, file.Digest.String(), file.Size)
	if err != nil {
		return nil, err
	}
	defer blob.Close()
	return io.ReadAll(io.LimitReader(blob, limit))
}

// open asks for a blob.
func (a *artifact) open(ctx context.Context, digest string, size int64) (io.ReadCloser, error) {
	fetch := func(ctx context.Context, offset int64) (io.ReadCloser, error) {
		d := newDownload(ctx, a.base+digest)
		d.client, d.fixed, d.offset, d.size = a.client, true, offset, size
		if offset == size { // of a blob that is empty, or whole in the cache
			return d, nil
		}
		return d, d.begin()
	}
	if a.cache == nil {
		return fetch(ctx, 0)
	}
	return a.cache.Blob(ctx, digest, size, fetch)
}

// Expect implements [bundle.Remote].
func (a *artifact) Expect(ctx context.Context, entries []bundle.Entry, _ int) error {
	a.entries = entries
	return a.lists(entries)
}

// lists wants all entries to be in the artifact.
func (a *artifact) lists(entries []bundle.Entry) error {
	for _, e := range entries {
		if !a.blobs[e.Digest()] {
			return fmt.Errorf("%w: the registry does not list %s; push the bundle again", bundle.ErrFormat, e.Path)
		}
	}
	return nil
}

// Next implements [bundle.Remote]: entries come in the bundle's order.
func (a *artifact) Next(ctx context.Context) (int, io.ReadCloser, error) {
	for last := a.next + len(a.ahead); len(a.ahead) < openAhead && last < len(a.entries); last++ {
		opened := make(chan openedBlob, 1)
		a.ahead = append(a.ahead, opened)
		go func() {
			contents, err := a.open(ctx, a.entries[last].Digest(), a.entries[last].Size)
			opened <- openedBlob{contents, err}
		}()
	}
	if len(a.ahead) == 0 {
		return 0, nil, io.ErrUnexpectedEOF
	}
	blob := <-a.ahead[0]
	a.ahead = a.ahead[1:]
	a.next++
	if blob.err != nil {
		return 0, nil, fmt.Errorf("%s: %w", a.entries[a.next-1].Path, blob.err)
	}
	return a.next - 1, blob.contents, nil
}

// Close lets go of what was asked for and has not been handed over.
func (a *artifact) Close() error {
	var errs []error
	for _, opened := range a.ahead {
		if blob := <-opened; blob.err == nil {
			errs = append(errs, blob.contents.Close())
		}
	}
	a.ahead = nil
	return errors.Join(errs...)
}

// withoutScheme is a reference as registries know it.
func withoutScheme(location string) string { return strings.TrimPrefix(location, "oci://") }
