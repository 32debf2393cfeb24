package source

import (
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"airgap/bundle"
	"airgap/internal/cosigntest"
	"airgap/signing"
)

// newRegistryOf serves an empty registry, with or without the list of referrers.
func newRegistryOf(t *testing.T, referrers bool) string {
	t.Helper()
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0)), registry.WithReferrersSupport(referrers)))
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

// attach signs the image with a digest as cosign does without a bundle: a tag beside it.
func attach(t *testing.T, repository, of, claimed string, key *signing.PrivateKey) {
	t.Helper()
	payload := cosigntest.Payload(claimed)
	signed := must(key.Sign(payload))(t)
	push(t, repository+":"+bundle.SignatureTag(of, ".sig"), must(cosigntest.Attached(payload, string(signed.Detached)))(t))
}

// refer pushes an artifact about an image, with the given content, and returns its digest.
func refer(t *testing.T, repository, image, artifactType string, content []byte) string {
	t.Helper()
	about := must(remote.Head(must(name.ParseReference(repository + "@" + image))(t)))(t)
	artifact := must(cosigntest.Referrer(*about, artifactType, content))(t)
	digest := must(artifact.Digest())(t).String()
	push(t, repository+"@"+digest, artifact)
	return digest
}

const sigstoreType = "application/vnd.dev.sigstore.bundle.v0.3+json"

func TestSignaturesTravelAlong(t *testing.T) {
	key := testKey(t)
	for _, listed := range []bool{false, true} {
		host := newRegistryOf(t, listed)
		app := push(t, host+"/app:1", image(t, "linux/amd64", "app"))
		index := push(t, host+"/many:1", index(t, "linux/amd64", "linux/arm64"))
		attach(t, host+"/app", app, app, key)
		attach(t, host+"/many", index, index, key)
		byDigest := refer(t, host+"/app", app, sigstoreType, []byte("a bundle"))
		refer(t, host+"/app", app, "application/spdx+json", []byte("what nobody asks for at a site"))
		refer(t, host+"/app", app, ocispec.MediaTypeEmptyJSON, []byte("what does not say what it is"))

		folder := t.TempDir()
		spec := load(t, folder, "  images: ["+host+"/app:1, "+host+"/many:1, {source: \""+host+"/app:1\", name: renamed.example/team/app:2}]\n")
		gathered, m, err := gather(t, spec, options())
		if err != nil {
			t.Fatal(err)
		}
		want := []string{
			host + "/app:" + bundle.SignatureTag(app, ".sig"), host + "/app@" + byDigest,
			host + "/many:" + bundle.SignatureTag(index, ".sig"),
			"renamed.example/team/app:" + bundle.SignatureTag(app, ".sig"), "renamed.example/team/app@" + byDigest,
		}
		var got []string
		for _, r := range m.Referrers {
			got = append(got, r.Reference)
		}
		if !slices.Equal(got, want) {
			t.Errorf("listed %v: carried %q, want %q", listed, got, want)
		}

		// What was signed later is for another build: the lock holds the bundle to what it had.
		attach(t, host+"/app", app, app, testKey(t))
		refer(t, host+"/many", index, sigstoreType, []byte("later"))
		held := options()
		held.Lock, held.Locked = gathered.Lock, true
		_, again, err := gather(t, spec, held)
		if err != nil || must(again.Digest())(t) != must(m.Digest())(t) {
			t.Errorf("listed %v: with the lock it is another bundle: %v", listed, err)
		}
		if _, now, err := gather(t, spec, options()); err != nil || len(now.Referrers) != len(want)+1 {
			t.Errorf("listed %v: without the lock %d referrers, %v", listed, len(now.Referrers), err)
		}

		// A bundle that starts from this one takes them over.
		path := filepath.Join(folder, "base.airgap")
		if _, err := bundle.Create(context.Background(), path, gathered.Content, bundle.CreateOptions{Signers: []*signing.PrivateKey{key}}); err != nil {
			t.Fatal(err)
		}
		from := options()
		from.Trust = signing.Policy{Keys: []signing.PublicKey{key.Public()}, Threshold: 1}
		second := must(Parse(filepath.Join(folder, "airgap.yaml"), []byte("apiVersion: airgap/v1\nkind: Bundle\nmetadata: {name: second, version: 1.0.0}\nspec: {from: [base.airgap], platforms: [linux/amd64]}\n")))(t)
		if _, m, err := gather(t, second, from); err != nil || len(m.Referrers) != len(want) {
			t.Errorf("listed %v: from the bundle %v", listed, err)
		}
	}
}

// TestLostSignatureIsTold takes a locked signature away from the registry.
func TestLostSignatureIsTold(t *testing.T) {
	host := newRegistryOf(t, true)
	app := push(t, host+"/app:1", image(t, "linux/amd64", "app"))
	lost := refer(t, host+"/app", app, sigstoreType, []byte("a bundle"))
	spec := load(t, t.TempDir(), "  images: ["+host+"/app:1]\n")
	gathered, _, err := gather(t, spec, options())
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Delete(must(name.ParseReference(host + "/app@" + lost))(t)); err != nil {
		t.Fatal(err)
	}
	held := options()
	held.Lock = gathered.Lock
	if _, _, err := gather(t, spec, held); err == nil || !strings.Contains(err.Error(), "airgap build --update") || !strings.Contains(err.Error(), lost) {
		t.Errorf("got %v", err)
	}
}

// TestRegistryThatKnowsNoTags answers what it has not as some registries do, and one whose answers fail.
func TestRegistryThatKnowsNoTags(t *testing.T) {
	for status, fails := range map[int]bool{http.StatusUnauthorized: false, http.StatusForbidden: false, http.StatusMethodNotAllowed: false, http.StatusNotImplemented: true} {
		inner := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodGet && (strings.Contains(r.URL.Path, "/referrers/") || strings.Contains(r.URL.Path, "/manifests/sha256-")) {
				w.WriteHeader(status)
				return
			}
			inner.ServeHTTP(w, r)
		}))
		defer server.Close()
		host := strings.TrimPrefix(server.URL, "http://")
		push(t, host+"/app:1", image(t, "linux/amd64", "app"))
		_, _, err := gather(t, load(t, t.TempDir(), "  images: ["+host+"/app:1]\n"), options())
		if (err != nil) != fails {
			t.Errorf("status %d: %v", status, err)
		}
	}
}

// TestListedReferrerMustBeAboutTheImage gives a registry that lists what is about another image.
func TestListedReferrerMustBeAboutTheImage(t *testing.T) {
	inner := registry.New(registry.Logger(log.New(io.Discard, "", 0)), registry.WithReferrersSupport(true))
	var lie string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if lie != "" && strings.Contains(r.URL.Path, "/referrers/") {
			w.Header().Set("Content-Type", ocispec.MediaTypeImageIndex)
			fmt.Fprintf(w, `{"schemaVersion":2,"mediaType":%q,"manifests":[%s]}`, ocispec.MediaTypeImageIndex, lie)
			return
		}
		inner.ServeHTTP(w, r)
	}))
	defer server.Close()
	host := strings.TrimPrefix(server.URL, "http://")
	push(t, host+"/app:1", image(t, "linux/amd64", "app"))
	other := push(t, host+"/app:2", image(t, "linux/amd64", "other"))
	about := refer(t, host+"/app", other, sigstoreType, []byte("a bundle"))
	head := must(remote.Head(must(name.ParseReference(host + "/app@" + about))(t)))(t)
	lie = fmt.Sprintf(`{"mediaType":%q,"digest":%q,"size":%d,"artifactType":%q}`, head.MediaType, about, head.Size, sigstoreType)
	if _, _, err := gather(t, load(t, t.TempDir(), "  images: ["+host+"/app:1]\n"), options()); err == nil || !strings.Contains(err.Error(), "and it is not") {
		t.Errorf("got %v", err)
	}
}
