package distribution

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"airgap/registry"
)

// Site is what was pushed at a site, as this node holds it: the repositories of [SiteHost], in containerd's namespace
// [registry.SiteNamespace].
type Site struct {
	options SiteOptions
	content Content

	manifests chan struct{} // places for manifests that are being taken: they are held in memory

	holding  sync.Mutex // one change of a waiting blob's lease at a time
	changing sync.Mutex // one change of records at a time
	seen     time.Time  // the latest of all records seen; guarded by changing

	mu      sync.Mutex // guards uploads
	uploads map[string]*upload
}

// SiteOptions say where pushed content is kept. A client of containerd has the three stores.
type SiteOptions struct {
	Images images.Store
	Blobs  content.Store
	Leases leases.Manager
	Folder string // see [Content]
	// Space says, with an error that wraps [registry.ErrNoSpace], that the disk cannot take need bytes more. If nil it can.
	Space func(need int64) error
	// Others are the other nodes. If nil there are none.
	Others Others
	// Now is the clock; nil: time.Now.
	Now func() time.Time
}

// Others are the other nodes of the site.
type Others interface {
	// Serve passes on the first answer of a node to a request that reads, else returns an [*Error] with status 404.
	Serve(w http.ResponseWriter, r *http.Request, route Route) error
	// Fetch stores a blob of a repository here, verified; the context carries the namespace and a lease. The error is
	// an [*Error] with status 404 if no node has it.
	Fetch(ctx context.Context, repository string, desc ocispec.Descriptor) error
	// Records are those that other nodes had lately.
	Records() []Record
	// Wake says that there is something new, here or at another node.
	Wake()
}

// NewSite returns the site's content. [Site.Run] must run beside it.
func NewSite(o SiteOptions) *Site {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Space == nil {
		o.Space = func(int64) error { return nil }
	}
	if o.Others == nil {
		o.Others = nobody{}
	}
	return &Site{
		options: o, uploads: map[string]*upload{}, manifests: make(chan struct{}, maxManifests),
		content: Content{Images: o.Images, Blobs: o.Blobs, Folder: o.Folder, Namespace: registry.SiteNamespace},
	}
}

// Limits of time.
const (
	uploadIdle    = time.Hour           // after which an upload that nobody goes on with is removed
	answerTimeout = time.Minute         // to take a short answer
	readTimeout   = 2 * time.Minute     // for the next bytes of a body
	blobGrace     = 24 * time.Hour      // how long a blob waits for the manifest that refers to it
	untaggedGrace = 24 * time.Hour      // how long a manifest may be without a tag
	deletedFor    = 14 * 24 * time.Hour // how long a deletion is remembered, for nodes that were away
	sweepInterval = 5 * time.Minute
)

// Run collects what nobody wants any more, until ctx is done: first what a former process left half done.
func (s *Site) Run(ctx context.Context, report func(error)) {
	for abandoned := false; ; {
		if !abandoned {
			err := s.abandonUploads(ctx)
			if abandoned = err == nil; err != nil && ctx.Err() == nil {
				report(fmt.Errorf("uploads that a former process left: %w", err))
			}
		}
		s.endIdle(ctx)
		if err := s.collect(ctx); err != nil && ctx.Err() == nil {
			report(fmt.Errorf("collect pushed images: %w", err))
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(sweepInterval):
		}
	}
}

// Serve answers a request for a repository of [SiteHost]. Like [Handler.Serve] it has written nothing when it returns an error.
func (s *Site) Serve(w http.ResponseWriter, r *http.Request, route Route) error {
	switch {
	case route.Kind == Uploads:
		return s.serveUpload(w, r, route)
	case r.Method == http.MethodGet || r.Method == http.MethodHead:
		return s.read(w, r, route)
	case r.Method == http.MethodPut && route.Kind == Manifests:
		return s.putManifest(w, r, route)
	case r.Method == http.MethodDelete && route.Kind == Manifests:
		return s.deleteManifest(w, r, route)
	case r.Method == http.MethodDelete && route.Kind == Blobs:
		return s.deleteBlob(w, r, route)
	}
	return newError(http.StatusMethodNotAllowed, CodeUnsupported, "%s is no method for %s", r.Method, r.URL.Path)
}

// nobody is the others where this node is the only one.
type nobody struct{}

func (nobody) Serve(_ http.ResponseWriter, _ *http.Request, route Route) error {
	return newError(http.StatusNotFound, CodeManifestUnknown, "%s is not here", route)
}

func (nobody) Fetch(_ context.Context, repository string, desc ocispec.Descriptor) error {
	return newError(http.StatusNotFound, CodeBlobUnknown, "%s has no blob %s", repository, desc.Digest)
}

func (nobody) Records() []Record { return nil }
func (nobody) Wake()             {}

// read answers from this node's content, else from another node's. Of a tag the latest holds, wherever it is.
func (s *Site) read(w http.ResponseWriter, r *http.Request, route Route) error {
	if route.Kind == Tags {
		tags, err := s.tags(r.Context(), route.Name)
		if err != nil {
			return err
		}
		return sendTags(w, r, tags)
	}
	if route.Kind == Manifests && route.Digest == "" {
		latest, here, err := s.latestOf(r.Context(), route.Name+":"+route.Reference)
		switch {
		case err != nil:
			return err
		case latest.Deleted:
			return newError(http.StatusNotFound, CodeManifestUnknown, "%s was deleted", route)
		case latest.Name != "" && !here:
			if err := s.options.Others.Serve(w, r, route); !isNotFound(err) {
				return err
			}
		}
	}
	if route.Kind == Referrers {
		if held, err := s.has(r.Context(), route.Name, route.Digest); err != nil {
			return err
		} else if held {
			return s.ServeHeld(w, r, route)
		}
		if err := s.options.Others.Serve(w, r, route); !isNotFound(err) {
			return err
		}
	}
	err := s.ServeHeld(w, r, route)
	if !isNotFound(err) {
		return err
	}
	if other := s.options.Others.Serve(w, r, route); !isNotFound(other) {
		return other
	}
	return err
}

// ServeHeld answers a request that reads from what this node itself holds.
func (s *Site) ServeHeld(w http.ResponseWriter, r *http.Request, route Route) error {
	handler := Handler{Content: s.content}
	err := handler.Serve(w, r, route)
	if route.Kind != Blobs || !isNotFound(err) {
		return err
	}
	// A blob waits for its manifest.
	waits, failed := s.waits(r.Context(), route.Name, route.Digest)
	if failed != nil {
		return failed
	}
	if !waits {
		return err
	}
	return handler.send(w, r, ocispec.Descriptor{Digest: route.Digest}, "application/octet-stream", err)
}

// repositoryOf is the full name of a repository of the site: what image records begin with.
func repositoryOf(name string) string { return SiteHost + "/" + name }

func (s *Site) inNamespace(ctx context.Context) context.Context {
	return namespaces.WithNamespace(ctx, registry.SiteNamespace)
}

// waiting is the lease that holds a blob of a repository until a manifest refers to it.
func waiting(name string, d digest.Digest) leases.Lease {
	return leases.Lease{ID: "airgap-pushed-" + digest.FromString(name+"@"+d.String()).Encoded()}
}

// hold lets a blob wait for a manifest of a repository. It must be held by something else meanwhile.
func (s *Site) hold(ctx context.Context, name string, d digest.Digest) error {
	s.holding.Lock()
	defer s.holding.Unlock()
	ctx = s.inNamespace(ctx)
	lease := waiting(name, d)
	if err := s.release(ctx, lease); err != nil {
		return err
	}
	_, err := s.options.Leases.Create(ctx, leases.WithID(lease.ID), leases.WithExpiration(blobGrace))
	if err != nil && !errdefs.IsAlreadyExists(err) {
		return err
	}
	return s.options.Leases.AddResource(ctx, lease, leases.Resource{ID: d.String(), Type: "content"})
}

// waits tells whether a blob that is here waits for a manifest of the repository.
func (s *Site) waits(ctx context.Context, name string, d digest.Digest) (bool, error) {
	resources, err := s.options.Leases.ListResources(s.inNamespace(ctx), waiting(name, d))
	if errdefs.IsNotFound(err) || err == nil && len(resources) == 0 {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return s.content.has(ctx, ocispec.Descriptor{Digest: d})
}

func (s *Site) release(ctx context.Context, lease leases.Lease) error {
	if err := s.options.Leases.Delete(s.inNamespace(ctx), lease); err != nil && !errdefs.IsNotFound(err) {
		return err
	}
	return nil
}

// lease returns a context under a lease of its own, for one request. What is added to it stays until end is called.
func (s *Site) lease(ctx context.Context) (_ context.Context, end func(), err error) {
	lease := leases.Lease{ID: "airgap-request-" + uuid()}
	ctx = s.inNamespace(ctx)
	// Should the process die, the lease ends by itself.
	if _, err := s.options.Leases.Create(ctx, leases.WithID(lease.ID), leases.WithExpiration(blobGrace)); err != nil {
		return nil, nil, err
	}
	return leases.WithLease(ctx, lease.ID), func() { _ = s.release(context.WithoutCancel(ctx), lease) }, nil
}

// keep adds blobs to the lease of ctx, whether they are here or not.
func (s *Site) keep(ctx context.Context, list ...digest.Digest) error {
	id, _ := leases.FromContext(ctx)
	for _, d := range list {
		if err := s.options.Leases.AddResource(ctx, leases.Lease{ID: id}, leases.Resource{ID: d.String(), Type: "content"}); err != nil {
			return err
		}
	}
	return nil
}

// has tells whether a blob is here and of the repository: reached by one of its images, or waiting for a manifest.
func (s *Site) has(ctx context.Context, name string, d digest.Digest) (bool, error) {
	_, ok, err := s.content.find(ctx, repositoryOf(name), d)
	if ok || err != nil && !isNotFound(err) {
		return ok, err
	}
	return s.waits(ctx, name, d)
}
