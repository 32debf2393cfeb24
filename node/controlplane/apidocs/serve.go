package apidocs

import (
	"bytes"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/munnerz/goautoneg"
	"k8s.io/klog/v2"
)

// The forms of a document of version 3. The first is the one for clients that take anything.
var forms = []struct {
	subtype, contentType string
	protobuf             bool
}{
	{"json", "application/json", false},
	{"com.github.proto-openapi.spec.v3.v1.0+protobuf", "application/com.github.proto-openapi.spec.v3.v1.0+protobuf", true},
	// A name that is no valid media type; clients of Kubernetes 1.26 and older have it.
	{"com.github.proto-openapi.spec.v3@v1.0+protobuf", "application/com.github.proto-openapi.spec.v3.v1.0+protobuf", true},
}

// ServeHTTP answers requests for Root and for documents below it, as k8s.io/kube-openapi/pkg/handler3 does.
func (d *Documents) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	groupVersion, one := strings.CutPrefix(r.URL.Path, Root+"/")
	if !one {
		list, err := d.discovery()
		if err != nil {
			fail(w, "list of OpenAPI documents", err)
			return
		}
		w.Header().Set("Etag", strconv.Quote(list.etag))
		w.Header().Set("Content-Type", "application/json")
		http.ServeContent(w, r, Root, list.made, bytes.NewReader(list.data))
		return
	}
	w.Header().Add("Vary", "Accept")
	document := d.find(groupVersion)
	if document == nil {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	accept := r.Header.Get("Accept")
	if accept == "" {
		accept = "*/*"
	}
	for _, clause := range goautoneg.ParseAccept(accept) {
		for _, form := range forms {
			if (clause.Type == "application" || clause.Type == "*") && (clause.SubType == form.subtype || clause.SubType == "*") {
				serveDocument(w, r, groupVersion, document, form.contentType, form.protobuf)
				return
			}
		}
	}
	w.WriteHeader(http.StatusNotAcceptable)
}

// serveDocument answers with one document, or says where it is now if the request has the hash of an older one.
func serveDocument(w http.ResponseWriter, r *http.Request, groupVersion string, d *document, contentType string, protobuf bool) {
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Etag", strconv.Quote(d.etag))
	if hash := r.URL.Query().Get("hash"); hash != "" {
		if hash != d.etag {
			http.Redirect(w, r, address(groupVersion, d.etag), http.StatusMovedPermanently)
			return
		}
		w.Header().Set("Cache-Control", "public, immutable")
		w.Header().Set("Expires", time.Now().AddDate(1, 0, 0).Format(time.RFC1123))
	}
	content, err := d.as(protobuf)
	if err != nil {
		fail(w, "OpenAPI document of "+groupVersion, err)
		return
	}
	http.ServeContent(w, r, "", content.made, bytes.NewReader(content.data))
}

// fail answers a request for what cannot be made. What it is goes to the log.
func fail(w http.ResponseWriter, what string, err error) {
	klog.ErrorS(err, "No OpenAPI", "of", what)
	for _, name := range []string{"Etag", "Cache-Control", "Expires", "Content-Type"} {
		w.Header().Del(name)
	}
	http.Error(w, what+" cannot be made; the server's log says why", http.StatusInternalServerError)
}
