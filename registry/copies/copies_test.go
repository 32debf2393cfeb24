package copies

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	"github.com/google/go-containerregistry/pkg/crane"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/validate"
	"github.com/opencontainers/go-digest"

	"airgap/registry"
	"airgap/registry/distribution"
	"airgap/registry/internal/fixture"
)

// nodesOnly lets nodes replicate, and everybody do everything else.
type nodesOnly struct{}

func (nodesOnly) Authorize(r *http.Request, verb distribution.Verb, _ string) error {
	if verb == distribution.Replicate && r.Header.Get("X-Node") == "" {
		return &distribution.Error{Status: http.StatusForbidden, Code: distribution.CodeDenied, Message: "not a node"}
	}
	return nil
}

// asNode shows a node's certificate, so to say.
type asNode struct{ http.RoundTripper }

func (t asNode) RoundTrip(r *http.Request) (*http.Response, error) {
	r.Header.Set("X-Node", "yes")
	return t.RoundTripper.RoundTrip(r)
}

// testNode is a node with stores of containerd, its registry served.
type testNode struct {
	*Copies
	name   string
	site   *distribution.Site
	store  *fixture.Store
	server *httptest.Server
	down   bool
	spoil  bool // its blobs are other bytes
}

// testSite is nodes that know each other.
type testSite struct {
	*testing.T
	nodes   []*testNode
	members []Node

	mu      sync.Mutex
	reports []string
}

func newTestSite(t *testing.T, count, copies int) *testSite {
	s := &testSite{T: t}
	for i := range count {
		n := &testNode{name: fmt.Sprintf("node-%d", i), store: fixture.New(t)}
		n.server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { n.serve(w, r) }))
		n.server.StartTLS()
		t.Cleanup(n.server.Close)
		n.Copies = New(Options{
			Self: n.name, Nodes: func() []Node { return s.members }, Copies: copies, Blobs: n.store.Blobs,
			Client: &http.Client{Transport: asNode{n.server.Client().Transport}},
			Report: func(err error) {
				s.mu.Lock()
				defer s.mu.Unlock()
				s.reports = append(s.reports, err.Error())
			},
		})
		n.site = distribution.NewSite(distribution.SiteOptions{Images: n.store.Images, Blobs: n.store.Blobs, Leases: n.store.Leases, Others: n.Copies})
		s.nodes = append(s.nodes, n)
		s.members = append(s.members, Node{n.name, n.address()})
	}
	return s
}

func (n *testNode) address() string { return n.server.Listener.Addr().String() }

func (n *testNode) serve(w http.ResponseWriter, r *http.Request) {
	if n.down {
		panic(http.ErrAbortHandler)
	}
	if n.spoil && r.Header.Get("X-Node") != "" && strings.Contains(r.URL.Path, "/blobs/") {
		recorder := httptest.NewRecorder()
		n.registry().ServeHTTP(recorder, r)
		io.Copy(w, bytes.NewReader(bytes.Repeat([]byte("x"), recorder.Body.Len())))
		return
	}
	n.registry().ServeHTTP(w, r)
}

func (n *testNode) registry() http.Handler {
	return &distribution.Registry{Site: n.site, Port: 6446, Authorizer: nodesOnly{}}
}

// settle makes rounds at all nodes, twice: what one takes from another the next learns in its own.
func (s *testSite) settle() {
	s.Helper()
	for range 2 {
		for _, n := range s.nodes {
			if n.down {
				continue
			}
			if err := n.round(context.Background(), n.site); err != nil {
				s.Fatal(err)
			}
			n.store.Collect()
		}
	}
}

func (s *testSite) push(at *testNode, reference string) v1.Image {
	s.Helper()
	image, err := random.Image(100<<10, 2)
	if err != nil {
		s.Fatal(err)
	}
	if err := crane.Push(image, at.address()+"/"+reference, s.as(at)); err != nil {
		s.Fatal(err)
	}
	return image
}

func (s *testSite) as(n *testNode) crane.Option {
	return crane.WithTransport(n.server.Client().Transport)
}

// holders are the names of the nodes on whose disk all blobs of an image are.
func (s *testSite) holders(image v1.Image) (names []string) {
	s.Helper()
	layers, err := image.Layers()
	if err != nil {
		s.Fatal(err)
	}
	for _, n := range s.nodes {
		held := 0
		for _, layer := range layers {
			d, err := layer.Digest()
			if err != nil {
				s.Fatal(err)
			}
			ctx := namespaces.WithNamespace(context.Background(), registry.SiteNamespace)
			if _, err := n.store.Blobs.Info(ctx, digest.Digest(d.String())); err == nil {
				held++
			} else if !errdefs.IsNotFound(err) {
				s.Fatal(err)
			}
		}
		if held == len(layers) {
			names = append(names, n.name)
		} else if held > 0 {
			s.Errorf("%s holds %d of %d layers", n.name, held, len(layers))
		}
	}
	return names
}

// homes are the names of a repository's homes, in the order of names.
func (s *testSite) homes(repository string) (names []string) {
	for _, node := range s.nodes[0].Copies.homes(repository, s.members) {
		names = append(names, node.Name)
	}
	slices.Sort(names)
	return names
}

func (s *testSite) node(name string) *testNode {
	return s.nodes[slices.IndexFunc(s.nodes, func(n *testNode) bool { return n.name == name })]
}

// foreign is a node that is no home of a repository.
func (s *testSite) foreign(repository string) *testNode {
	homes := s.homes(repository)
	return s.nodes[slices.IndexFunc(s.nodes, func(n *testNode) bool { return !slices.Contains(homes, n.name) })]
}

// wantEverywhere wants every node to answer with an image for a reference, or, for nil, not to know it.
func (s *testSite) wantEverywhere(reference string, image v1.Image) {
	s.Helper()
	for _, n := range s.nodes {
		if n.down {
			continue
		}
		got, err := crane.Pull(n.address()+"/"+reference, s.as(n))
		if image == nil {
			if err == nil || !strings.Contains(err.Error(), "404") && !strings.Contains(err.Error(), "MANIFEST_UNKNOWN") {
				s.Errorf("%s has %s: %v", n.name, reference, err)
			}
			continue
		}
		if err != nil {
			s.Errorf("%s: %v", n.name, err)
			continue
		}
		want, _ := image.Digest()
		if d, err := got.Digest(); err != nil || d != want {
			s.Errorf("%s answers %s with %v, %v; want %v", n.name, reference, d, err, want)
		}
		if err := validate.Image(got); err != nil {
			s.Errorf("%s: %v", n.name, err)
		}
	}
}

func TestCopiesAreAtTheHomesAlone(t *testing.T) {
	s := newTestSite(t, 5, 2)
	at := s.foreign("team/app")
	image := s.push(at, "team/app:1")
	if got := s.holders(image); !slices.Equal(got, []string{at.name}) {
		t.Fatalf("before any round it is at %v", got)
	}
	s.settle()
	if got := s.holders(image); !slices.Equal(got, s.homes("team/app")) {
		t.Errorf("it is at %v, want %v", got, s.homes("team/app"))
	}
	s.wantEverywhere("team/app:1", image)
	for _, n := range s.nodes {
		if tags, err := crane.ListTags(n.address()+"/team/app", s.as(n)); err != nil || !slices.Equal(tags, []string{"1"}) {
			t.Errorf("%s lists %v, %v", n.name, tags, err)
		}
		if all, err := crane.Catalog(n.address(), s.as(n)); err != nil || !slices.Equal(all, []string{"team/app"}) {
			t.Errorf("%s has %v, %v", n.name, all, err)
		}
	}
	// Pushed again at a node that is none of its homes, the layers that are elsewhere are not sent again, and the manifest is taken.
	if err := crane.Copy(at.address()+"/team/app:1", at.address()+"/team/app:2", s.as(at)); err != nil {
		t.Error(err)
	}
	s.settle()
	s.wantEverywhere("team/app:2", image)
	if len(s.reports) > 0 {
		t.Errorf("reported: %v", s.reports)
	}
}

func TestTheLatestHolds(t *testing.T) {
	s := newTestSite(t, 4, 2)
	s.push(s.nodes[0], "team/app:1")
	s.settle()
	old := s.push(s.nodes[1], "team/app:1")
	s.settle()
	image := s.push(s.nodes[2], "team/app:1")
	s.settle()
	s.wantEverywhere("team/app:1", image)
	if got := s.holders(old); len(got) > 0 {
		t.Errorf("the replaced image is still at %v", got)
	}
	if err := crane.Delete(s.nodes[3].address()+"/team/app:1", s.as(s.nodes[3])); err != nil {
		t.Fatal(err)
	}
	s.settle()
	s.wantEverywhere("team/app:1", nil)
	if got := s.holders(image); len(got) > 0 {
		t.Errorf("the deleted image is still at %v", got)
	}
	again := s.push(s.nodes[0], "team/app:1")
	s.settle()
	s.wantEverywhere("team/app:1", again)
}

func TestNodesVanishAndComeBack(t *testing.T) {
	s := newTestSite(t, 4, 2)
	image := s.push(s.nodes[0], "team/app:1")
	s.settle()
	first := s.node(s.homes("team/app")[0])
	first.down = true
	s.settle()
	s.wantEverywhere("team/app:1", image) // the other home has it
	members := s.members
	s.members = slices.DeleteFunc(slices.Clone(members), func(n Node) bool { return n.Name == first.name })
	s.settle() // the site takes it for gone: another node becomes a home
	if got := s.holders(image); len(got) != 3 || !slices.Contains(got, s.homes("team/app")[0]) || !slices.Contains(got, s.homes("team/app")[1]) {
		t.Errorf("it is at %v; the homes are %v, and %s is away", got, s.homes("team/app"), first.name)
	}
	if err := crane.Delete(s.node(s.homes("team/app")[0]).address()+"/team/app:1", s.as(s.nodes[0])); err != nil {
		t.Fatal(err)
	}
	s.settle()
	s.members, first.down = members, false
	s.settle()
	s.wantEverywhere("team/app:1", nil) // it learns that the tag was deleted
	if got := s.holders(image); len(got) > 0 {
		t.Errorf("it is still at %v", got)
	}
}

// A node does not forget what its homes have not got.
func TestNothingIsForgottenTooEarly(t *testing.T) {
	s := newTestSite(t, 4, 2)
	at := s.foreign("team/app")
	home := s.node(s.homes("team/app")[0])
	home.down = true
	image := s.push(at, "team/app:1")
	s.settle()
	if got := s.holders(image); !slices.Contains(got, at.name) {
		t.Errorf("a home is away, and %s has forgotten it: it is at %v", at.name, got)
	}
	home.down = false
	members := s.members
	s.members = nil // the API server has not said yet who is of the site
	s.settle()
	if got := s.holders(image); !slices.Contains(got, at.name) {
		t.Errorf("%s has forgotten it without knowing the site: it is at %v", at.name, got)
	}
	s.members = members
	s.settle()
	if got := s.holders(image); !slices.Equal(got, s.homes("team/app")) {
		t.Errorf("it is at %v, want %v", got, s.homes("team/app"))
	}
}

func TestOtherBytesAreNotTaken(t *testing.T) {
	s := newTestSite(t, 4, 2)
	at := s.foreign("team/app")
	image := s.push(at, "team/app:1")
	at.spoil = true
	s.settle()
	if got := s.holders(image); !slices.Equal(got, []string{at.name}) {
		t.Errorf("other bytes were taken: it is at %v", got)
	}
	if !slices.ContainsFunc(s.reports, func(report string) bool {
		return strings.Contains(report, at.name) && strings.Contains(report, "team/app:1")
	}) {
		t.Errorf("nobody is told who sends other bytes: %v", s.reports)
	}
	at.spoil = false
	s.settle()
	if got := s.holders(image); !slices.Equal(got, s.homes("team/app")) {
		t.Errorf("it is at %v, want %v", got, s.homes("team/app"))
	}
}

func TestOneNode(t *testing.T) {
	s := newTestSite(t, 1, 2)
	image := s.push(s.nodes[0], "app:1")
	s.settle()
	s.wantEverywhere("app:1", image)
	err := s.nodes[0].Fetch(context.Background(), "app", descriptor{Digest: digest.FromString("nothing")})
	var e *distribution.Error
	if !errors.As(err, &e) || e.Status != http.StatusNotFound {
		t.Error(err)
	}
}

// TestRankMovesLittle holds that a node that goes moves only what it was a home of, and that homes are spread evenly.
func TestRankMovesLittle(t *testing.T) {
	var nodes []Node
	for i := range 10 {
		nodes = append(nodes, Node{Name: fmt.Sprintf("node-%d", i)})
	}
	homesOf := map[string]int{}
	for i := range 1000 {
		repository := fmt.Sprintf("team/app-%d", i)
		before, after := Rank(repository, nodes)[:2], Rank(repository, nodes[1:])[:2]
		for _, node := range before {
			homesOf[node.Name]++
			if node.Name != "node-0" && !slices.Contains(after, node) {
				t.Errorf("%s moved from %s, which is still there", repository, node.Name)
			}
		}
	}
	for name, count := range homesOf {
		if count < 120 || count > 280 {
			t.Errorf("%s is the home of %d repositories of 1000, want about 200", name, count)
		}
	}
}
