package copies

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"airgap/registry/distribution"
)

type descriptor = ocispec.Descriptor

const (
	// requestTimeout bounds a small request, and the wait for the first byte of a large answer.
	requestTimeout = 15 * time.Second
	// stallTimeout is how long a node may send nothing of a blob.
	stallTimeout = time.Minute
	// maxRecordsBytes bounds what a node says of what it holds.
	maxRecordsBytes = 32 << 20
)

// request asks a node, and returns its answer if it has a status below 400. Who gets it calls end.
func (c *Copies) request(ctx context.Context, node Node, method, path string, header http.Header) (_ *http.Response, end func(), err error) {
	ctx, cancel := context.WithCancel(ctx)
	first := time.AfterFunc(requestTimeout, cancel)
	defer first.Stop()
	request, err := http.NewRequestWithContext(ctx, method, "https://"+node.Address+path, nil)
	if err != nil {
		cancel()
		return nil, nil, err
	}
	for _, name := range []string{"Accept", "Range", "If-None-Match"} {
		if values := header.Values(name); len(values) > 0 {
			request.Header[name] = values
		}
	}
	response, err := c.options.Client.Do(request)
	if err != nil {
		cancel()
		return nil, nil, fmt.Errorf("node %s: %w", node.Name, err)
	}
	end = func() { response.Body.Close(); cancel() }
	if response.StatusCode >= 400 && response.StatusCode != http.StatusRequestedRangeNotSatisfiable {
		end()
		code := distribution.CodeUnavailable
		if response.StatusCode == http.StatusNotFound {
			code = distribution.CodeBlobUnknown
		}
		return nil, nil, &distribution.Error{Status: response.StatusCode, Code: code, Message: fmt.Sprintf("node %s answers %s to %s %s", node.Name, response.Status, method, path)}
	}
	response.Body = &stalling{response.Body, time.AfterFunc(stallTimeout, cancel)}
	return response, end, nil
}

// stalling is a body whose request ends when nothing comes for [stallTimeout].
type stalling struct {
	io.ReadCloser
	timer *time.Timer
}

func (s *stalling) Read(p []byte) (int, error) {
	n, err := s.ReadCloser.Read(p)
	s.timer.Reset(stallTimeout)
	return n, err
}

func (s *stalling) Close() error {
	s.timer.Stop()
	return s.ReadCloser.Close()
}

// records asks a node for what it holds.
func (c *Copies) records(ctx context.Context, node Node) ([]distribution.Record, error) {
	response, end, err := c.request(ctx, node, http.MethodGet, "/v2/_records", nil)
	if err != nil {
		return nil, err
	}
	defer end()
	data, err := io.ReadAll(io.LimitReader(response.Body, maxRecordsBytes+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxRecordsBytes {
		return nil, fmt.Errorf("more than %d bytes", maxRecordsBytes)
	}
	var list []distribution.Record
	if err := json.Unmarshal(data, &list); err != nil {
		return nil, err
	}
	for _, record := range list {
		if err := distribution.ParseRecordName(record.Name); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// tell lets a node know that there is something for it to take. It finds out by itself too, so errors do not matter.
func (c *Copies) tell(ctx context.Context, node Node) {
	if _, end, err := c.request(ctx, node, http.MethodPost, "/v2/_records", nil); err == nil {
		end()
	}
}

// Fetch stores a blob of a repository from any node that has it.
func (c *Copies) Fetch(ctx context.Context, repository string, desc descriptor) error {
	return c.fetchFrom(ctx, repository, desc, c.candidates(distribution.Route{Kind: distribution.Tags, Registry: distribution.SiteHost, Name: repository}))
}

// fetchFrom stores a blob from the first of the nodes that gives it.
func (c *Copies) fetchFrom(ctx context.Context, repository string, desc descriptor, nodes []Node) error {
	var errs []error
	for _, node := range nodes {
		err := c.fetch(ctx, repository, desc, node)
		if err == nil {
			return nil
		}
		var e *distribution.Error
		if !errors.As(err, &e) || e.Status != http.StatusNotFound {
			errs = append(errs, err)
		}
	}
	if len(errs) > 0 {
		return errors.Join(errs...)
	}
	return &distribution.Error{Status: http.StatusNotFound, Code: distribution.CodeBlobUnknown, Message: fmt.Sprintf("no other node has %s of %s", desc.Digest, repository)}
}

// fetch stores a blob from one node: containerd verifies it before it has its name.
func (c *Copies) fetch(ctx context.Context, repository string, desc descriptor, node Node) error {
	path := "/v2/" + repository + "/blobs/" + desc.Digest.String() + "?ns=" + distribution.SiteHost
	response, end, err := c.request(ctx, node, http.MethodGet, path, nil)
	if err != nil {
		return err
	}
	defer end()
	ref := "airgap-copy-" + desc.Digest.Encoded()
	if err := content.WriteBlob(ctx, c.options.Blobs, ref, response.Body, desc); err != nil {
		_ = c.options.Blobs.Abort(ctx, ref) // what another node's answer goes on with would be as wrong
		return fmt.Errorf("blob %s from node %s: %w", desc.Digest, node.Name, err)
	}
	return nil
}

// passed are the headers of an answer that a client must see.
var passed = []string{"Content-Type", "Content-Length", "Content-Range", "Accept-Ranges", "Docker-Content-Digest", "Etag", "Oci-Filters-Applied"}

// Serve passes on the first answer of a node.
func (c *Copies) Serve(w http.ResponseWriter, r *http.Request, route distribution.Route) error {
	query := r.URL.Query()
	query.Set("ns", distribution.SiteHost)
	element := route.Reference
	if route.Kind == distribution.Tags {
		element = "list"
	}
	path := "/v2/" + route.Name + "/" + string(route.Kind) + "/" + element + "?" + url.Values(query).Encode()
	for _, node := range c.candidates(route) {
		response, end, err := c.request(r.Context(), node, r.Method, path, r.Header)
		if err != nil {
			var e *distribution.Error
			if !errors.As(err, &e) {
				c.options.Report(err)
			}
			continue
		}
		defer end()
		for _, name := range passed {
			if values := response.Header.Values(name); len(values) > 0 {
				w.Header()[name] = values
			}
		}
		w.WriteHeader(response.StatusCode)
		if _, err := io.Copy(w, response.Body); err != nil {
			panic(http.ErrAbortHandler) // what was sent is not whole, and the client must see that
		}
		return nil
	}
	return &distribution.Error{Status: http.StatusNotFound, Code: distribution.CodeManifestUnknown, Message: fmt.Sprintf("no node of the site has %s", route)}
}
