package source

import (
	"context"
	"fmt"
	"io"
	"net/http"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"airgap/internal/registryclient"
)

// blobClient logs in to a repository to fetch its blobs, once.
func (r *registries) blobClient(ctx context.Context, repository name.Repository) (*http.Client, error) {
	return r.clients.do(repository.String(), func() (*http.Client, error) { return registryclient.New(ctx, repository) })
}

// openAt fetches a blob from a byte on. A registry that knows no ranges is made to send the whole.
func (r repository) openAt(ctx context.Context, d ocispec.Descriptor, offset int64) (io.ReadCloser, error) {
	if offset > 0 && offset >= d.Size {
		return http.NoBody, nil
	}
	response, err := r.request(ctx, d, offset)
	if err == nil && response.StatusCode == http.StatusRequestedRangeNotSatisfiable {
		response.Body.Close()
		response, err = r.request(ctx, d, 0)
	}
	if err != nil {
		return nil, explain(r.name, err)
	}
	if err := transport.CheckError(response, http.StatusOK, http.StatusPartialContent); err != nil {
		response.Body.Close()
		return nil, explain(r.name, err)
	}
	if response.StatusCode == http.StatusOK && offset > 0 {
		if _, err := io.CopyN(io.Discard, response.Body, offset); err != nil {
			response.Body.Close()
			return nil, err
		}
	}
	return response.Body, nil
}

func (r repository) request(ctx context.Context, d ocispec.Descriptor, offset int64) (*http.Response, error) {
	client, err := r.registries.blobClient(ctx, r.name)
	if err != nil {
		return nil, err
	}
	url := fmt.Sprintf("%s://%s/v2/%s/blobs/%s", r.name.Scheme(), r.name.RegistryStr(), r.name.RepositoryStr(), d.Digest)
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Accept-Encoding", "identity")
	if offset > 0 {
		request.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", offset, d.Size-1))
	}
	return client.Do(request)
}
