package distribution

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"airgap/registry/internal/fixture"
)

// policy lets who shows a password do what its list says: "verb repository".
type policy map[string][]string

func (p policy) Authorize(r *http.Request, verb Verb, repository string) error {
	_, password, ok := r.BasicAuth()
	rights, known := p[password]
	switch {
	case !ok || !known:
		return newError(http.StatusUnauthorized, CodeUnauthorized, "who are you?")
	case verb == Login, slices.Contains(rights, string(verb)+" "+repository):
		return nil
	}
	return newError(http.StatusForbidden, CodeDenied, "%s of %s is not for you", verb, repository)
}

func TestEveryRequestIsAuthorized(t *testing.T) {
	i := newTestImages(t)
	store := fixture.New(t)
	site := NewSite(SiteOptions{Images: store.Images, Blobs: store.Blobs, Leases: store.Leases})
	s := httptest.NewServer(&Registry{
		Node: Handler{Content{Images: i.store.Images, Blobs: i.store.Blobs}}, Site: site, Port: 6446,
		Authorizer: policy{
			"writer": {"create team/app", "get team/app", "delete team/app", "create team/base", "list "},
			"reader": {"get team/app", "get docker.io/library/app"},
			"node":   {"get team/app", "replicate "},
		},
	})
	defer s.Close()
	as := func(password, repository string) pusher {
		return pusher{t, server{url: "http://any:" + password + "@" + s.Listener.Addr().String()}, repository}
	}
	data := as("writer", "team/app").manifest("secured", nil)
	as("writer", "team/app").put("1", data, http.StatusCreated)
	layer := digest.FromString("layer secured").String()

	for _, test := range []struct {
		who, method, path string
		status            int
	}{
		{"writer", http.MethodGet, "/v2/", 200},
		{"reader", http.MethodGet, "/v2/", 200},
		{"nobody", http.MethodGet, "/v2/", 401},
		{"nobody", http.MethodGet, "/v2/no/such/path/at/all", 401},
		{"nobody", http.MethodGet, "/v2/team/app/manifests/1", 401},
		{"reader", http.MethodGet, "/v2/team/app/manifests/1", 200},
		{"reader", http.MethodGet, "/v2/team/app/manifests/1?ns=node1:6446", 200},
		{"reader", http.MethodGet, "/v2/team/app/manifests/1?ns=10.0.0.1:6446", 200},
		{"reader", http.MethodGet, "/v2/team/app/manifests/1?ns=" + SiteHost, 200},
		{"reader", http.MethodGet, "/v2/" + SiteHost + "/team/app/manifests/1", 200},
		{"reader", http.MethodGet, "/v2/team/app/manifests/1?ns=node1:5000", 403},
		{"reader", http.MethodGet, "/v2/team/app/manifests/2", 404},
		{"reader", http.MethodGet, "/v2/team/app/tags/list", 200},
		{"reader", http.MethodGet, "/v2/team/base/tags/list", 403},
		{"reader", http.MethodGet, "/v2/docker.io/library/app/manifests/1.0", 200},
		{"reader", http.MethodGet, "/v2/docker.io/library/other/manifests/1", 403},
		{"reader", http.MethodPost, "/v2/team/app/blobs/uploads/", 403},
		{"reader", http.MethodPut, "/v2/team/app/manifests/1", 403},
		{"reader", http.MethodDelete, "/v2/team/app/manifests/1", 403},
		{"reader", http.MethodGet, "/v2/_catalog", 403},
		{"writer", http.MethodGet, "/v2/_catalog", 200},
		{"writer", http.MethodGet, "/v2/_records", 403},
		{"node", http.MethodGet, "/v2/_records", 200},
		{"node", http.MethodPost, "/v2/team/app/blobs/uploads/", 403},
		{"writer", http.MethodPost, "/v2/team/app/blobs/uploads/?mount=" + layer + "&from=team/app", 201},
		{"writer", http.MethodPost, "/v2/team/base/blobs/uploads/?mount=" + layer + "&from=team/app", 201},
		{"writer", http.MethodPost, "/v2/team/app/blobs/uploads/?mount=" + layer + "&from=team/base", 202}, // may not read there
		{"writer", http.MethodDelete, "/v2/team/app/manifests/1", 202},
	} {
		response := as(test.who, "").any(test.method, test.path, nil)
		if response.StatusCode != test.status {
			t.Errorf("%s: %s %s: %s, want %d", test.who, test.method, test.path, response.Status, test.status)
		}
		if got := response.Header.Get("WWW-Authenticate"); (got == `Basic realm="airgap"`) != (test.status == http.StatusUnauthorized) {
			t.Errorf("%s: %s %s: WWW-Authenticate is %q", test.who, test.method, test.path, got)
		}
	}
}

// What bundles brought, and whatever else belongs to another registry, is not changed by pushing.
func TestOtherRegistriesAreNotPushedTo(t *testing.T) {
	i := newTestImages(t)
	site := NewSite(SiteOptions{Images: i.store.Images, Blobs: i.store.Blobs, Leases: i.store.Leases})
	s := httptest.NewServer(&Registry{Node: Handler{Content{Images: i.store.Images, Blobs: i.store.Blobs}}, Site: site, Authorizer: everybody{}})
	defer s.Close()
	p := pusher{t, server{url: s.URL}, "docker.io/library/app"}
	p.call(http.MethodDelete, "/manifests/1.0", nil, http.StatusMethodNotAllowed)
	p.call(http.MethodDelete, "/manifests/"+i.index.Digest.String(), nil, http.StatusMethodNotAllowed)
	p.call(http.MethodDelete, "/blobs/"+i.layer.Digest.String(), nil, http.StatusMethodNotAllowed)
	p.call(http.MethodPost, "/blobs/uploads/", nil, http.StatusMethodNotAllowed)
	p.call(http.MethodPut, "/manifests/1.0", []byte("{}"), http.StatusMethodNotAllowed, "Content-Type", ocispec.MediaTypeImageManifest)
	p.call(http.MethodGet, "/manifests/1.0", nil, http.StatusOK)
	// Nor does the same name at the site reach them.
	p.repository = "library/app"
	p.call(http.MethodGet, "/manifests/1.0", nil, http.StatusNotFound)
	p.call(http.MethodDelete, "/manifests/1.0", nil, http.StatusNotFound)
	p.call(http.MethodGet, "/blobs/"+i.layer.Digest.String(), nil, http.StatusNotFound)
}

func TestAtSite(t *testing.T) {
	for host, want := range map[string]bool{
		"node1:6446": true, "10.0.0.1:6446": true, "[fd00::1]:6446": true, "registry.site:6446": true, SiteHost: true,
		"node1": false, "node1:5000": false, "docker.io": false, "6446": false, "registry.site": false,
	} {
		if got := (Route{Registry: host}).AtSite(6446).Registry == SiteHost; got != want {
			t.Errorf("%s is the site: %v", host, got)
		}
	}
}
