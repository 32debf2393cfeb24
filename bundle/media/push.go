package media

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
	digest "github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"airgap/bundle"
	"airgap/internal/progress"
	"airgap/internal/registryclient"
)

const (
	// manifestMediaType is that of airgap.json in a registry, fileMediaType that of all other files.
	manifestMediaType = "application/vnd.airgap.bundle.manifest.v1+json"
	fileMediaType     = "application/octet-stream"

	// uploads is how many small blobs are sent at once, smallBytes up to what size they are held in memory for that.
	uploads    = 8
	smallBytes = 1 << 20
)

// Pushed is what [Push] has done.
type Pushed struct {
	Reference string // with the digest: oci://host/repository@sha256:…
	Sent      int64  // bytes of blobs that were sent; the rest was in the registry
}

// PushOptions are the choices of [Push].
type PushOptions struct {
	// Progress is told how many of the entries' bytes are done with. May be nil.
	Progress func(done, total int64)
	Transfer func(label string, bytes int64) *progress.Transfer // as in [bundle.CreateOptions]
}

// Push reads the bundle that r reads, from which nothing has been read yet, and puts it into a registry. location is
// oci://host/repository:tag; without a tag, the bundle's version is the tag. Blobs that the repository has, and those that the bundle's
// images have under their own names in that registry, are not sent: a push that was interrupted goes on when it is run again.
func Push(ctx context.Context, r *bundle.Reader, location string, opts PushOptions) (*Pushed, error) {
	m := r.Manifest()
	ref, err := pushReference(location, m)
	if err != nil {
		return nil, err
	}
	p := &push{reader: r, repository: ref.Context(), from: map[string]name.Repository{}, opts: opts, total: m.Size()}
	p.options = registryclient.Options(remote.WithContext(ctx))
	if p.pusher, err = remote.NewPusher(p.options...); err != nil {
		return nil, err
	}
	if err := p.findImages(ctx); err != nil {
		return nil, err
	}
	if err := p.blobs(ctx); err != nil {
		return nil, err
	}
	manifest := p.manifest()
	if err := p.pusher.Put(ctx, ref, manifest); err != nil {
		return nil, explain(p.repository, err)
	}
	sum := digest.FromBytes(manifest)
	return &Pushed{Reference: "oci://" + p.repository.Digest(sum.String()).Name(), Sent: p.sent.Load()}, nil
}

// pushReference is where the bundle goes.
func pushReference(location string, m *bundle.Manifest) (name.Reference, error) {
	text := withoutScheme(location)
	if repository, err := name.NewRepository(text, name.StrictValidation); err == nil {
		return repository.Tag(strings.ReplaceAll(m.Version, "+", "_")), nil // as Helm does: no tag has a +
	}
	ref, err := name.NewTag(text, name.StrictValidation)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrReference, err)
	}
	return ref, nil
}

// push is a push under way.
type push struct {
	reader     *bundle.Reader
	repository name.Repository
	pusher     *remote.Pusher
	options    []remote.Option

	images map[string]name.Repository // that have an image's manifest in this registry, by its digest
	from   map[string]name.Repository // that have a blob, by its digest
	opts   PushOptions
	done   atomic.Int64
	total  int64
	sent   atomic.Int64
}

// findImages looks which images of the bundle are in the registry under their own names.
func (p *push) findImages(ctx context.Context) error {
	found := make([]name.Repository, len(p.reader.Manifest().Images))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(uploads)
	for i, image := range p.reader.Manifest().Images {
		group.Go(func() error {
			ref, err := name.ParseReference(image.Reference)
			if err != nil {
				return nil // a name that no registry would take
			}
			here := p.repository.Registry.Repo(ref.Context().RepositoryStr())
			if _, err := remote.Head(here.Digest(image.Digest), append(slices.Clip(p.options), remote.WithContext(ctx))...); err == nil {
				found[i] = here
			}
			return ctx.Err()
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	p.images = map[string]name.Repository{}
	for i, image := range p.reader.Manifest().Images {
		if found[i] == (name.Repository{}) {
			continue
		}
		for _, platform := range image.Platforms {
			p.images[platform.Digest] = found[i]
		}
	}
	return nil
}

// blobs puts all files into the repository: the small ones several at a time, the long ones as they are read.
func (p *push) blobs(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(uploads)
	small := func(digest string, data []byte) {
		b := p.blob(digest, int64(len(data)), bytes.NewReader(data))
		group.Go(func() error { return p.upload(ctx, b) })
	}
	err := func() error {
		small(ocispec.DescriptorEmptyJSON.Digest.String(), ocispec.DescriptorEmptyJSON.Data)
		for _, file := range p.reader.Head() {
			small(digest.FromBytes(file.Data).String(), file.Data)
		}
		for ctx.Err() == nil {
			e, contents, err := p.reader.Next()
			if err == io.EOF {
				return nil
			}
			if err != nil {
				return err
			}
			if e.Size > smallBytes {
				if err := p.uploadLong(ctx, e, contents); err != nil {
					return fmt.Errorf("%s: %w", e.Path, err)
				}
				continue
			}
			data, err := io.ReadAll(contents)
			if err != nil {
				return err
			}
			if e.Role == bundle.RoleManifest {
				p.noteBlobs(e.Digest(), data)
			}
			small(e.Digest(), data)
			p.count(e.Size)
		}
		return nil // the group says why
	}()
	return errors.Join(err, group.Wait())
}

// noteBlobs notes where in the registry the blobs of an image are.
func (p *push) noteBlobs(of string, data []byte) {
	here, ok := p.images[of]
	var manifest ocispec.Manifest
	if !ok || json.Unmarshal(data, &manifest) != nil {
		return
	}
	for _, d := range append(manifest.Layers, manifest.Config) {
		p.from[d.Digest.String()] = here
	}
}

// blob is a file of the bundle that is to be in the repository.
func (p *push) blob(digest string, size int64, contents io.Reader) *blob {
	return &blob{sent: &p.sent, from: p.from[digest], digest: digest, size: size, contents: contents}
}

// uploadLong puts an entry into the repository as it is read, and tells of it meanwhile.
func (p *push) uploadLong(ctx context.Context, e bundle.Entry, contents io.Reader) error {
	var transfer *progress.Transfer
	if p.opts.Transfer != nil {
		transfer = p.opts.Transfer(e.Label(), e.Size)
	}
	defer transfer.End()
	b := p.blob(e.Digest(), e.Size, contents)
	var read atomic.Int64
	b.moved = func(n int64) {
		read.Add(n)
		transfer.Add(n)
		p.count(n)
	}
	if err := p.upload(ctx, b); err != nil {
		return err
	}
	p.count(e.Size - read.Load()) // what the registry had is not sent
	return nil
}

// upload puts a blob into the repository, unless it is there or can be mounted.
func (p *push) upload(ctx context.Context, b *blob) error {
	var layer v1.Layer = b
	if b.from != (name.Repository{}) {
		layer = &remote.MountableLayer{Layer: b, Reference: b.from.Digest(b.digest)}
	}
	if err := p.pusher.Upload(ctx, p.repository, layer); err != nil {
		if b.failure != nil { // of the medium, and no registry's
			return b.failure
		}
		return explain(p.repository, err)
	}
	return nil
}

// count tells that so many more bytes are done with.
func (p *push) count(n int64) {
	if p.opts.Progress != nil {
		p.opts.Progress(p.done.Add(n), p.total)
	}
}

// artifactManifest is the artifact's manifest as it is stored.
type artifactManifest []byte

func (a artifactManifest) RawManifest() ([]byte, error)      { return a, nil }
func (artifactManifest) MediaType() (types.MediaType, error) { return types.OCIManifestSchema1, nil }

// manifest is the bundle's manifest as an artifact: the same bytes for the same bundle.
func (p *push) manifest() artifactManifest {
	m := p.reader.Manifest()
	artifact := ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest, ArtifactType: ArtifactType,
		Config: ocispec.Descriptor{MediaType: ocispec.MediaTypeEmptyJSON, Digest: ocispec.DescriptorEmptyJSON.Digest, Size: ocispec.DescriptorEmptyJSON.Size},
		Annotations: map[string]string{
			ocispec.AnnotationTitle: m.Name, ocispec.AnnotationVersion: m.Version, ocispec.AnnotationCreated: m.IssuedAt,
		},
	}
	add := func(title, mediaType, of string, size int64) {
		artifact.Layers = append(artifact.Layers, ocispec.Descriptor{
			MediaType: mediaType, Digest: digest.Digest(of), Size: size, Annotations: map[string]string{ocispec.AnnotationTitle: title},
		})
	}
	for _, file := range p.reader.Head() {
		mediaType := fileMediaType
		if file.Name == bundle.ManifestPath {
			mediaType = manifestMediaType
		}
		add(file.Name, mediaType, digest.FromBytes(file.Data).String(), int64(len(file.Data)))
	}
	for _, e := range m.Carried() {
		add(e.Path, fileMediaType, e.Digest(), e.Size)
	}
	data, err := json.Marshal(artifact)
	if err != nil {
		panic(err) // there is nothing in it that cannot be encoded
	}
	return data
}
