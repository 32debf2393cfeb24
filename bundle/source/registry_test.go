package source

import (
	"context"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// breaking cuts the first few answers to requests for blobs short.
type breaking struct {
	http.Handler
	left atomic.Int32
}

func (b *breaking) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/blobs/") && b.left.Add(-1) >= 0 {
		w = &shortWriter{ResponseWriter: w, left: 50}
	}
	b.Handler.ServeHTTP(w, r)
}

// shortWriter hangs up in the middle of the body.
type shortWriter struct {
	http.ResponseWriter
	left int
}

func (s *shortWriter) Write(p []byte) (int, error) {
	if len(p) > s.left {
		_, _ = s.ResponseWriter.Write(p[:s.left])
		_ = http.NewResponseController(s.ResponseWriter).Flush()
		panic(http.ErrAbortHandler)
	}
	s.left -= len(p)
	return s.ResponseWriter.Write(p)
}

func TestBrokenDownloadIsResumed(t *testing.T) {
	for broken, wantError := range map[int32]bool{0: false, 1: false, retries: false, retries + 1: true} {
		handler := &breaking{Handler: registry.New(registry.Logger(log.New(io.Discard, "", 0)))}
		server := httptest.NewUnstartedServer(handler)
		server.Config.ErrorLog = log.New(io.Discard, "", 0)
		server.Start()
		defer server.Close()
		host := strings.TrimPrefix(server.URL, "http://")
		push(t, host+"/app:1", image(t, "linux/amd64", "the layer"))

		pulls := must(newRegistries(""))(t)
		ref := must(Normalize(host + "/app:1"))(t)
		root, s, err := pulls.root(context.Background(), ref)
		if err != nil {
			t.Fatal(err)
		}
		content := must(expandImage(context.Background(), s, root, []string{"linux/amd64"}))(t)
		layer := content.layers[0]
		handler.left.Store(broken)
		body := must(s.blob(context.Background(), ocispec.Descriptor{Digest: digest.Digest(layer.Digest), Size: layer.Size}))(t)
		data, err := io.ReadAll(body)
		body.Close()
		if (err != nil) != wantError {
			t.Errorf("broken off %d times: %v", broken, err)
		}
		if err == nil && "sha256:"+sum(data) != layer.Digest {
			t.Errorf("broken off %d times: the bytes are others", broken)
		}
	}
}

func TestExplain(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/v2/" {
			http.Error(w, `{"errors":[{"code":"UNAUTHORIZED","message":"who are you"}]}`, http.StatusUnauthorized)
		}
	}))
	defer server.Close()
	host := strings.TrimPrefix(server.URL, "http://")
	_, _, err := gather(t, load(t, t.TempDir(), "  images: ["+host+"/app:1]\n"), options())
	if err == nil || !strings.Contains(err.Error(), "log in with `docker login "+host+"`") {
		t.Errorf("got %v", err)
	}
}
