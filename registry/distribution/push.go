package distribution

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

const (
	// MaxManifestBytes bounds a manifest that is pushed: what the specification asks registries to take at least.
	MaxManifestBytes = 4 << 20
	// maxManifests bounds those that are taken at once.
	maxManifests = 8
	// maxReferences bounds what one manifest refers to.
	maxReferences = 4096
)

// putManifest answers the specification's section "Pushing Manifests": the manifest gets its name when everything that it
// needs is here, and what it replaces goes.
func (s *Site) putManifest(w http.ResponseWriter, r *http.Request, route Route) error {
	select {
	case s.manifests <- struct{}{}:
		defer func() { <-s.manifests }()
	case <-r.Context().Done():
		return newError(http.StatusTooManyRequests, CodeTooManyRequests, "%d manifests are being taken at this node", maxManifests)
	}
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(readTimeout)) // not every server has deadlines
	data, err := io.ReadAll(io.LimitReader(r.Body, MaxManifestBytes+1))
	if err != nil {
		return newError(http.StatusBadRequest, CodeManifestInvalid, "the manifest broke off after %d bytes: %v", len(data), err)
	}
	if len(data) > MaxManifestBytes {
		return newError(http.StatusRequestEntityTooLarge, CodeSizeInvalid, "a manifest has at most %d bytes", MaxManifestBytes)
	}
	target, doc, err := parseManifest(data, r.Header.Get("Content-Type"))
	if err != nil {
		return err
	}
	if route.Digest != "" && route.Digest != target.Digest {
		return newError(http.StatusBadRequest, CodeDigestInvalid, "the manifest has the digest %s, not %s", target.Digest, route.Digest)
	}
	if err := s.options.Space(target.Size); err != nil {
		return explainSpace(err)
	}
	ctx, end, err := s.lease(r.Context())
	if err != nil {
		return err
	}
	defer end()
	if err := s.requireChildren(ctx, route.Name, doc); err != nil {
		return err
	}
	if err := s.storeManifest(ctx, target, data, doc); err != nil {
		return explainSpace(err)
	}
	name := route.Name + ":" + route.Reference
	if route.Digest != "" {
		name = route.Name + "@" + route.Digest.String()
	}
	if err := s.change(ctx, Record{Name: name, Target: target}); err != nil {
		return err
	}
	for _, child := range doc.children() {
		_ = s.release(ctx, waiting(route.Name, child.Digest)) // else it ends by itself
	}
	s.options.Others.Wake()
	if doc.Subject != nil {
		w.Header().Set("OCI-Subject", doc.Subject.Digest.String())
	}
	location := "/v2/" + route.Name + "/manifests/" + target.Digest.String()
	if ns := r.URL.Query().Get("ns"); ns != "" {
		location += "?ns=" + ns
	}
	w.Header().Set("Location", location)
	w.Header().Set("Docker-Content-Digest", target.Digest.String())
	w.Header().Set("Content-Length", "0")
	w.WriteHeader(http.StatusCreated)
	return nil
}

// parseManifest describes a manifest or an index. What could be read as both is neither.
func parseManifest(data []byte, contentType string) (ocispec.Descriptor, *document, error) {
	invalid := func(format string, args ...any) (ocispec.Descriptor, *document, error) {
		return ocispec.Descriptor{}, nil, newError(http.StatusBadRequest, CodeManifestInvalid, "the manifest is invalid: "+format, args...)
	}
	var typed struct {
		MediaType string `json:"mediaType"`
		document
	}
	if err := json.Unmarshal(data, &typed); err != nil {
		return invalid("%v", err)
	}
	mediaType, _, err := mime.ParseMediaType(contentType)
	if contentType == "" {
		mediaType, err = typed.MediaType, nil
	}
	if err != nil || typed.MediaType != "" && typed.MediaType != mediaType {
		return invalid("its Content-Type is %q, and its mediaType %q", contentType, typed.MediaType)
	}
	doc := &typed.document
	switch {
	case images.IsIndexType(mediaType):
		if doc.Config != nil || doc.Layers != nil {
			return invalid("an index with a config or layers")
		}
	case images.IsManifestType(mediaType):
		if doc.Manifests != nil || doc.Config == nil {
			return invalid("an image manifest has a config and no manifests")
		}
	default:
		return invalid("Content-Type %q is none of an image manifest or index", contentType)
	}
	all := doc.children()
	if len(all) > maxReferences {
		return invalid("it refers to %d blobs, and at most %d are taken", len(all), maxReferences)
	}
	if doc.Subject != nil {
		all = append(all, *doc.Subject)
	}
	for _, child := range all {
		if _, err := parseBlobDigest(child.Digest.String()); err != nil || child.Size < 0 {
			return invalid("it refers to %q with %d bytes", child.Digest, child.Size)
		}
	}
	return ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(data), Size: int64(len(data))}, doc, nil
}

// requireChildren makes sure that what a manifest refers to is here and of its repository, and puts it under the lease of ctx.
func (s *Site) requireChildren(ctx context.Context, name string, doc *document) error {
	reached := map[digest.Digest]bool{}
	list, err := s.content.repository(ctx, repositoryOf(name))
	if err != nil && !isNotFound(err) {
		return err
	}
	err = s.content.walk(ctx, list, func(desc ocispec.Descriptor, _ *document) bool {
		reached[desc.Digest] = true
		return true
	})
	if err != nil {
		return err
	}
	for _, child := range doc.children() {
		if images.IsNonDistributable(child.MediaType) && len(child.URLs) > 0 {
			continue
		}
		if err := s.keep(ctx, child.Digest); err != nil {
			return err
		}
		if err := s.requireBlob(ctx, name, child, reached[child.Digest]); err != nil {
			return err
		}
	}
	return nil
}

// requireBlob makes sure of one blob. reached says that an image of the repository has it.
func (s *Site) requireBlob(ctx context.Context, name string, desc ocispec.Descriptor, reached bool) error {
	held := reached
	if !held {
		var err error
		if held, err = s.waits(ctx, name, desc.Digest); err != nil {
			return err
		}
	}
	if held {
		info, err := s.options.Blobs.Info(ctx, desc.Digest)
		if err == nil && info.Size != desc.Size {
			return newError(http.StatusBadRequest, CodeManifestInvalid, "the blob %s has %d bytes, not %d", desc.Digest, info.Size, desc.Size)
		}
		if err == nil || !errdefs.IsNotFound(err) {
			return err
		}
	}
	unknown := newError(http.StatusNotFound, CodeManifestBlobUnknown, "the manifest refers to %s, which was not pushed to %s", desc.Digest, name)
	if err := s.options.Others.Fetch(ctx, name, desc); err != nil {
		if isNotFound(err) {
			return unknown
		}
		return err
	}
	return nil
}

// storeManifest stores a manifest with the labels by which containerd's garbage collection keeps what it refers to.
func (s *Site) storeManifest(ctx context.Context, target ocispec.Descriptor, data []byte, doc *document) error {
	err := content.WriteBlob(ctx, s.options.Blobs, "airgap-manifest-"+target.Digest.Encoded(), bytes.NewReader(data), target)
	if err != nil {
		return fmt.Errorf("store the manifest %s: %w", target.Digest, err)
	}
	info := content.Info{Digest: target.Digest, Labels: map[string]string{}}
	var fields []string
	for i, child := range doc.children() {
		label := "containerd.io/gc.ref.content." + strconv.Itoa(i)
		info.Labels[label] = child.Digest.String()
		fields = append(fields, "labels."+label)
	}
	if len(fields) == 0 {
		return nil
	}
	if _, err := s.options.Blobs.Update(ctx, info, fields...); err != nil {
		return fmt.Errorf("store the manifest %s: %w", target.Digest, err)
	}
	return nil
}
