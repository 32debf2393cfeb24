package distribution

import (
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// tagList is the answer of /tags/list.
type tagList struct {
	Name string   `json:"name"`
	Tags []string `json:"tags"`
}

// tags answers with the tags of what the node holds.
func (h Handler) tags(w http.ResponseWriter, r *http.Request, route Route) error {
	list, err := h.Content.repository(r.Context(), route.Repository())
	if err != nil {
		return err
	}
	var tags []string
	for _, image := range list {
		if tag, ok := strings.CutPrefix(image.Name, route.Repository()+":"); ok && !strings.Contains(tag, "@") {
			tags = append(tags, tag)
		}
	}
	return sendTags(w, r, tags)
}

// sendTags answers with the tags after "last", at most "n", and links to the next page if there is one.
func sendTags(w http.ResponseWriter, r *http.Request, tags []string) error {
	query := r.URL.Query()
	limit := -1
	if text := query.Get("n"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 0 {
			return newError(http.StatusBadRequest, CodeUnsupported, "n=%q is no number of tags", text)
		}
		limit = n
	}
	slices.Sort(tags)
	if last := query.Get("last"); last != "" {
		at, found := slices.BinarySearch(tags, last)
		if found {
			at++
		}
		tags = tags[at:]
	}
	if limit >= 0 && limit < len(tags) {
		tags = tags[:limit]
		if limit > 0 {
			next := url.Values{"n": {strconv.Itoa(limit)}, "last": {tags[limit-1]}}
			if ns := query.Get("ns"); ns != "" {
				next.Set("ns", ns)
			}
			w.Header().Set("Link", "<"+r.URL.Path+"?"+next.Encode()+`>; rel="next"`)
		}
	}
	if tags == nil {
		tags = []string{} // never null in JSON
	}
	name := strings.TrimSuffix(strings.TrimPrefix(r.URL.Path, "/v2/"), "/tags/list") // as the client calls it
	return writeJSON(w, "application/json", tagList{name, tags})
}

// referrers answers with the manifests under the repository whose subject is the digest. The digest
// itself need not be there, nor the repository: this answer is never 404 (section "Listing Referrers").
func (h Handler) referrers(w http.ResponseWriter, r *http.Request, route Route) error {
	list, err := h.Content.repository(r.Context(), route.Repository())
	if err != nil && !isNotFound(err) {
		return err
	}
	wanted := r.URL.Query().Get("artifactType")
	index := ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex, Manifests: []ocispec.Descriptor{}}
	err = h.Content.walk(r.Context(), list, func(desc ocispec.Descriptor, doc *document) bool {
		if doc == nil || doc.Subject == nil || doc.Subject.Digest != route.Digest {
			return true
		}
		artifactType := doc.ArtifactType
		if artifactType == "" && doc.Config != nil {
			artifactType = doc.Config.MediaType
		}
		if wanted == "" || wanted == artifactType {
			index.Manifests = append(index.Manifests, ocispec.Descriptor{
				MediaType: desc.MediaType, Digest: desc.Digest, Size: desc.Size,
				ArtifactType: artifactType, Annotations: doc.Annotations,
			})
		}
		return true
	})
	if err != nil {
		return err
	}
	if wanted != "" {
		w.Header().Set("OCI-Filters-Applied", "artifactType")
	}
	return writeJSON(w, ocispec.MediaTypeImageIndex, index)
}

// writeJSON answers with a document of a bounded size.
func writeJSON(w http.ResponseWriter, mediaType string, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", mediaType)
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	_, _ = w.Write(body) // the client has gone
	return nil
}
