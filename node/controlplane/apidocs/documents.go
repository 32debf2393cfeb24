// Package apidocs serves the OpenAPI documents of an API server without holding them in memory: nobody asks for them while
// a cluster is at rest.
//
// Upstream keeps each document several times over: as the tree it was built from, as that tree's JSON, and once somebody has
// asked, as protobuf. Here a document of version 3 is its compressed JSON, a tenth of the size of that alone, and the one of
// version 2 is built whenever somebody asks. Answers are the same to the byte, with the same entity tags, and so are the hashes in
// the list of documents, by which clients cache them.
//
//	Documents   version 3: the documents of one server by group and version
//	Kinds       those of custom kinds: follows their definitions and has Documents serve them
//	OnDemand    version 2
package apidocs

import (
	"bytes"
	"compress/gzip"
	"crypto/sha512"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path"
	"sync"
	"time"

	"k8s.io/apiserver/pkg/util/responsewriter"
	"k8s.io/kube-openapi/pkg/handler3"
)

// Root is the path of the list of documents of version 3. Each document is below it.
const Root = "/openapi/v3"

// Documents are the documents of version 3 of one server, by the path of their group and version, as in "apis/apps/v1". It
// is an http.Handler for Root and all below it. The zero value has none.
type Documents struct {
	mutex  sync.Mutex
	byPath map[string]*document
	list   *text // nil: to be made
}

// text is what a request is answered with.
type text struct {
	etag string // of the JSON, for protobuf too: what they have in common is the document
	made time.Time
	data []byte
}

// document is one that rests.
type document struct {
	etag string
	made time.Time
	json packed

	mutex    sync.Mutex
	protobuf packed // made when somebody asks
}

// packed is gzip.
type packed []byte

func pack(data []byte) packed {
	var b bytes.Buffer
	// It neither fails into memory nor with this level.
	w, _ := gzip.NewWriterLevel(&b, gzip.BestSpeed)
	w.Write(data)
	w.Close()
	return bytes.Clone(b.Bytes())
}

func (p packed) unpack() ([]byte, error) {
	r, err := gzip.NewReader(bytes.NewReader(p))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(r)
}

// etagOf returns the entity tag of a document or of the list: SHA-512 in capital hexadecimal digits.
func etagOf(data []byte) string {
	return fmt.Sprintf("%X", sha512.Sum512(data))
}

// Set adds the document of a group and version, or replaces it.
func (d *Documents) Set(groupVersion string, data []byte) {
	etag := etagOf(data)
	d.mutex.Lock()
	defer d.mutex.Unlock()
	if old := d.byPath[groupVersion]; old != nil && old.etag == etag {
		return
	}
	if d.byPath == nil {
		d.byPath = map[string]*document{}
	}
	d.byPath[groupVersion] = &document{etag: etag, made: time.Now(), json: pack(data)}
	d.list = nil
}

// Delete takes the document of a group and version away.
func (d *Documents) Delete(groupVersion string) {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	delete(d.byPath, groupVersion)
	d.list = nil
}

// Take adds all documents that another handler of Root has.
func (d *Documents) Take(from http.Handler) error {
	var list handler3.OpenAPIV3Discovery
	data, err := get(from, Root)
	if err == nil {
		err = json.Unmarshal(data, &list)
	}
	if err != nil {
		return fmt.Errorf("list of OpenAPI documents: %w", err)
	}
	for groupVersion := range list.Paths {
		data, err := get(from, Root+"/"+groupVersion)
		if err != nil {
			return fmt.Errorf("OpenAPI document of %s: %w", groupVersion, err)
		}
		d.Set(groupVersion, data)
	}
	return nil
}

// get asks a handler for JSON.
func get(from http.Handler, path string) ([]byte, error) {
	request, err := http.NewRequest(http.MethodGet, path, nil)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Accept", "application/json")
	w := responsewriter.NewInMemoryResponseWriter()
	from.ServeHTTP(w, request)
	if w.RespCode() != http.StatusOK {
		return nil, fmt.Errorf("%s answers with %s", path, w)
	}
	return w.Data(), nil
}

// discovery returns the list of the documents, whose hashes change with their content.
func (d *Documents) discovery() (*text, error) {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	if d.list != nil {
		return d.list, nil
	}
	list := handler3.OpenAPIV3Discovery{Paths: map[string]handler3.OpenAPIV3DiscoveryGroupVersion{}}
	for groupVersion, document := range d.byPath {
		list.Paths[groupVersion] = handler3.OpenAPIV3DiscoveryGroupVersion{ServerRelativeURL: address(groupVersion, document.etag)}
	}
	data, err := json.Marshal(&list)
	if err != nil {
		return nil, err
	}
	d.list = &text{etag: etagOf(data), made: time.Now(), data: data}
	return d.list, nil
}

// address is where a document is found that will never change.
func address(groupVersion, etag string) string {
	u := url.URL{Path: path.Join(Root, groupVersion), RawQuery: url.Values{"hash": {etag}}.Encode()}
	return u.String()
}

// find returns the document of a group and version, or nil.
func (d *Documents) find(groupVersion string) *document {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	return d.byPath[groupVersion]
}

// as returns the document in one of the two forms that there are.
func (d *document) as(protobuf bool) (*text, error) {
	if !protobuf {
		data, err := d.json.unpack()
		return &text{d.etag, d.made, data}, err
	}
	d.mutex.Lock()
	defer d.mutex.Unlock()
	if d.protobuf != nil {
		data, err := d.protobuf.unpack()
		return &text{d.etag, d.made, data}, err
	}
	data, err := d.json.unpack()
	if err != nil {
		return nil, err
	}
	if data, err = handler3.ToV3ProtoBinary(data); err != nil {
		return nil, err
	}
	d.protobuf = pack(data)
	return &text{d.etag, d.made, data}, nil
}
