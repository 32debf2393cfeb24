package mirror

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/crane"
	"github.com/google/go-containerregistry/pkg/v1/random"

	"airgap/registry/distribution"
	"airgap/registry/internal/fixture"
)

// open lets everybody in.
type open struct{}

func (open) Authorize(*http.Request, distribution.Verb, string) error { return nil }

// What was pushed to a node is what pods name, whichever node they name.
func TestPushedImagesAreFoundUnderEveryNodesName(t *testing.T) {
	store := fixture.New(t)
	site := distribution.NewSite(distribution.SiteOptions{Images: store.Images, Blobs: store.Blobs, Leases: store.Leases})
	registry := httptest.NewServer(&distribution.Registry{Site: site, Port: 6446, Authorizer: open{}})
	defer registry.Close()
	image, err := random.Image(2000, 2)
	if err != nil {
		t.Fatal(err)
	}
	if err := crane.Push(image, registry.Listener.Addr().String()+"/team/app:1"); err != nil {
		t.Fatal(err)
	}
	want, err := image.Digest()
	if err != nil {
		t.Fatal(err)
	}

	m := newMirror(t, store, "", Options{SystemHost: "airgap.internal", Site: site, SitePort: 6446})
	resolver, _ := serve(t, m, t.TempDir(), nil)
	ctx := context.Background()
	for _, reference := range []string{
		"node-1:6446/team/app:1", "10.0.0.2:6446/team/app:1", "registry.airgap.internal/team/app:1", "node-7.site:6446/team/app@" + want.String(),
	} {
		_, desc, err := resolver.Resolve(ctx, reference)
		if err != nil || desc.Digest.String() != want.String() {
			t.Errorf("%s: %v, %v", reference, desc.Digest, err)
			continue
		}
		fetcher, err := resolver.Fetcher(ctx, reference)
		if err != nil {
			t.Fatal(err)
		}
		body, err := fetcher.Fetch(ctx, desc)
		if err != nil {
			t.Errorf("%s: %v", reference, err)
			continue
		}
		if data, err := io.ReadAll(body); err != nil || int64(len(data)) != desc.Size {
			t.Errorf("%s: %d bytes, %v", reference, len(data), err)
		}
		body.Close()
	}
	if _, _, err := resolver.Resolve(ctx, "node-1:6446/team/app:2"); err == nil || !strings.Contains(err.Error(), "no node of the site") {
		t.Errorf("a tag that was not pushed: %v", err)
	}
	ask(t, m, http.MethodGet, "/v2/team/app/manifests/1?ns=docker.io", http.StatusForbidden)
	ask(t, m, http.MethodDelete, "/v2/team/app/manifests/1?ns=node-1:6446", http.StatusMethodNotAllowed)
	ask(t, m, http.MethodPost, "/v2/team/app/blobs/uploads/?ns=node-1:6446", http.StatusMethodNotAllowed)
}
