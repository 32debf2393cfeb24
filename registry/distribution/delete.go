package distribution

import (
	"context"
	"net/http"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// deleteManifest answers the specification's sections "Deleting tags" and "Deleting Manifests": of a digest
// every name goes. containerd collects the content that nothing refers to then.
func (s *Site) deleteManifest(w http.ResponseWriter, r *http.Request, route Route) error {
	latest, err := s.latest(r.Context(), route.Name)
	if err != nil {
		return err
	}
	deleted := false
	for name, record := range latest {
		named := name == route.Name+":"+route.Reference
		if route.Digest != "" {
			named = record.Target.Digest == route.Digest
		}
		if !named || record.Deleted {
			continue
		}
		if err := s.change(r.Context(), Record{Name: name, Deleted: true}); err != nil {
			return err
		}
		deleted = true
	}
	if !deleted {
		return s.notDeleted(r.Context(), route)
	}
	s.options.Others.Wake()
	w.Header().Set("Content-Length", "0")
	w.WriteHeader(http.StatusAccepted)
	return nil
}

// notDeleted says why a manifest has no name that could be deleted.
func (s *Site) notDeleted(ctx context.Context, route Route) error {
	if route.Digest != "" {
		manifests, err := s.manifestsOf(ctx, route.Name)
		if err != nil {
			return err
		}
		if manifests[route.Digest] {
			return newError(http.StatusMethodNotAllowed, CodeUnsupported, "%s is part of an index of %s: delete that", route.Digest, route.Name)
		}
	}
	return newError(http.StatusNotFound, CodeManifestUnknown, "%s is not here", route)
}

// deleteBlob answers the specification's section "Deleting Blobs" for a blob that waits for a manifest. One that an image has
// goes with the image.
func (s *Site) deleteBlob(w http.ResponseWriter, r *http.Request, route Route) error {
	_, reached, err := s.content.find(r.Context(), repositoryOf(route.Name), route.Digest)
	if err != nil && !isNotFound(err) {
		return err
	}
	if reached {
		return newError(http.StatusMethodNotAllowed, CodeUnsupported, "an image of %s has the blob %s, which goes with it", route.Name, route.Digest)
	}
	waits, err := s.waits(r.Context(), route.Name, route.Digest)
	if err != nil {
		return err
	}
	if !waits {
		return newError(http.StatusNotFound, CodeBlobUnknown, "%s has no blob %s", route.Name, route.Digest)
	}
	if err := s.release(r.Context(), waiting(route.Name, route.Digest)); err != nil {
		return err
	}
	w.Header().Set("Content-Length", "0")
	w.WriteHeader(http.StatusAccepted)
	return nil
}

// collect applies the rule by which names go that nobody deletes: a manifest without a tag goes after [untaggedGrace], unless it
// refers to another manifest of the repository that stays (a signature does); a deletion is forgotten after [deletedFor].
func (s *Site) collect(ctx context.Context) error {
	records, err := s.Records(ctx)
	if err != nil {
		return err
	}
	now := s.options.Now()
	changed := false
	for _, record := range records {
		age := now.Sub(record.Time)
		switch {
		case record.Deleted && age > deletedFor:
			err = s.Drop(ctx, record)
		case !record.Deleted && !record.Tagged() && age > untaggedGrace:
			var kept bool
			if kept, err = s.subjectStays(ctx, record); err == nil && !kept {
				err = s.change(ctx, Record{Name: record.Name, Deleted: true})
				changed = true
			}
		}
		if err != nil {
			return err
		}
	}
	if changed {
		s.options.Others.Wake()
	}
	return nil
}

// subjectStays tells whether a manifest without a tag refers to one that its repository has.
func (s *Site) subjectStays(ctx context.Context, record Record) (bool, error) {
	doc, err := s.content.document(ctx, record.Target)
	if err != nil || doc == nil || doc.Subject == nil || doc.Subject.Digest == record.Target.Digest {
		return false, err
	}
	manifests, err := s.manifestsOf(ctx, record.Repository())
	return manifests[doc.Subject.Digest], err
}

// manifestsOf are the digests of all manifests that a repository's names reach.
func (s *Site) manifestsOf(ctx context.Context, name string) (map[digest.Digest]bool, error) {
	list, err := s.content.repository(ctx, repositoryOf(name))
	if err != nil {
		if isNotFound(err) {
			return nil, nil
		}
		return nil, err
	}
	found := map[digest.Digest]bool{}
	err = s.content.walk(ctx, list, func(desc ocispec.Descriptor, doc *document) bool {
		if doc != nil {
			found[desc.Digest] = true
		}
		return true
	})
	return found, err
}
