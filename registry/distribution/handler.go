package distribution

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/containerd/errdefs"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"airgap/registry/internal/transfer"
)

// Handler serves the API from one containerd's content.
type Handler struct {
	Content Content
}

// ServeHTTP answers one request.
func (h Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	route, err := ParseRoute(r)
	if err == nil {
		err = h.Serve(w, r, route)
	}
	if err != nil {
		WriteError(w, err)
	}
}

// Serve answers a request whose route is known already. If it returns an error, an [*Error] where the
// API has one, it has written nothing, and the caller may look elsewhere.
func (h Handler) Serve(w http.ResponseWriter, r *http.Request, route Route) error {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return newError(http.StatusMethodNotAllowed, CodeUnsupported, "%s: images can be read here, not changed", r.Method)
	}
	switch route.Kind {
	case Base:
		w.Header().Set("Docker-Distribution-API-Version", "registry/2.0")
		w.Header().Set("Content-Length", "0")
		w.WriteHeader(http.StatusOK)
		return nil
	case Manifests:
		return h.manifest(w, r, route)
	case Blobs:
		return h.blob(w, r, route)
	case Tags:
		return h.tags(w, r, route)
	case Referrers:
		return h.referrers(w, r, route)
	}
	return newError(http.StatusMethodNotAllowed, CodeUnsupported, "nothing can be pushed under %s here", route)
}

func (h Handler) manifest(w http.ResponseWriter, r *http.Request, route Route) error {
	var desc ocispec.Descriptor
	if route.Digest != "" {
		var ok bool
		var err error
		if desc, ok, err = h.Content.find(r.Context(), route.Repository(), route.Digest); err != nil {
			return err
		}
		if !ok || !isManifest(desc) {
			return newError(http.StatusNotFound, CodeManifestUnknown, "this node does not hold %s", route)
		}
	} else {
		image, err := h.Content.Image(r.Context(), route)
		if err != nil {
			return err
		}
		desc = image.Target
	}
	return h.send(w, r, desc, desc.MediaType, newError(http.StatusNotFound, CodeManifestUnknown, "this node does not hold %s", route))
}

func (h Handler) blob(w http.ResponseWriter, r *http.Request, route Route) error {
	unknown := newError(http.StatusNotFound, CodeBlobUnknown, "no image of %s that this node holds has the blob %s", route.Repository(), route.Digest)
	desc, ok, err := h.Content.find(r.Context(), route.Repository(), route.Digest)
	if err != nil {
		return err
	}
	if !ok {
		return unknown
	}
	return h.send(w, r, desc, "application/octet-stream", unknown)
}

// send answers with a blob: its digest is its ETag, ranges are honoured. What was collected as
// garbage meanwhile is the error missing.
func (h Handler) send(w http.ResponseWriter, r *http.Request, desc ocispec.Descriptor, mediaType string, missing error) error {
	blob, err := h.Content.open(r.Context(), desc)
	if errdefs.IsNotFound(err) {
		return missing
	}
	if err != nil {
		return fmt.Errorf("blob %s: %w", desc.Digest, err)
	}
	defer blob.Close()
	header := w.Header()
	header.Set("Content-Type", mediaType)
	header.Set("Docker-Content-Digest", desc.Digest.String())
	header.Set("Etag", strconv.Quote(desc.Digest.String()))
	http.ServeContent(transfer.Writer(w, r), r, "", time.Time{}, blob)
	return nil
}

// HoldsRepository tells whether the node holds any image under the route's name.
func (h Handler) HoldsRepository(ctx context.Context, route Route) bool {
	_, err := h.Content.repository(ctx, route.Repository())
	return err == nil
}
