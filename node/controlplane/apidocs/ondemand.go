package apidocs

import (
	"context"
	"net/http"
	"strconv"

	"k8s.io/kube-openapi/pkg/validation/spec"
)

// OnDemand answers requests for the OpenAPI document of version 2 of one server, in JSON, by building it. It is for the aggregator,
// which merges those of all servers, serves that, and keeps what it has got until the entity tag changes.
type OnDemand struct {
	Revision func() string // changes with the document
	Build    func(context.Context) (*spec.Swagger, error)
}

// ServeHTTP implements http.Handler.
func (d OnDemand) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	etag := strconv.Quote(d.Revision())
	if r.Header.Get("If-None-Match") == etag {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	document, err := d.Build(r.Context())
	if err != nil {
		fail(w, "OpenAPI document of version 2", err)
		return
	}
	data, err := document.MarshalJSON()
	if err != nil {
		fail(w, "OpenAPI document of version 2", err)
		return
	}
	w.Header().Set("Etag", etag)
	w.Header().Set("Content-Type", "application/json")
	w.Write(data)
}
