package peer

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"airgap/internal/site"
)

// folder is content in a folder of files named by the hex of their digests.
type folder string

func (f folder) List() ([]site.Bundle, error) {
	return []site.Bundle{{Name: "site-a", Version: "1.0.0", Digest: digestOf([]byte("{}")), Files: []string{"airgap.json"}}}, nil
}

func (f folder) File(bundleDigest, name string) (*os.File, error) {
	if name != "airgap.json" {
		return nil, fs.ErrNotExist
	}
	return f.Blob(bundleDigest)
}

func (f folder) Blob(digest string) (*os.File, error) {
	k, err := parseKey(digest)
	if err != nil {
		return nil, fs.ErrNotExist
	}
	return os.Open(filepath.Join(string(f), hex.EncodeToString(k[:])))
}

// put stores bytes and returns their digest.
func (f folder) put(t testing.TB, data []byte) string {
	t.Helper()
	digest := digestOf(data)
	if err := os.WriteFile(filepath.Join(string(f), strings.TrimPrefix(digest, digestPrefix)), data, 0o600); err != nil {
		t.Fatal(err)
	}
	return digest
}

func digestOf(data []byte) string {
	return key(sha256.Sum256(data)).String()
}

// get makes one request and wants its status.
func get(t *testing.T, client *http.Client, method, url string, status int, header ...string) (string, http.Header) {
	t.Helper()
	request, err := http.NewRequest(method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		request.Header.Set(header[i], header[i+1])
	}
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	if response.StatusCode != status {
		t.Fatalf("%s %s: %s, want %d: %s", method, url, response.Status, status, body)
	}
	return string(body), response.Header
}

func TestHandlerGivesBundlesAndBlobs(t *testing.T) {
	content := folder(t.TempDir())
	large := bytes.Repeat([]byte("0123456789abcdef"), 3<<16) // 3 MiB
	manifest, blob := content.put(t, []byte("{}")), content.put(t, large)
	images := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "images: ", r.URL.Path) })
	for name, start := range map[string]func(http.Handler) *httptest.Server{"plain": httptest.NewServer, "TLS": httptest.NewTLSServer} {
		t.Run(name, func(t *testing.T) {
			handler := NewHandler(content, images)
			handler.lets = func(*http.Request) bool { return true }
			server := start(handler)
			defer server.Close()
			ask := func(method, path string, status int, header ...string) (string, http.Header) {
				t.Helper()
				return get(t, server.Client(), method, server.URL+path, status, header...)
			}
			var list site.BundleList
			body, _ := ask("GET", site.PathBundles, 200)
			if err := json.Unmarshal([]byte(body), &list); err != nil || len(list.Bundles) != 1 || list.Bundles[0].Name != "site-a" {
				t.Errorf("the list is %s, %v", body, err)
			}
			if body, _ := ask("GET", site.PathBundles+"/"+manifest+"/airgap.json", 200); body != "{}" {
				t.Errorf("the manifest is %q", body)
			}
			ask("GET", site.PathBundles+"/"+manifest+"/airgap.json.sig", 404)
			if body, _ := ask("GET", site.PathBlobs+blob, 200); body != string(large) {
				t.Errorf("other bytes, %d of them", len(body))
			}
			body, header := ask("GET", site.PathBlobs+blob, 206, "Range", "bytes=1048570-")
			if body != string(large[1048570:]) || header.Get("Content-Range") != fmt.Sprintf("bytes 1048570-%d/%d", len(large)-1, len(large)) {
				t.Errorf("a range has %d other bytes, %q", len(body), header.Get("Content-Range"))
			}
			if _, header := ask("HEAD", site.PathBlobs+blob, 200); header.Get("Content-Length") != fmt.Sprint(len(large)) {
				t.Errorf("HEAD: %v", header)
			}
			ask("GET", site.PathBlobs+blob, 416, "Range", "bytes=9999999-")
			ask("GET", site.PathBlobs+digestOf([]byte("absent")), 404)
			ask("GET", site.PathBlobs+"../../etc/passwd", 404)
			ask("POST", site.PathBlobs+blob, 405)
			ask("GET", "/metrics", 404)
			if body, _ := ask("GET", "/v2/app/manifests/1", 200); body != "images: /v2/app/manifests/1" {
				t.Errorf("the distribution API answers %q", body)
			}
		})
	}
}

func TestHandlerRefusesMoreUploadsThanItHasPlacesFor(t *testing.T) {
	content := folder(t.TempDir())
	large, small := content.put(t, make([]byte, largeBytes)), content.put(t, []byte("small"))
	handler := NewHandler(content, nil)
	handler.lets = func(*http.Request) bool { return true }
	server := httptest.NewServer(handler)
	defer server.Close()
	for host := range maxUploads/maxUploadsPerClient + 1 {
		for range maxUploadsPerClient + 1 {
			r := httptest.NewRequest("GET", "/", nil)
			r.RemoteAddr = fmt.Sprintf("10.0.0.%d:1", host)
			handler.begin(httptest.NewRecorder(), r)
			if n := handler.clients[fmt.Sprintf("10.0.0.%d", host)]; n > maxUploadsPerClient {
				t.Fatalf("one client has %d places", n)
			}
		}
	}
	body, header := get(t, server.Client(), "GET", server.URL+site.PathBlobs+large, 503)
	var refusal site.Error
	if json.Unmarshal([]byte(body), &refusal) != nil || refusal.Code != site.CodeBusy || header.Get("Retry-After") == "" {
		t.Errorf("a busy machine answers %s %v", body, header)
	}
	get(t, server.Client(), "GET", server.URL+site.PathBlobs+small, 200)
	get(t, server.Client(), "HEAD", server.URL+site.PathBlobs+large, 200)
	get(t, server.Client(), "GET", server.URL+"/v2/", 404)
	first := httptest.NewRequest("GET", "/", nil)
	first.RemoteAddr = "10.0.0.0:1"
	handler.end(first)
	get(t, server.Client(), "GET", server.URL+site.PathBlobs+large, 200)
	for wait := 0; ; wait++ { // the handler returns after its client has everything
		handler.mu.Lock()
		uploads, clients := handler.uploads, len(handler.clients)
		handler.mu.Unlock()
		if uploads == maxUploads-1 && clients == maxUploads/maxUploadsPerClient+1 {
			break
		}
		if wait == 100 {
			t.Fatalf("%d places of %d clients are taken after an upload", uploads, clients)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func TestOnlyNodesAreLetIn(t *testing.T) {
	s := newTestSite(t, []int64{100})
	path := "https://" + s.seeder + site.PathBlobs + s.blobs[0].Digest
	for organization, status := range map[string]int{site.NodesGroup: 200, "system:masters": 403} {
		get(t, &http.Client{Transport: &http.Transport{TLSClientConfig: s.clientTLS(organization)}}, "GET", path, status)
	}
	nobody, err := site.TLSConfig(s.ca.PEM, nil)
	if err != nil {
		t.Fatal(err)
	}
	get(t, &http.Client{Transport: &http.Transport{TLSClientConfig: nobody}}, "GET", path, 403)
	stranger := newTestSite(t, nil).clientTLS(site.NodesGroup)
	stranger.RootCAs = nobody.RootCAs
	if _, err := (&http.Client{Transport: &http.Transport{TLSClientConfig: stranger}}).Get(path); err == nil {
		t.Error("a node of another cluster was let in")
	}
}
