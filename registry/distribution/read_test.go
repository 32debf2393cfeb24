package distribution

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"airgap/registry/internal/fixture"
)

// benchmarkBytes is the size of the blob that BenchmarkRead reads.
const benchmarkBytes = 128 << 20

func TestBlobsAreReadFromTheirFolder(t *testing.T) {
	store := fixture.New(t)
	image := store.Image("a layer")
	store.Name("docker.io/library/app:1", image, nil)
	layer := store.Absent("", []byte("a layer")).Digest
	folder := t.TempDir()
	server := httptest.NewServer(Handler{Content: Content{Images: store.Images, Blobs: store.Blobs, Folder: folder}})
	defer server.Close()
	read := func(header http.Header, status int) string {
		t.Helper()
		return bodyOf(t, call(t, http.MethodGet, server.URL+"/v2/library/app/blobs/"+layer.String()+"?ns=docker.io", nil, header, status))
	}
	if got := read(nil, http.StatusOK); got != "a layer" {
		t.Errorf("without a file in the folder the answer is %q", got)
	}
	if err := os.WriteFile(filepath.Join(folder, layer.Encoded()), []byte("A LAYER"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := read(http.Header{"Range": {"bytes=2-"}}, http.StatusPartialContent); got != "LAYER" {
		t.Errorf("with a file in the folder the answer is %q", got)
	}
	if err := os.WriteFile(filepath.Join(folder, image.Digest.Encoded()), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	absent := store.Absent("", []byte("no image has this")).Digest
	if err := os.WriteFile(filepath.Join(folder, absent.Encoded()), []byte("no image has this"), 0o600); err != nil {
		t.Fatal(err)
	}
	call(t, http.MethodGet, server.URL+"/v2/library/app/blobs/"+absent.String()+"?ns=docker.io", nil, nil, http.StatusNotFound)
}

// BenchmarkRead reads one blob of 134 MB over loopback, in pairs: from this package, and from [http.FileServer] with the same TLS, or
// none, on both sides.
func BenchmarkRead(b *testing.B) {
	store := fixture.New(b)
	data := bytes.Repeat([]byte("0123456789abcdef"), benchmarkBytes/16)
	image := store.Image(string(data))
	store.Name("docker.io/library/app:1", image, nil)
	layer := store.Absent(ocispec.MediaTypeImageLayer, data).Digest
	folder := b.TempDir()
	if err := os.WriteFile(filepath.Join(folder, layer.Encoded()), data, 0o600); err != nil {
		b.Fatal(err)
	}
	registry := Handler{Content: Content{Images: store.Images, Blobs: store.Blobs, Folder: folder}}
	files := http.FileServer(http.Dir(folder))
	for _, transport := range []struct {
		name  string
		start func(http.Handler) *httptest.Server
	}{{"plain", httptest.NewServer}, {"TLS", httptest.NewTLSServer}} {
		b.Run(transport.name, func(b *testing.B) {
			ours, theirs := transport.start(registry), transport.start(files)
			defer ours.Close()
			defer theirs.Close()
			var seconds [2]float64
			for run := 0; b.Loop(); run++ {
				read := [2]func(){
					func() { seconds[0] = timeRead(b, ours, "/v2/library/app/blobs/"+layer.String()+"?ns=docker.io") },
					func() { seconds[1] = timeRead(b, theirs, "/"+layer.Encoded()) },
				}
				read[run%2]()
				read[1-run%2]()
				b.Logf("%s: registry %.4f s, http.FileServer %.4f s, %d bytes", transport.name, seconds[0], seconds[1], len(data))
			}
		})
	}
}

// timeRead reads a body to its end and returns the seconds that took.
func timeRead(b *testing.B, server *httptest.Server, path string) float64 {
	began := time.Now()
	response, err := server.Client().Get(server.URL + path)
	if err != nil {
		b.Fatal(err)
	}
	defer response.Body.Close()
	n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{response.Body}, make([]byte, 256<<10))
	if err != nil || n != benchmarkBytes {
		b.Fatalf("%d bytes, %v", n, err)
	}
	return time.Since(began).Seconds()
}
