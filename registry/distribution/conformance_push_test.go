package distribution

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// pusher pushes to one repository of one server.
type pusher struct {
	*testing.T
	server     server
	repository string // of this test alone
}

// url is a path of the API, or a location that the server gave.
func (p pusher) url(path string) string {
	switch {
	case strings.HasPrefix(path, "http"):
		return path
	case strings.HasPrefix(path, "/v2/"):
		return p.server.url + path
	}
	return p.server.url + "/v2/" + p.repository + path
}

func (p pusher) call(method, path string, body []byte, status int, header ...string) *http.Response {
	p.Helper()
	return call(p.T, method, p.url(path), body, headerOf(header), status)
}

// headerOf makes a header of names and values.
func headerOf(pairs []string) http.Header {
	h := http.Header{}
	for i := 0; i+1 < len(pairs); i += 2 {
		h.Set(pairs[i], pairs[i+1])
	}
	return h
}

// begin begins an upload and returns where it goes on.
func (p pusher) begin() string {
	p.Helper()
	location := p.call(http.MethodPost, "/blobs/uploads/", nil, http.StatusAccepted).Header.Get("Location")
	if location == "" {
		p.Fatal("an upload has no Location")
	}
	return location
}

func (p pusher) chunk(location string, first int, data []byte, status int) *http.Response {
	p.Helper()
	return p.call(http.MethodPatch, location, data, status, "Content-Range", fmt.Sprintf("%d-%d", first, first+len(data)-1), "Content-Type", "application/octet-stream")
}

// withDigest is a location with the digest that ends an upload.
func withDigest(location string, d digest.Digest) string {
	separator := "?"
	if strings.Contains(location, "?") {
		separator = "&"
	}
	return location + separator + "digest=" + url.QueryEscape(d.String())
}

func (p pusher) wantBlob(data []byte, location string) {
	p.Helper()
	if got := bodyOf(p.T, p.call(http.MethodGet, location, nil, http.StatusOK)); got != string(data) {
		p.Errorf("%s has other bytes", location)
	}
	p.call(http.MethodHead, "/blobs/"+digest.FromBytes(data).String(), nil, http.StatusOK)
}

func (p pusher) blob(data []byte) ocispec.Descriptor {
	p.Helper()
	d := digest.FromBytes(data)
	p.call(http.MethodPut, withDigest(p.begin(), d), data, http.StatusCreated, "Content-Type", "application/octet-stream")
	return ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayer, Digest: d, Size: int64(len(data))}
}

// manifest makes a manifest whose blobs have been pushed.
func (p pusher) manifest(seed string, change func(*ocispec.Manifest)) []byte {
	p.Helper()
	m := ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest}
	m.Config = p.blob([]byte(`{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]},"author":"` + seed + `"}`))
	m.Config.MediaType = ocispec.MediaTypeImageConfig
	m.Layers = []ocispec.Descriptor{p.blob([]byte("layer " + seed))}
	if change != nil {
		change(&m)
	}
	data, err := json.Marshal(m)
	if err != nil {
		p.Fatal(err)
	}
	return data
}

func (p pusher) put(reference string, data []byte, status int) *http.Response {
	p.Helper()
	return p.call(http.MethodPut, "/manifests/"+reference, data, status, "Content-Type", ocispec.MediaTypeImageManifest)
}

// wantError wants one of several statuses, and an error in the specification's format with one of the codes.
func (p pusher) wantError(response *http.Response, statuses []int, codes ...string) {
	p.Helper()
	var body errorBody
	text := bodyOf(p.T, response)
	if !slices.Contains(statuses, response.StatusCode) {
		p.Errorf("%s, want one of %v\n%s", response.Status, statuses, text)
	}
	if err := json.Unmarshal([]byte(text), &body); err != nil || len(body.Errors) == 0 || !slices.Contains(codes, body.Errors[0].Code) {
		p.Errorf("%s: %v; want one of the codes %v", text, err, codes)
	}
}

// any is call for any status.
func (p pusher) any(method, path string, body []byte, header ...string) *http.Response {
	p.Helper()
	return exchange(p.T, method, p.url(path), body, headerOf(header))
}

// pushRequirement is one of the specification 1.1's for push and content management.
type pushRequirement struct {
	section, text string
	check         func(p pusher)
	except        map[string]string // servers that do not meet it, and why
}

func TestPushConformance(t *testing.T) {
	site, _ := startSite(t)
	list := []server{{name: "airgap", url: site}, {name: "distribution", url: startDistribution(t)}}
	for _, s := range list {
		for i, r := range slices.Concat(uploadRequirements, manifestRequirements, managementRequirements) {
			t.Run(s.name+"/"+r.section+": "+r.text, func(t *testing.T) {
				if why := r.except[s.name]; why != "" {
					t.Skip(why)
				}
				r.check(pusher{t, s, fmt.Sprintf("conformance/r%d", i)})
			})
		}
	}
}
