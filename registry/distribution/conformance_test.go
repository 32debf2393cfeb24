package distribution

import (
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// client asks one server for docker.io/library/… as containerd does.
type client struct {
	*testing.T
	server server
}

// request wants a status of method on /v2/library<path>.
func (c client) request(method, path string, status int, header ...string) *http.Response {
	c.Helper()
	h := http.Header{"Accept": {ocispec.MediaTypeImageIndex, ocispec.MediaTypeImageManifest}}
	for i := 0; i+1 < len(header); i += 2 {
		h.Set(header[i], header[i+1])
	}
	if c.server.ns != "" {
		separator := "?"
		if strings.Contains(path, "?") {
			separator = "&"
		}
		path += separator + "ns=" + c.server.ns
	}
	return call(c.T, method, c.server.url+"/v2/library"+path, nil, h, status)
}

func (c client) wantHeader(response *http.Response, name, want string) {
	c.Helper()
	if got := response.Header.Get(name); got != want {
		c.Errorf("%s is %q, want %q", name, got, want)
	}
}

// requirement is one of the OCI Distribution Specification 1.1.
type requirement struct {
	section, text string
	check         func(c client, i *testImages)
	except        map[string]string // servers that do not meet it, and why
}

var requirements = []requirement{
	{section: "Determining Support", text: "a server that implements the API answers /v2/ with 200", check: func(c client, _ *testImages) {
		call(c.T, http.MethodGet, c.server.url+"/v2/", nil, nil, http.StatusOK)
	}},
	{section: "Pulling manifests", text: "a manifest is found by tag, with its media type and digest", check: func(c client, i *testImages) {
		response := c.request(http.MethodGet, "/app/manifests/1.0", http.StatusOK)
		c.wantHeader(response, "Content-Type", ocispec.MediaTypeImageIndex)
		c.wantHeader(response, "Docker-Content-Digest", i.index.Digest.String())
		if body := bodyOf(c.T, response); digest.FromString(body) != i.index.Digest {
			c.Errorf("other bytes: %s", body)
		}
	}},
	{section: "Pulling manifests", text: "a manifest of an index is found by digest", check: func(c client, i *testImages) {
		response := c.request(http.MethodGet, "/app/manifests/"+i.manifest.Digest.String(), http.StatusOK)
		c.wantHeader(response, "Content-Type", ocispec.MediaTypeImageManifest)
		if body := bodyOf(c.T, response); digest.FromString(body) != i.manifest.Digest {
			c.Errorf("other bytes: %s", body)
		}
	}},
	{section: "Pulling manifests", text: "a tag that is not there is 404", check: func(c client, _ *testImages) {
		wantCode(c, c.request(http.MethodGet, "/app/manifests/9.9", http.StatusNotFound), CodeManifestUnknown)
	}},
	{section: "Pulling manifests", text: "a digest that is not there is 404", check: func(c client, _ *testImages) {
		wantCode(c, c.request(http.MethodGet, "/app/manifests/"+absent, http.StatusNotFound), CodeManifestUnknown)
	}},
	{section: "Pulling manifests", text: "a repository that is not there is 404", check: func(c client, _ *testImages) {
		c.request(http.MethodGet, "/nobody/manifests/1.0", http.StatusNotFound)
	}},
	{section: "Checking if content exists in the registry", text: "HEAD of a manifest has its length and digest and no body", check: func(c client, i *testImages) {
		for _, reference := range []string{"1.0", i.index.Digest.String()} {
			response := c.request(http.MethodHead, "/app/manifests/"+reference, http.StatusOK)
			c.wantHeader(response, "Content-Length", strconv.FormatInt(i.index.Size, 10))
			c.wantHeader(response, "Docker-Content-Digest", i.index.Digest.String())
		}
	}},
	{section: "Checking if content exists in the registry", text: "HEAD of a blob has its length", check: func(c client, i *testImages) {
		response := c.request(http.MethodHead, "/app/blobs/"+i.layer.Digest.String(), http.StatusOK)
		c.wantHeader(response, "Content-Length", strconv.FormatInt(i.layer.Size, 10))
	}},
	{section: "Checking if content exists in the registry", text: "HEAD of what is not there is 404", check: func(c client, _ *testImages) {
		c.request(http.MethodHead, "/app/manifests/9.9", http.StatusNotFound)
		c.request(http.MethodHead, "/app/blobs/"+absent, http.StatusNotFound)
	}},
	{section: "Pulling blobs", text: "a blob is found by digest", check: func(c client, i *testImages) {
		response := c.request(http.MethodGet, "/app/blobs/"+i.layer.Digest.String(), http.StatusOK)
		c.wantHeader(response, "Docker-Content-Digest", i.layer.Digest.String())
		if body := bodyOf(c.T, response); body != string(i.store.Data[i.layer.Digest]) {
			c.Errorf("other bytes: %s", body)
		}
	}},
	{section: "Pulling blobs", text: "a blob that is not there is 404", check: func(c client, _ *testImages) {
		wantCode(c, c.request(http.MethodGet, "/app/blobs/"+absent, http.StatusNotFound), CodeBlobUnknown)
	}},
	{section: "Pulling blobs", text: "ranges are supported (RFC 9110)", check: func(c client, i *testImages) {
		response := c.request(http.MethodGet, "/app/blobs/"+i.layer.Digest.String(), http.StatusPartialContent, "Range", "bytes=13-")
		if body := bodyOf(c.T, response); body != "0123456789" {
			c.Errorf("got %q", body)
		}
		c.wantHeader(response, "Content-Range", "bytes 13-22/23")
	}, except: map[string]string{"go-containerregistry": "knows only ranges with an end"}},
	{section: "Pulling blobs", text: "a range outside of the blob is 416 (RFC 9110)", check: func(c client, i *testImages) {
		c.request(http.MethodGet, "/app/blobs/"+i.layer.Digest.String(), http.StatusRequestedRangeNotSatisfiable, "Range", "bytes=100-")
	}, except: map[string]string{"docker-registry": "version 2.8 breaks the connection off"}},
	{section: "Pulling blobs", text: "what the client has already is not sent again (RFC 9110)", check: func(c client, i *testImages) {
		etag := c.request(http.MethodGet, "/app/blobs/"+i.layer.Digest.String(), http.StatusOK).Header.Get("Etag")
		if etag == "" {
			c.Fatal("a blob has no ETag")
		}
		c.request(http.MethodGet, "/app/blobs/"+i.layer.Digest.String(), http.StatusNotModified, "If-None-Match", etag)
	}, except: map[string]string{"go-containerregistry": "sends no ETag"}},
	{section: "Pulling blobs", text: "a digest that is none is 400 or 404", check: func(c client, _ *testImages) {
		request := c.server.url + "/v2/library/app/blobs/sha256:short?ns=docker.io"
		response, err := http.Get(request)
		if err != nil {
			c.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode != http.StatusBadRequest && response.StatusCode != http.StatusNotFound {
			c.Error(response.Status)
		}
	}},
	{section: "Listing Tags", text: "tags are listed in lexical order", check: func(c client, _ *testImages) {
		wantTags(c, c.request(http.MethodGet, "/app/tags/list", http.StatusOK), "1.0", "1.1", "latest", "sig")
	}, except: map[string]string{"docker-registry": "version 2.8 does not sort"}},
	{section: "Listing Tags", text: "n bounds the list; n=0 is an empty one", check: func(c client, _ *testImages) {
		wantTags(c, c.request(http.MethodGet, "/app/tags/list?n=2", http.StatusOK), "1.0", "1.1")
		wantTags(c, c.request(http.MethodGet, "/app/tags/list?n=0", http.StatusOK))
	}, except: map[string]string{"docker-registry": "version 2.8 ignores n"}},
	{section: "Listing Tags", text: "last is where the list goes on, whether it is there or not", check: func(c client, _ *testImages) {
		wantTags(c, c.request(http.MethodGet, "/app/tags/list?last=1.1&n=10", http.StatusOK), "latest", "sig")
		wantTags(c, c.request(http.MethodGet, "/app/tags/list?last=1.0.5&n=1", http.StatusOK), "1.1")
		wantTags(c, c.request(http.MethodGet, "/app/tags/list?last=zzz&n=10", http.StatusOK))
	}, except: map[string]string{"docker-registry": "version 2.8 ignores last", "go-containerregistry": "lists from a last that is no tag on by another order"}},
	{section: "Listing Tags", text: "a Link header leads through all pages", check: func(c client, _ *testImages) {
		var all []string
		for path := "/app/tags/list?n=3"; path != ""; {
			response := c.request(http.MethodGet, path, http.StatusOK)
			all = append(all, tagsOf(c, response)...)
			link, _, _ := strings.Cut(strings.TrimPrefix(response.Header.Get("Link"), "<"), ">")
			_, path, _ = strings.Cut(link, "/v2/library")
		}
		if !slices.Equal(all, []string{"1.0", "1.1", "latest", "sig"}) {
			c.Errorf("the pages have %v", all)
		}
	}, except: map[string]string{"docker-registry": "version 2.8 has no pages", "go-containerregistry": "sends no Link"}},
	{section: "Listing Tags", text: "tags of a repository that is not there are 404", check: func(c client, _ *testImages) {
		c.request(http.MethodGet, "/nobody/tags/list", http.StatusNotFound)
	}},
	{section: "Listing Referrers", text: "manifests that have a digest as their subject are listed in an index", check: func(c client, i *testImages) {
		list := referrersOf(c, c.request(http.MethodGet, "/app/referrers/"+i.manifest.Digest.String(), http.StatusOK))
		if len(list) != 1 || list[0].Digest != i.signature.Digest || list[0].ArtifactType != "application/vnd.example.signature" || list[0].Size != i.signature.Size {
			c.Errorf("got %+v", list)
		}
	}, except: map[string]string{"docker-registry": noReferrers["docker-registry"], "distribution": noReferrers["distribution"], "go-containerregistry": "takes the type from the configuration alone"}},
	{section: "Listing Referrers", text: "a digest that nothing refers to has an empty list, never 404", check: func(c client, _ *testImages) {
		if list := referrersOf(c, c.request(http.MethodGet, "/app/referrers/"+absent, http.StatusOK)); len(list) != 0 {
			c.Errorf("got %+v", list)
		}
	}, except: noReferrers},
	{section: "Listing Referrers", text: "a filter by artifactType is applied and said to be", check: func(c client, i *testImages) {
		for wanted, count := range map[string]int{"application/vnd.example.signature": 1, "application/vnd.example.other": 0} {
			response := c.request(http.MethodGet, "/app/referrers/"+i.manifest.Digest.String()+"?artifactType="+wanted, http.StatusOK)
			c.wantHeader(response, "OCI-Filters-Applied", "artifactType")
			if list := referrersOf(c, response); len(list) != count {
				c.Errorf("%s: got %+v", wanted, list)
			}
		}
	}, except: map[string]string{"docker-registry": noReferrers["docker-registry"], "distribution": noReferrers["distribution"], "go-containerregistry": "does not filter"}},
	{section: "Listing Referrers", text: "a digest that is none is 400", check: func(c client, _ *testImages) {
		c.request(http.MethodGet, "/app/referrers/none", http.StatusBadRequest)
	}, except: map[string]string{"docker-registry": noReferrers["docker-registry"], "distribution": noReferrers["distribution"], "go-containerregistry": "answers 404"}},
}

var noReferrers = map[string]string{
	"docker-registry": "version 2.8 is older than referrers", "distribution": "version 3 has no referrers API; clients use tags instead",
}

func TestConformance(t *testing.T) {
	i := newTestImages(t)
	for _, s := range servers(t, i) {
		for _, r := range requirements {
			t.Run(s.name+"/"+r.section+": "+r.text, func(t *testing.T) {
				if why := r.except[s.name]; why != "" {
					t.Skip(why)
				}
				r.check(client{t, s}, i)
			})
		}
	}
}

// wantCode wants the specification's JSON with one error code.
func wantCode(c client, response *http.Response, code string) {
	c.Helper()
	var body errorBody
	text := bodyOf(c.T, response)
	if err := json.Unmarshal([]byte(text), &body); err != nil || len(body.Errors) != 1 || body.Errors[0].Code != code || body.Errors[0].Message == "" {
		c.Errorf("%s: %v; want the code %s", text, err, code)
	}
}

func tagsOf(c client, response *http.Response) []string {
	c.Helper()
	var list tagList
	text := bodyOf(c.T, response)
	if err := json.Unmarshal([]byte(text), &list); err != nil || list.Name != "library/app" {
		c.Fatalf("%s: %v; want tags of library/app", text, err)
	}
	return list.Tags
}

func wantTags(c client, response *http.Response, want ...string) {
	c.Helper()
	if got := tagsOf(c, response); !slices.Equal(got, want) {
		c.Errorf("got %v, want %v", got, want)
	}
}

func referrersOf(c client, response *http.Response) []ocispec.Descriptor {
	c.Helper()
	c.wantHeader(response, "Content-Type", ocispec.MediaTypeImageIndex)
	var index ocispec.Index
	text := bodyOf(c.T, response)
	if err := json.Unmarshal([]byte(text), &index); err != nil || index.SchemaVersion != 2 || index.MediaType != ocispec.MediaTypeImageIndex || index.Manifests == nil {
		c.Fatalf("%s: %v; want an index", text, err)
	}
	return index.Manifests
}
