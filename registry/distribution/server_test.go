package distribution

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/distribution/distribution/v3/configuration"
	"github.com/distribution/distribution/v3/registry/handlers"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/inmemory"
	ggcr "github.com/google/go-containerregistry/pkg/registry"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"airgap/registry/internal/fixture"
)

// images are what every server of the conformance test holds as docker.io/library/app and library/other.
type testImages struct {
	store           *fixture.Store
	index, manifest ocispec.Descriptor // app:1.0, app:latest; its only manifest
	second          ocispec.Descriptor // app:1.1
	signature       ocispec.Descriptor // app:sig, whose subject is manifest
	layer           ocispec.Descriptor // of manifest
	foreign         ocispec.Descriptor // a layer of other:1 alone
}

func newTestImages(t *testing.T) *testImages {
	s := fixture.New(t)
	i := &testImages{store: s}
	i.manifest = s.Image("first layer, 0123456789", "second layer")
	i.layer = s.Absent(ocispec.MediaTypeImageLayer, []byte("first layer, 0123456789"))
	i.index = s.JSON(ocispec.MediaTypeImageIndex, ocispec.Index{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex, Manifests: []ocispec.Descriptor{i.manifest},
	})
	i.second = s.Image("third layer")
	i.foreign = s.Absent(ocispec.MediaTypeImageLayer, []byte("a layer of another image"))
	empty := s.Blob(ocispec.MediaTypeEmptyJSON, []byte("{}"))
	i.signature = s.JSON(ocispec.MediaTypeImageManifest, ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest,
		ArtifactType: "application/vnd.example.signature", Config: empty, Layers: []ocispec.Descriptor{empty}, Subject: &i.manifest,
	})
	for tag, target := range map[string]ocispec.Descriptor{"1.0": i.index, "latest": i.index, "1.1": i.second, "sig": i.signature} {
		s.Name("docker.io/library/app:"+tag, target, nil)
	}
	s.Name("docker.io/library/app@"+i.index.Digest.String(), i.index, nil)
	s.Name("docker.io/library/other:1", s.Image("a layer of another image"), nil)
	return i
}

// server is one implementation of the API, with the test's images in it.
type server struct {
	name string
	url  string
	ns   string // which registry is asked for; empty: the server's own
}

// servers are this package, twice, and three implementations that it did not learn from: the tests must hold for those too,
// or it is the tests that are wrong.
func servers(t *testing.T, i *testImages) []server {
	own := httptest.NewServer(Handler{Content{Images: i.store.Images, Blobs: i.store.Blobs}})
	t.Cleanup(own.Close)
	google := httptest.NewServer(ggcr.New(ggcr.WithReferrersSupport(true), ggcr.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(google.Close)
	pushed, _ := startSite(t)
	list := []server{{"airgap", own.URL, "docker.io"}, {"airgap-pushed", pushed, ""}, {"go-containerregistry", google.URL, ""}, {"distribution", startDistribution(t), ""}}
	if url := startDebian(t); url != "" {
		list = append(list, server{"docker-registry", url, ""})
	}
	for _, s := range list[1:] {
		i.push(t, s.url)
	}
	return list
}

// everybody may do everything.
type everybody struct{}

func (everybody) Authorize(_ *http.Request, verb Verb, _ string) error {
	if verb == Replicate {
		return newError(http.StatusForbidden, CodeDenied, "not a node")
	}
	return nil
}

// startSite serves what is pushed to it, from stores of containerd.
func startSite(t *testing.T) (url string, site *Site) {
	store := fixture.New(t)
	site = NewSite(SiteOptions{Images: store.Images, Blobs: store.Blobs, Leases: store.Leases})
	s := httptest.NewServer(&Registry{Node: Handler{Content{Images: store.Images, Blobs: store.Blobs}}, Site: site, Port: 6446, Authorizer: everybody{}})
	t.Cleanup(s.Close)
	return s.URL, site
}

// startDistribution runs the CNCF's registry in this process.
func startDistribution(t *testing.T) (url string) {
	config := &configuration.Configuration{Storage: configuration.Storage{
		"inmemory": nil, "delete": {"enabled": true}, "maintenance": {"uploadpurging": map[any]any{"enabled": false}},
	}}
	config.Log.Level = "error"
	config.Catalog.MaxEntries = 100
	s := httptest.NewServer(handlers.NewApp(t.Context(), config))
	t.Cleanup(s.Close)
	return s.URL
}

// startDebian runs the registry of Debian's package, if it is installed.
func startDebian(t *testing.T) string {
	program, err := exec.LookPath("docker-registry")
	if err != nil {
		t.Log("docker-registry is not installed: the requirements are not tried on it")
		return ""
	}
	folder := t.TempDir()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	listener.Close()
	config := filepath.Join(folder, "config.yml")
	text := fmt.Sprintf("version: 0.1\nstorage: {filesystem: {rootdirectory: %s/data}}\nhttp: {addr: %q}\nlog: {level: error}\n", folder, address)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "serve", config)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	url := "http://" + address
	for range 100 {
		if response, err := http.Get(url + "/v2/"); err == nil {
			response.Body.Close()
			return url
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatal("docker-registry does not answer")
	return ""
}

// push uploads everything that the images need.
func (i *testImages) push(t *testing.T, url string) {
	t.Helper()
	for _, repository := range []string{"library/app", "library/other"} {
		for d, data := range i.store.Data {
			if (d == i.foreign.Digest) != (repository == "library/other") && !bytes.HasPrefix(data, []byte("{")) {
				continue
			}
			location := call(t, http.MethodPost, url+"/v2/"+repository+"/blobs/uploads/", nil, nil, http.StatusAccepted).Header.Get("Location")
			if strings.HasPrefix(location, "/") {
				location = url + location
			}
			separator := "?"
			if strings.Contains(location, "?") {
				separator = "&"
			}
			call(t, http.MethodPut, location+separator+"digest="+d.String(), data, nil, http.StatusCreated)
		}
	}
	put := func(reference string, desc ocispec.Descriptor) {
		call(t, http.MethodPut, url+"/v2/library/app/manifests/"+reference, i.store.Data[desc.Digest],
			http.Header{"Content-Type": {desc.MediaType}}, http.StatusCreated)
	}
	put(i.manifest.Digest.String(), i.manifest)
	put("1.0", i.index)
	put("latest", i.index)
	put("1.1", i.second)
	put("sig", i.signature)
}

// call makes a request and wants its status. The body has been read into the answer's Body.
func call(t *testing.T, method, url string, body []byte, header http.Header, status int) *http.Response {
	t.Helper()
	response := exchange(t, method, url, body, header)
	if response.StatusCode != status {
		t.Fatalf("%s %s: %s, want %d\n%s", method, url, response.Status, status, bodyOf(t, response))
	}
	return response
}

// exchange is call for any status.
func exchange(t *testing.T, method, url string, body []byte, header http.Header) *http.Response {
	t.Helper()
	request, err := http.NewRequest(method, url, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for name, values := range header {
		request.Header[name] = values
	}
	if user := request.URL.User; user != nil {
		password, _ := user.Password()
		request.SetBasicAuth(user.Username(), password)
	}
	response, err := http.DefaultTransport.RoundTrip(request)
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(response.Body)
	response.Body.Close()
	if err != nil {
		t.Fatal(err)
	}
	response.Body = io.NopCloser(bytes.NewReader(data))
	return response
}

func bodyOf(t *testing.T, response *http.Response) string {
	t.Helper()
	data, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

var absent = digest.FromString("what nobody has").String()

// copyBlob copies a blob between two stores' content of the site.
func copyBlob(ctx context.Context, from, to *fixture.Store, desc ocispec.Descriptor) error {
	data, err := content.ReadBlob(ctx, from.Blobs, desc)
	if err != nil {
		return err
	}
	return content.WriteBlob(ctx, to.Blobs, desc.Digest.String(), bytes.NewReader(data), desc)
}
