package mirror

import (
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	ggcr "github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"airgap/registry"
	"airgap/registry/distribution"
	"airgap/registry/internal/fixture"
)

var pinned = map[string]string{registry.LabelPinned: registry.Pinned}

// remoteRegistry is a real registry in this process that counts what it is asked.
type remoteRegistry struct {
	*httptest.Server
	asked atomic.Int32
	guard func(w http.ResponseWriter, r *http.Request) bool // false: it has answered; nil lets all in
}

func newRemote(t *testing.T, withTLS bool) *remoteRegistry {
	r := &remoteRegistry{}
	inner := ggcr.New(ggcr.Logger(log.New(io.Discard, "", 0)))
	handler := http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		r.asked.Add(1)
		if r.guard == nil || r.guard(w, request) {
			inner.ServeHTTP(w, request)
		}
	})
	if withTLS {
		r.Server = httptest.NewTLSServer(handler)
	} else {
		r.Server = httptest.NewServer(handler)
	}
	t.Cleanup(r.Close)
	return r
}

func (r *remoteRegistry) host() string { return r.Listener.Addr().String() }

// push puts an image there while nobody guards it.
func (r *remoteRegistry) push(t *testing.T, repository string) v1.Image {
	t.Helper()
	image, err := random.Image(2000, 2)
	if err != nil {
		t.Fatal(err)
	}
	reference, err := name.ParseReference(r.host()+"/"+repository, name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	guard := r.guard
	r.guard = nil
	if err := remote.Write(reference, image, remote.WithTransport(r.Client().Transport)); err != nil {
		t.Fatal(err)
	}
	r.guard = guard
	r.asked.Store(0)
	return image
}

// newMirror makes a mirror with registries.yaml's text over a store.
func newMirror(t *testing.T, store *fixture.Store, registries string, o Options) *Mirror {
	t.Helper()
	r, err := Parse("registries.yaml", []byte(registries))
	if err != nil {
		t.Fatal(err)
	}
	return New(distribution.Content{Images: store.Images, Blobs: store.Blobs}, func() *Registries { return r }, o)
}

// ask makes one request of a mirror and wants a status.
func ask(t *testing.T, m http.Handler, method, path string, status int, header ...string) *http.Response {
	t.Helper()
	r := httptest.NewRequest(method, path, nil)
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	m.ServeHTTP(w, r)
	if w.Code != status {
		t.Fatalf("%s %s: %d, want %d: %s", method, path, w.Code, status, w.Body)
	}
	return w.Result()
}

func TestOwnContentAnswersFirst(t *testing.T) {
	store := fixture.New(t)
	brought, pulled := store.Image("brought by a bundle"), store.Image("pulled")
	lan := newRemote(t, false)
	newer := lan.push(t, "library/pulled:1")
	lan.push(t, "library/brought:1")
	store.Name("docker.io/library/brought:1", brought, pinned)
	store.Name("docker.io/library/pulled:1", pulled, nil)
	store.Name("docker.io/library/mine:1", pulled, nil)
	m := newMirror(t, store, "mirrors: {docker.io: {endpoint: [\"http://"+lan.host()+"\"]}}", Options{DisableDefaultEndpoint: true})

	digestOf := func(path string) string {
		t.Helper()
		return ask(t, m, http.MethodHead, path, http.StatusOK).Header.Get("Docker-Content-Digest")
	}
	for path, want := range map[string]string{
		"/v2/library/brought/manifests/1?ns=docker.io":                               brought.Digest.String(),
		"/v2/library/pulled/manifests/" + pulled.Digest.String() + "?ns=docker.io":   pulled.Digest.String(),
		"/v2/library/brought/manifests/" + brought.Digest.String() + "?ns=docker.io": brought.Digest.String(),
	} {
		if got := digestOf(path); got != want {
			t.Errorf("%s is %s, want %s", path, got, want)
		}
	}
	if n := lan.asked.Load(); n != 0 {
		t.Errorf("the endpoint was asked %d times for what is here", n)
	}
	// What was pulled under a tag is a copy: the tag has moved, and the endpoint says so.
	moved, err := newer.Digest()
	if err != nil {
		t.Fatal(err)
	}
	if got := digestOf("/v2/library/pulled/manifests/1?ns=docker.io"); got != moved.String() {
		t.Errorf("the tag is %s, at the endpoint it is %s", got, moved)
	}
	if got := digestOf("/v2/library/mine/manifests/1?ns=docker.io"); got != pulled.Digest.String() {
		t.Errorf("the endpoint does not have the tag: got %s", got)
	}
	lan.Close()
	if got := digestOf("/v2/library/pulled/manifests/1?ns=docker.io"); got != pulled.Digest.String() {
		t.Errorf("the endpoint is gone: got %s, want the copy", got)
	}
}

// The registry itself is not asked for what is here: offline that would be a wait for each start of a pod.
func TestRegistryItselfIsNotAskedForWhatIsHere(t *testing.T) {
	store := fixture.New(t)
	away := newRemote(t, false)
	store.Name(away.host()+"/app:1", store.Image("x"), nil)
	m := newMirror(t, store, "", Options{})
	ask(t, m, http.MethodGet, "/v2/app/manifests/1?ns="+away.host(), http.StatusOK)
	if away.asked.Load() != 0 {
		t.Error("it was asked")
	}
	away.push(t, "other:1")
	ask(t, m, http.MethodGet, "/v2/other/manifests/1?ns="+away.host(), http.StatusOK)
}

func TestRewriteCredentialsAndTLS(t *testing.T) {
	lan := newRemote(t, true)
	image := lan.push(t, "team/mirrored/nginx:1")
	lan.guard = func(w http.ResponseWriter, r *http.Request) bool {
		if user, password, _ := r.BasicAuth(); user != "reader" || password != "secret" {
			w.Header().Set("WWW-Authenticate", `Basic realm="site"`)
			w.WriteHeader(http.StatusUnauthorized)
			return false
		}
		return true
	}
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: lan.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf(`
mirrors:
  docker.io:
    endpoint: ["https://%s"]
    rewrite: {"^library/(.*)": "team/mirrored/$1"}
configs:
  %q:
    auth: {username: reader, password: secret}
    tls: {ca_file: %s}
`, lan.host(), lan.host(), ca)
	o := Options{DisableDefaultEndpoint: true}
	m := newMirror(t, fixture.New(t), text, o)
	want, err := image.RawManifest()
	if err != nil {
		t.Fatal(err)
	}
	response := ask(t, m, http.MethodGet, "/v2/library/nginx/manifests/1?ns=docker.io", http.StatusOK)
	if got, _ := io.ReadAll(response.Body); string(got) != string(want) {
		t.Errorf("got %s", got)
	}
	layers, err := image.Layers()
	if err != nil {
		t.Fatal(err)
	}
	layer, err := layers[0].Digest()
	if err != nil {
		t.Fatal(err)
	}
	response = ask(t, m, http.MethodGet, "/v2/library/nginx/blobs/"+layer.String()+"?ns=docker.io", http.StatusPartialContent, "Range", "bytes=0-9")
	if got, _ := io.ReadAll(response.Body); len(got) != 10 {
		t.Errorf("a range of 10 bytes has %d", len(got))
	}
	ask(t, m, http.MethodGet, "/v2/library/absent/manifests/1?ns=docker.io", http.StatusNotFound)

	t.Run("wrong credentials", func(t *testing.T) {
		m := newMirror(t, fixture.New(t), strings.Replace(text, "secret", "wrong", 1), o)
		response := ask(t, m, http.MethodGet, "/v2/library/nginx/manifests/1?ns=docker.io", http.StatusUnauthorized)
		if !strings.HasPrefix(response.Header.Get("WWW-Authenticate"), "Basic ") {
			t.Error("containerd is not asked for the pod's pull secret")
		}
	})
	t.Run("a pod's pull secret", func(t *testing.T) {
		for name, text := range map[string]string{
			"alone": strings.Replace(text, "auth: {username: reader, password: secret}", "", 1), "after wrong ones": strings.Replace(text, "secret", "wrong", 1),
		} {
			t.Run(name, func(t *testing.T) {
				m := newMirror(t, fixture.New(t), text, o)
				ask(t, m, http.MethodGet, "/v2/library/nginx/manifests/1?ns=docker.io", http.StatusUnauthorized)
				ask(t, m, http.MethodGet, "/v2/library/nginx/manifests/1?ns=docker.io", http.StatusOK, "Authorization", basic("reader", "secret"))
				ask(t, m, http.MethodGet, "/v2/library/nginx/manifests/1?ns=docker.io", http.StatusForbidden, "Authorization", basic("reader", "no"))
			})
		}
	})
	t.Run("an unknown authority", func(t *testing.T) {
		m := newMirror(t, fixture.New(t), strings.Replace(text, "tls: {ca_file: "+ca+"}", "", 1), o)
		response := ask(t, m, http.MethodGet, "/v2/library/nginx/manifests/1?ns=docker.io", http.StatusForbidden)
		if text := message(t, response); !strings.Contains(text, "certificate") {
			t.Errorf("the error does not say why: %s", text)
		}
	})
}

func basic(user, password string) string {
	r := &http.Request{Header: http.Header{}}
	r.SetBasicAuth(user, password)
	return r.Header.Get("Authorization")
}

// A token server stands beside most large registries.
func TestTokens(t *testing.T) {
	lan := newRemote(t, false)
	lan.push(t, "team/app:1")
	var scopes atomic.Value
	lan.guard = func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/token" {
			scopes.Store(r.URL.Query().Get("scope"))
			if user, password, _ := r.BasicAuth(); user != "reader" || password != "secret" {
				w.WriteHeader(http.StatusUnauthorized)
				return false
			}
			fmt.Fprint(w, `{"token": "open"}`)
			return false
		}
		if r.Header.Get("Authorization") != "Bearer open" {
			w.Header().Set("WWW-Authenticate", `Bearer realm="`+lan.URL+`/token",service="site"`)
			w.WriteHeader(http.StatusUnauthorized)
			return false
		}
		return true
	}
	text := "mirrors: {docker.io: {endpoint: [\"http://HOST\"]}}\nconfigs: {\"HOST\": {auth: {username: reader, password: secret}}}"
	text = strings.ReplaceAll(text, "HOST", lan.host())
	m := newMirror(t, fixture.New(t), text, Options{DisableDefaultEndpoint: true})
	ask(t, m, http.MethodGet, "/v2/team/app/manifests/1?ns=docker.io", http.StatusOK)
	if scopes.Load() != "repository:team/app:pull" {
		t.Errorf("the token was asked for %q", scopes.Load())
	}
	m = newMirror(t, fixture.New(t), strings.Replace(text, "secret", "wrong", 1), Options{DisableDefaultEndpoint: true})
	ask(t, m, http.MethodGet, "/v2/team/app/manifests/1?ns=docker.io", http.StatusUnauthorized)
}

// A missing image fails at once where there is no network, and says why.
func TestMissingFailsFast(t *testing.T) {
	closed := newRemote(t, false)
	closed.Close()
	for name, test := range map[string]struct {
		host, want string
	}{
		"refused":  {closed.host(), "it refuses the connection"},
		"no route": {"[2001:db8::1]:5000", "there is no network route|it does not answer in time"},
		"no name":  {"registry.invalid", "its name cannot be resolved"},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMirror(t, fixture.New(t), "", Options{})
			began := time.Now()
			ask(t, m, http.MethodHead, "/v2/library/absent/manifests/1?ns="+test.host, http.StatusForbidden)
			response := ask(t, m, http.MethodGet, "/v2/library/absent/manifests/1?ns="+test.host, http.StatusForbidden)
			text := message(t, response)
			if !regexp.MustCompile(test.want).MatchString(text) || !strings.Contains(text, "/library/absent:1") || !strings.Contains(text, "bundle") {
				t.Errorf("the error is: %s", text)
			}
			if took := time.Since(began); took > 2*time.Second {
				t.Errorf("took %s", took)
			}
		})
	}
	t.Run("nobody to ask", func(t *testing.T) {
		m := newMirror(t, fixture.New(t), "", Options{SystemHost: "airgap.internal"})
		text := message(t, ask(t, m, http.MethodGet, "/v2/pause/manifests/1?ns=airgap.internal", http.StatusNotFound))
		if !strings.Contains(text, "no registry to ask") {
			t.Errorf("the error is: %s", text)
		}
	})
}

// A host that cannot be reached is not tried for each request of a pull, but is tried again soon.
func TestUnreachableIsRemembered(t *testing.T) {
	gone := newRemote(t, false)
	gone.Close()
	m := newMirror(t, fixture.New(t), "", Options{})
	now := time.Now()
	m.upstream.now = func() time.Time { return now }
	path := "/v2/app/manifests/1?ns=" + gone.host()
	ask(t, m, http.MethodGet, path, http.StatusForbidden)
	listener, err := net.Listen("tcp", gone.host())
	if err != nil {
		t.Fatal(err)
	}
	back := &http.Server{Handler: http.NotFoundHandler()}
	go back.Serve(listener)
	defer back.Close()
	ask(t, m, http.MethodGet, path, http.StatusForbidden)
	now = now.Add(unreachableFor)
	ask(t, m, http.MethodGet, path, http.StatusNotFound)
}

// What breaks off at the endpoint must not look whole to containerd.
func TestBrokenStreamIsNoSuccess(t *testing.T) {
	lan := newRemote(t, false)
	lan.guard = func(w http.ResponseWriter, r *http.Request) bool {
		w.WriteHeader(http.StatusOK)
		w.Write([]byte("half of it"))
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}
	s := httptest.NewServer(newMirror(t, fixture.New(t), "", Options{}))
	defer s.Close()
	response, err := http.Get(s.URL + "/v2/app/manifests/1?ns=" + lan.host())
	if err != nil {
		return // so early that there is not even an answer
	}
	defer response.Body.Close()
	if data, err := io.ReadAll(response.Body); err == nil {
		t.Errorf("%q came without an error", data)
	}
}

func TestPagesStayOnTheMirror(t *testing.T) {
	lan := newRemote(t, false)
	lan.guard = func(w http.ResponseWriter, r *http.Request) bool {
		w.Header().Set("Link", `</v2/other/app/tags/list?last=b&n=2>; rel="next"`)
		fmt.Fprint(w, `{"name":"other/app","tags":["a","b"]}`)
		return false
	}
	m := newMirror(t, fixture.New(t), "mirrors: {quay.io: {endpoint: [\"http://"+lan.host()+"\"], rewrite: {\"(.*)\": \"other/$1\"}}}", Options{})
	response := ask(t, m, http.MethodGet, "/v2/app/tags/list?n=2&ns=quay.io", http.StatusOK)
	if got, want := response.Header.Get("Link"), `</v2/app/tags/list?last=b&n=2&ns=quay.io>; rel="next"`; got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
}

func message(t *testing.T, response *http.Response) string {
	t.Helper()
	var body struct {
		Errors []struct{ Code, Message string }
	}
	if err := json.NewDecoder(response.Body).Decode(&body); err != nil || len(body.Errors) != 1 {
		t.Fatalf("%+v, %v", body, err)
	}
	return body.Errors[0].Message
}
