package distribution

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"airgap/registry/internal/fixture"
)

// What a name does not reach is not there under it, whoever else has it.
func TestOnlyWhatTheNameReaches(t *testing.T) {
	i := newTestImages(t)
	s := httptest.NewServer(Handler{Content{Images: i.store.Images, Blobs: i.store.Blobs}})
	defer s.Close()
	stray := i.store.Blob(ocispec.MediaTypeImageLayer, []byte("a blob of no image"))
	for path, status := range map[string]int{
		"/v2/library/other/blobs/" + i.foreign.Digest.String() + "?ns=docker.io": http.StatusOK,
		"/v2/library/app/blobs/" + i.foreign.Digest.String() + "?ns=docker.io":   http.StatusNotFound,
		"/v2/library/app/blobs/" + i.foreign.Digest.String() + "?ns=quay.io":     http.StatusNotFound,
		"/v2/library/app/blobs/" + stray.Digest.String() + "?ns=docker.io":       http.StatusNotFound,
		"/v2/library/app/manifests/" + i.layer.Digest.String() + "?ns=docker.io": http.StatusNotFound, // a layer is no manifest
		"/v2/library/app/blobs/" + i.manifest.Digest.String() + "?ns=docker.io":  http.StatusOK,       // a manifest is a blob
		"/v2/docker.io/library/app/manifests/1.0":                                http.StatusOK,
		"/v2/library/app/manifests/1.0":                                          http.StatusNotFound, // of which registry?
		"/v2/app/manifests/1.0?ns=docker.io/library":                             http.StatusBadRequest,
		"/v2/Library/app/manifests/1.0?ns=docker.io":                             http.StatusBadRequest,
		"/v2/library/../../etc/manifests/1.0?ns=docker.io":                       http.StatusBadRequest,
		"/v2/library/app/manifests/-bad?ns=docker.io":                            http.StatusNotFound,
		"/v2/library/app/tags/list?n=x&ns=docker.io":                             http.StatusBadRequest,
		"/v2/library/app/surprise/1.0?ns=docker.io":                              http.StatusNotFound,
		"/v1/library/app/manifests/1.0?ns=docker.io":                             http.StatusNotFound,
		"/v2/library/ap/manifests/1.0?ns=docker.io":                              http.StatusNotFound,
		"/v2/library/app/referrers/" + i.foreign.Digest.String() + "?ns=quay.io": http.StatusOK,
	} {
		t.Run(path, func(t *testing.T) { call(t, http.MethodGet, s.URL+path, nil, nil, status) })
	}
	for _, method := range []string{http.MethodPut, http.MethodDelete, http.MethodPost, http.MethodPatch} {
		for _, path := range []string{"/v2/library/app/manifests/1.0?ns=docker.io", "/v2/library/app/blobs/uploads/?ns=docker.io"} {
			response := call(t, method, s.URL+path, nil, nil, http.StatusMethodNotAllowed)
			if response.Header.Get("Allow") != "GET, HEAD" {
				t.Errorf("%s %s: Allow is %q", method, path, response.Header.Get("Allow"))
			}
		}
	}
}

// Of an image for several platforms a node has one: the others' manifests are not found, and nothing fails.
func TestOtherPlatformsAreNotThere(t *testing.T) {
	store := fixture.New(t)
	here := store.Image("a layer")
	elsewhere := store.Absent(ocispec.MediaTypeImageManifest, []byte(`{"schemaVersion":2}`))
	index := store.JSON(ocispec.MediaTypeImageIndex, ocispec.Index{Manifests: []ocispec.Descriptor{elsewhere, here}})
	store.Name("quay.io/team/app:1", index, nil)
	s := httptest.NewServer(Handler{Content{Images: store.Images, Blobs: store.Blobs}})
	defer s.Close()
	call(t, http.MethodGet, s.URL+"/v2/team/app/manifests/"+here.Digest.String()+"?ns=quay.io", nil, nil, http.StatusOK)
	call(t, http.MethodGet, s.URL+"/v2/team/app/manifests/"+elsewhere.Digest.String()+"?ns=quay.io", nil, nil, http.StatusNotFound)
}

// FuzzParseRoute looks for a path that breaks the parser or makes a name outside of its grammar.
func FuzzParseRoute(f *testing.F) {
	f.Add("/v2/library/app/manifests/1.0", "docker.io")
	f.Add("/v2/docker.io/library/app/tags/list", "")
	f.Add("/v2/a/blobs/uploads/", "localhost:5000")
	f.Add("/v2/team/app/blobs/uploads/6ba7b810-9dad-11d1-80b4-00c04fd430c8", "")
	f.Add("/v2/_catalog", "")
	f.Fuzz(func(t *testing.T, path, ns string) {
		r := &http.Request{Method: http.MethodGet, URL: urlOf(path, ns)}
		route, err := ParseRoute(r)
		if err != nil || route.Kind == Base || route.Kind == Catalog || route.Kind == Records {
			return
		}
		if !namePattern.MatchString(route.Name) || route.Registry == "" {
			t.Errorf("%q, ns %q: %+v", path, ns, route)
		}
	})
}

func urlOf(path, ns string) *url.URL {
	return &url.URL{Path: path, RawQuery: url.Values{"ns": {ns}}.Encode()}
}
