package media

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/distribution/distribution/v3/configuration"
	"github.com/distribution/distribution/v3/registry/handlers"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/inmemory"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"airgap/bundle"
	"airgap/internal/blobcache"
	"airgap/internal/progress"
)

// server is the reference implementation of a registry, and what it was asked.
type server struct {
	host string
	mu   sync.Mutex
	got  []string                                                         // "GET /v2/…"
	edit func(w http.ResponseWriter, r *http.Request) http.ResponseWriter // may be nil
}

func newServer(t *testing.T) *server {
	t.Helper()
	s := &server{}
	config := &configuration.Configuration{Storage: configuration.Storage{
		"inmemory": nil, "maintenance": {"uploadpurging": map[any]any{"enabled": false}},
	}}
	config.Log.Level = "error"
	inner := handlers.NewApp(t.Context(), config)
	outer := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.got = append(s.got, r.Method+" "+r.URL.RequestURI())
		edit := s.edit
		s.mu.Unlock()
		if edit != nil {
			w = edit(w, r)
		}
		inner.ServeHTTP(w, r)
	}))
	t.Cleanup(outer.Close)
	s.host = strings.TrimPrefix(outer.URL, "http://")
	return s
}

// meddle changes what the registry answers from now on.
func (s *server) meddle(edit func(w http.ResponseWriter, r *http.Request) http.ResponseWriter) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.edit = edit
}

// count is how many requests contained all of the texts since the last call of forget.
func (s *server) count(texts ...string) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, request := range s.got {
		all := true
		for _, text := range texts {
			all = all && strings.Contains(request, text)
		}
		if all {
			n++
		}
	}
	return n
}

func (s *server) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.got = nil
}

func (s *site) push(t *testing.T, to string) *Pushed {
	t.Helper()
	r, err := Open(context.Background(), s.path, s.trust, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	pushed, err := Push(context.Background(), r, to, PushOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return pushed
}

// pull copies what is at a location into a file and returns its bytes.
func (s *site) pull(t *testing.T, location string, o Options) ([]byte, error) {
	t.Helper()
	r, err := Open(context.Background(), location, s.trust, o)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	file := filepath.Join(t.TempDir(), "pulled.airgap")
	if err := bundle.Copy(context.Background(), r, file, bundle.CopyOptions{}); err != nil {
		return nil, err
	}
	return os.ReadFile(file)
}

func TestPushAndPull(t *testing.T) {
	s, there := newSite(t), newServer(t)
	repository := "oci://" + there.host + "/bundles/site-a"
	first := s.push(t, repository) // the tag is the version
	if first.Sent < 1_800_000 {
		t.Errorf("sent %d bytes", first.Sent)
	}
	for _, location := range []string{repository + ":1.0.0", first.Reference} {
		if got, err := s.pull(t, location, Options{}); err != nil || !bytes.Equal(got, s.data) {
			t.Errorf("%s: %d bytes of %d, %v", location, len(got), len(s.data), err)
		}
		if err := s.verify(location, Options{}); err != nil {
			t.Error(err)
		}
	}
	again := s.push(t, repository+":latest")
	if again.Sent != 0 || again.Reference != first.Reference {
		t.Errorf("again: %+v, first %+v", again, first)
	}

	for location, want := range map[string]error{
		repository + ":none": fs.ErrNotExist, repository: ErrReference, "oci://no host/x:1": ErrReference,
	} {
		if err := s.verify(location, Options{}); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", location, err, want)
		}
	}
	image, err := random.Image(100, 1)
	if err != nil {
		t.Fatal(err)
	}
	ref, err := name.NewTag(there.host + "/app:1")
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(ref, image); err != nil {
		t.Fatal(err)
	}
	if err := s.verify("oci://"+there.host+"/app:1", Options{}); !errors.Is(err, bundle.ErrFormat) || !strings.Contains(err.Error(), "no bundle") {
		t.Errorf("an image: %v", err)
	}
}

// TestPushMounts pushes a bundle into a registry that has its image under the image's own name: nothing of it is sent.
func TestPushMounts(t *testing.T) {
	s, there := newSite(t), newServer(t)
	folder := filepath.Join(t.TempDir(), "site")
	r, err := Open(context.Background(), s.path, s.trust, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if err := bundle.Copy(context.Background(), r, folder, bundle.CopyOptions{Directory: true}); err != nil {
		t.Fatal(err)
	}
	path, err := layout.FromPath(folder)
	if err != nil {
		t.Fatal(err)
	}
	root, err := v1.NewHash(r.Manifest().Images[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	image, err := path.Image(root)
	if err != nil {
		t.Fatal(err)
	}
	ref, err := name.NewTag(there.host + "/team/app:1") // registry.example/team/app:1, mirrored
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(ref, image); err != nil {
		t.Fatal(err)
	}
	there.forget()
	pushed := s.push(t, "oci://"+there.host+"/bundles/site-a:1")
	if n := there.count("POST", "mount=", "from=team%2Fapp"); n != 4 { // config and layers
		t.Errorf("%d blobs were mounted: %v", n, there.got)
	}
	if pushed.Sent > 100_000 {
		t.Errorf("%d bytes were sent", pushed.Sent)
	}
}

// TestPushTells has a push tell of what moves: of all bytes, each once, and of long blobs while they move.
func TestPushTells(t *testing.T) {
	s, there := newSite(t), newServer(t)
	for _, again := range []bool{false, true} { // the second time nothing has to be sent
		r, err := Open(context.Background(), s.path, s.trust, Options{})
		if err != nil {
			t.Fatal(err)
		}
		var mu sync.Mutex
		var last, steps int64
		var labels []string
		opts := PushOptions{
			Progress: func(done, total int64) {
				mu.Lock()
				defer mu.Unlock()
				last, steps = max(last, done), steps+1
				if total != r.Manifest().Size() {
					t.Errorf("%d bytes in all, there are %d", total, r.Manifest().Size())
				}
			},
			Transfer: func(label string, bytes int64) *progress.Transfer {
				labels = append(labels, label)
				return nil
			},
		}
		if _, err := Push(context.Background(), r, "oci://"+there.host+"/site:1", opts); err != nil {
			t.Fatal(err)
		}
		r.Close()
		if last != r.Manifest().Size() || !again && steps < int64(len(r.Manifest().Entries))+10 {
			t.Errorf("told of %d bytes of %d in %d steps", last, r.Manifest().Size(), steps)
		}
		if len(labels) != 1 || !strings.HasPrefix(labels[0], "layer ") {
			t.Errorf("told of %q", labels)
		}
	}
}

// TestBrokenPull has every connection broken after 400 kB: the download goes on where it was.
func TestBrokenPull(t *testing.T) {
	s, there := newSite(t), newServer(t)
	location := "oci://" + there.host + "/site:1"
	s.push(t, location)
	there.meddle(func(w http.ResponseWriter, r *http.Request) http.ResponseWriter {
		if r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/blobs/") {
			return &breaking{w, 400_000}
		}
		return w
	})
	got, err := s.pull(t, location, Options{})
	if err != nil || !bytes.Equal(got, s.data) {
		t.Errorf("%d bytes of %d, %v", len(got), len(s.data), err)
	}
}

// TestPullFromCache stops a pull in the middle of a layer: the next one fetches what is left of it, the one after that nothing.
func TestPullFromCache(t *testing.T) {
	s, there := newSite(t), newServer(t)
	location := "oci://" + there.host + "/site:1"
	s.push(t, location)
	cache, err := blobcache.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	ctx, kill := context.WithCancel(context.Background())
	r, err := Open(ctx, location, s.trust, Options{Cache: cache})
	if err != nil {
		t.Fatal(err)
	}
	err = bundle.Copy(ctx, r, filepath.Join(t.TempDir(), "x"), bundle.CopyOptions{Progress: func(done, _ int64) {
		if done > 1_000_000 {
			kill()
		}
	}})
	if !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	r.Close()
	for range 2 {
		there.forget()
		if got, err := s.pull(t, location, Options{Cache: cache}); err != nil || !bytes.Equal(got, s.data) {
			t.Errorf("%d bytes of %d, %v", len(got), len(s.data), err)
		}
	}
	if n := there.count("GET", "/blobs/"); n != 0 {
		t.Errorf("%d blobs were fetched that the cache has", n)
	}
}

// TestLyingRegistry serves other bytes than were signed.
func TestLyingRegistry(t *testing.T) {
	s, there := newSite(t), newServer(t)
	location := "oci://" + there.host + "/site:1"
	s.push(t, location)
	layer := s.largest(t)
	there.meddle(func(w http.ResponseWriter, r *http.Request) http.ResponseWriter {
		if strings.HasSuffix(r.URL.Path, layer) {
			return lying{w}
		}
		return w
	})
	if err := s.verify(location, Options{}); !errors.Is(err, bundle.ErrDigest) || !strings.Contains(err.Error(), "push the bundle again") {
		t.Errorf("error %v", err)
	}
}

// largest is the digest of the largest blob.
func (s *site) largest(t *testing.T) string {
	t.Helper()
	r, err := Open(context.Background(), s.path, s.trust, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var largest bundle.Entry
	for _, e := range r.Manifest().Entries {
		if e.Size > largest.Size {
			largest = e
		}
	}
	return largest.Digest()
}

// lying inverts a bit of all that is written.
type lying struct{ http.ResponseWriter }

func (l lying) Write(p []byte) (int, error) {
	p = bytes.Clone(p)
	p[len(p)/2] ^= 1
	return l.ResponseWriter.Write(p)
}
