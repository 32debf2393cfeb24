package apidocs

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"k8s.io/kube-openapi/pkg/handler3"
	"k8s.io/kube-openapi/pkg/spec3"
	"k8s.io/kube-openapi/pkg/validation/spec"
)

// upstreams serves documents as upstream does.
func upstreams(documents map[string]*spec3.OpenAPI) (*handler3.OpenAPIService, http.Handler) {
	service, mux := handler3.NewOpenAPIService(), http.NewServeMux()
	for groupVersion, document := range documents {
		service.UpdateGroupVersion(groupVersion, document)
	}
	mux.HandleFunc(Root, service.HandleDiscovery)
	mux.HandleFunc(Root+"/", service.HandleGroupVersion)
	return service, mux
}

func titled(title string) *spec3.OpenAPI {
	return &spec3.OpenAPI{
		Version: "3.0.0", Info: &spec.Info{InfoProps: spec.InfoProps{Title: title, Version: "v1"}},
		Paths: &spec3.Paths{Paths: map[string]*spec3.Path{"/" + title + "/": {}}},
	}
}

// ask returns an answer without what depends on the time.
func ask(h http.Handler, path string, header http.Header) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodGet, path, nil)
	r.Header = header
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	w.Header().Del("Last-Modified")
	w.Header().Del("Expires")
	return w
}

// sameAnswer asks both and compares all that a client sees. It returns the answer.
func sameAnswer(t *testing.T, want, got http.Handler, path string, header http.Header) *httptest.ResponseRecorder {
	t.Helper()
	w, g := ask(want, path, header), ask(got, path, header)
	if w.Code != g.Code {
		t.Errorf("%s %v: status %d, want %d", path, header, g.Code, w.Code)
	}
	if w.Body.String() != g.Body.String() {
		t.Errorf("%s %v: %d bytes, want %d that are the same", path, header, g.Body.Len(), w.Body.Len())
	}
	for _, name := range []string{"Content-Type", "Etag", "Vary", "Cache-Control", "Location", "Content-Length", "Content-Range", "Accept-Ranges"} {
		if want, got := slices.Compact(w.Header().Values(name)), g.Header().Values(name); !slices.Equal(want, got) {
			t.Errorf("%s %v: %s is %q, want %q", path, header, name, got, want)
		}
	}
	return g
}

func TestDocumentsAnswerAsUpstreamDoes(t *testing.T) {
	service, upstream := upstreams(map[string]*spec3.OpenAPI{"apis/apps/v1": titled("apps"), "api/v1": titled("core")})
	var d Documents
	if err := d.Take(upstream); err != nil {
		t.Fatal(err)
	}
	sameAnswer(t, upstream, &d, Root, nil)
	etag := sameAnswer(t, upstream, &d, Root+"/apis/apps/v1", nil).Header().Get("Etag")
	hash := strings.Trim(etag, `"`)
	for _, test := range []struct {
		path   string
		header http.Header
		status int
	}{
		{"/api/v1", http.Header{"Accept": {"application/json"}}, 200},
		{"/api/v1", http.Header{"Accept": {"*/*"}}, 200},
		{"/api/v1", http.Header{"Accept": {"application/*"}}, 200},
		{"/api/v1", http.Header{"Accept": {"application/com.github.proto-openapi.spec.v3.v1.0+protobuf"}}, 200},
		{"/api/v1", http.Header{"Accept": {"application/com.github.proto-openapi.spec.v3.v1.0+protobuf"}}, 200}, // the second time
		{"/api/v1", http.Header{"Accept": {"application/com.github.proto-openapi.spec.v3@v1.0+protobuf"}}, 200},
		{"/api/v1", http.Header{"Accept": {"text/html;q=1, application/json;q=0.5"}}, 200},
		{"/api/v1", http.Header{"Accept": {"application/com.github.proto-openapi.spec.v3.v1.0+protobuf;q=0.2, application/json;q=0.1"}}, 200},
		{"/api/v1", http.Header{"Accept": {"text/html"}}, 406},
		{"/apis/apps/v1?hash=" + hash, nil, 200},
		{"/apis/apps/v1?hash=ABC", nil, 301},
		{"/apis/apps/v1", http.Header{"If-None-Match": {etag}}, 304},
		{"/apis/apps/v1?hash=" + hash, http.Header{"If-None-Match": {etag}}, 304},
		{"/apis/apps/v1", http.Header{"If-None-Match": {`"other"`}}, 200},
		{"/apis/apps/v1", http.Header{"Range": {"bytes=3-9"}}, 206},
	} {
		if got := sameAnswer(t, upstream, &d, Root+test.path, test.header); got.Code != test.status {
			t.Errorf("%s %v: %d, the test wants %d", test.path, test.header, got.Code, test.status)
		}
	}

	before := ask(&d, Root, nil).Header().Get("Etag")
	service.UpdateGroupVersion("apis/apps/v1", titled("other"))
	service.DeleteGroupVersion("api/v1")
	if err := d.Take(upstream); err != nil {
		t.Fatal(err)
	}
	d.Delete("api/v1")
	sameAnswer(t, upstream, &d, Root+"/apis/apps/v1", nil)
	if after := sameAnswer(t, upstream, &d, Root, nil).Header().Get("Etag"); after == before {
		t.Error("the list of the documents has the entity tag of the list before")
	}
	if got := ask(&d, Root+"/api/v1", nil); got.Code != http.StatusNotFound {
		t.Errorf("a document that is gone: %d", got.Code)
	}
}

func TestDocumentsRestSmall(t *testing.T) {
	var d Documents
	json := strings.Repeat(`{"description": "what every document says many times"}`, 1000)
	d.Set("api/v1", []byte(json))
	if got := len(d.find("api/v1").json); got > len(json)/10 {
		t.Errorf("%d bytes rest as %d", len(json), got)
	}
	resting := d.find("api/v1")
	d.Set("api/v1", []byte(json))
	if d.find("api/v1") != resting {
		t.Error("the same document was packed again")
	}
}

func TestTakeSaysWhatIsMissing(t *testing.T) {
	broken := http.NewServeMux()
	broken.HandleFunc(Root, func(w http.ResponseWriter, _ *http.Request) {
		w.Write([]byte(`{"paths": {"api/v1": {"serverRelativeURL": "/openapi/v3/api/v1?hash=A"}}}`))
	})
	err := new(Documents).Take(broken)
	if err == nil || !strings.Contains(err.Error(), "OpenAPI document of api/v1") {
		t.Errorf("error %v does not name the document", err)
	}
}
