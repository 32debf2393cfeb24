package mirror

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"airgap/registry/distribution"
	"airgap/registry/internal/fixture"
)

// node is another node of the cluster, which counts what it is asked.
type node struct {
	*httptest.Server
	store *fixture.Store
	asked atomic.Int32
	guard func(w http.ResponseWriter, r *http.Request) bool // false: it has answered
}

func newNode(t *testing.T) *node {
	n := &node{store: fixture.New(t)}
	handler := distribution.Handler{Content: distribution.Content{Images: n.store.Images, Blobs: n.store.Blobs}}
	n.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n.asked.Add(1)
		if n.guard == nil || n.guard(w, r) {
			handler.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(n.Close)
	return n
}

func (n *node) address() string { return n.Listener.Addr().String() }

// withPeers makes a mirror of a node without content among others.
func withPeers(t *testing.T, registries string, nodes ...*node) *Mirror {
	return newMirror(t, fixture.New(t), registries, Options{Peers: func(context.Context) (list []string) {
		for _, n := range nodes {
			list = append(list, n.address())
		}
		return list
	}})
}

// lanOnly has no registry to ask.
const lanOnly = "mirrors: {docker.io: {endpoint: [\"http://127.0.0.1:1\"]}}\n"

func TestPeersAnswerBeforeRegistries(t *testing.T) {
	empty, holder := newNode(t), newNode(t)
	image := holder.store.Image("a layer of another node")
	holder.store.Name("docker.io/library/app:1", image, nil)
	layer := holder.store.Absent("", []byte("a layer of another node")).Digest.String()
	lan := newRemote(t, false)
	m := withPeers(t, "mirrors: {docker.io: {endpoint: [\"http://"+lan.host()+"\"]}}\n", empty, holder)
	for _, method := range []string{http.MethodHead, http.MethodGet} {
		for _, reference := range []string{"1", image.Digest.String()} {
			response := ask(t, m, method, "/v2/library/app/manifests/"+reference+"?ns=docker.io", http.StatusOK)
			if got := response.Header.Get("Docker-Content-Digest"); got != image.Digest.String() {
				t.Errorf("%s of %s gives the digest %s", method, reference, got)
			}
		}
	}
	response := ask(t, m, http.MethodGet, "/v2/library/app/blobs/"+layer+"?ns=docker.io", http.StatusPartialContent, "Range", "bytes=2-")
	if body, _ := io.ReadAll(response.Body); string(body) != "layer of another node" {
		t.Errorf("the range is %q", body)
	}
	if n := lan.asked.Load(); n != 0 {
		t.Errorf("a registry was asked %d times for what another node has", n)
	}
}

func TestWhatNoPeerHasFailsFastAndIsNotAskedForAgain(t *testing.T) {
	first, second := newNode(t), newNode(t)
	gone := newNode(t)
	gone.Close()
	m := withPeers(t, lanOnly, first, second, gone)
	for range 3 {
		began := time.Now()
		response := ask(t, m, http.MethodGet, "/v2/library/app/manifests/1?ns=docker.io", http.StatusForbidden)
		body, _ := io.ReadAll(response.Body)
		if !strings.Contains(string(body), "3 other nodes") || !strings.Contains(string(body), "127.0.0.1:1") {
			t.Errorf("the error does not say who was asked: %s", body)
		}
		if took := time.Since(began); took > 3*time.Second {
			t.Errorf("it took %v", took)
		}
	}
	if n := first.asked.Load() + second.asked.Load(); n != 2 {
		t.Errorf("two nodes were asked %d times", n)
	}
	m.peers.now = func() time.Time { return time.Now().Add(absentFor + unreachableFor) }
	ask(t, m, http.MethodGet, "/v2/library/app/manifests/1?ns=docker.io", http.StatusForbidden)
	if n := first.asked.Load(); n != 2 {
		t.Errorf("after %v a node was asked %d times in all", absentFor, n)
	}
}

func TestPeerWithWrongBytesIsLeftAlone(t *testing.T) {
	hostile, honest := newNode(t), newNode(t)
	image := honest.store.Image("a layer")
	for _, n := range []*node{hostile, honest} {
		n.store.Image("a layer")
		n.store.Name("docker.io/library/app:1", image, nil)
	}
	layer := honest.store.Absent("", []byte("a layer")).Digest.String()
	hostile.guard = func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodHead {
			return true
		}
		if strings.Contains(r.URL.Path, "/blobs/") {
			io.WriteString(w, "another")
		} else {
			io.WriteString(w, `{"schemaVersion":2}`)
		}
		return false
	}
	path := "/v2/library/app/manifests/" + image.Digest.String() + "?ns=docker.io"
	onlyHostile := withPeers(t, lanOnly, hostile)
	response := ask(t, onlyHostile, http.MethodGet, path, http.StatusForbidden)
	if body, _ := io.ReadAll(response.Body); !strings.Contains(string(body), "node") {
		t.Errorf("the error is %s", body)
	}
	asked := hostile.asked.Load()
	onlyHostile.peers.absent = map[string]absence{}
	ask(t, onlyHostile, http.MethodGet, path, http.StatusForbidden)
	if hostile.asked.Load() != asked {
		t.Error("a node that gave wrong bytes is asked again")
	}

	both := withPeers(t, lanOnly, hostile, honest)
	for range 10 { // whichever comes first
		ask(t, both, http.MethodGet, path, http.StatusOK)
		clear(both.peers.shun)
		clear(both.peers.last)
	}

	blobs := withPeers(t, lanOnly, hostile)
	func() {
		defer func() {
			if recover() == nil {
				t.Error("an answer with wrong bytes ended as if it were whole")
			}
		}()
		ask(t, blobs, http.MethodGet, "/v2/library/app/blobs/"+layer+"?ns=docker.io", http.StatusOK)
	}()
	if len(blobs.peers.shun) != 1 {
		t.Error("a node that gave a wrong blob is not left alone")
	}
}

func TestBusyPeerIsAskedAgain(t *testing.T) {
	n := newNode(t)
	image := n.store.Image("a layer")
	n.store.Name("docker.io/library/app:1", image, nil)
	var refused atomic.Int32
	n.guard = func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodGet && refused.Add(1) == 1 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return false
		}
		return true
	}
	layer := n.store.Absent("", []byte("a layer")).Digest.String()
	ask(t, withPeers(t, lanOnly, n), http.MethodGet, "/v2/library/app/blobs/"+layer+"?ns=docker.io", http.StatusOK)
}

// containerd's own client pulls, by tag and by digest, what only another node holds, over TLS.
func TestContainerdPullsFromAPeer(t *testing.T) {
	store := fixture.New(t)
	large := strings.Repeat("a large layer ", 1<<18)
	target := store.Image("a layer", large)
	store.Name("docker.io/library/app:1", target, nil)
	other := httptest.NewTLSServer(distribution.Handler{Content: distribution.Content{Images: store.Images, Blobs: store.Blobs}})
	defer other.Close()
	m := newMirror(t, fixture.New(t), lanOnly, Options{
		Peers:   func(context.Context) []string { return []string{other.Listener.Addr().String()} },
		PeerTLS: other.Client().Transport.(*http.Transport).TLSClientConfig,
	})
	resolver, _ := serve(t, m, t.TempDir(), nil)
	for _, reference := range []string{"docker.io/library/app:1", "docker.io/library/app@" + target.Digest.String()} {
		_, desc, err := resolver.Resolve(t.Context(), reference)
		if err != nil || desc.Digest != target.Digest {
			t.Fatalf("%s: %+v, %v", reference, desc, err)
		}
		fetcher, err := resolver.Fetcher(t.Context(), reference)
		if err != nil {
			t.Fatal(err)
		}
		for digest, data := range store.Data {
			content, err := fetcher.Fetch(t.Context(), ocispec.Descriptor{Digest: digest, Size: int64(len(data)), MediaType: ocispec.MediaTypeImageLayer})
			if err != nil {
				t.Fatal(err)
			}
			if got, err := io.ReadAll(content); err != nil || string(got) != string(data) {
				t.Errorf("%s: %d bytes as %s, %v", reference, len(got), digest, err)
			}
			content.Close()
		}
	}
}
