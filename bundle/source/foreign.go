package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/containerd/containerd/v2/core/images"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"airgap/bundle"
)

// isForeign says whether a layer's maker wants it fetched from elsewhere than the registry of the image.
func isForeign(layer ocispec.Descriptor) bool {
	return len(layer.URLs) > 0 || images.IsNonDistributable(layer.MediaType)
}

// foreignBlob finds a foreign layer: in the image's own place, where some are kept all the same, or at the first
// of its https addresses that has it, as containerd does. It is opened here once, so that a build fails
// before it writes.
func foreignBlob(ctx context.Context, s store, layer ocispec.Descriptor) (bundle.Blob, error) {
	places := []func(context.Context) (io.ReadCloser, error){
		func(ctx context.Context) (io.ReadCloser, error) { return s.blob(ctx, layer) },
	}
	for _, address := range layer.URLs {
		places = append(places, func(ctx context.Context) (io.ReadCloser, error) { return download(ctx, address) })
	}
	var failures []error
	for _, open := range places {
		body, err := open(ctx)
		if err == nil {
			blob := storedBlob(s, layer, bundle.RoleLayer)
			blob.Open = open
			return blob, body.Close()
		}
		failures = append(failures, err)
	}
	return bundle.Blob{}, fmt.Errorf("is not distributable (%s), and neither its registry nor its maker's addresses have it; "+
		"push it to a registry that may keep it: %w", layer.MediaType, errors.Join(failures...))
}

// download opens what is at an address. Its bytes are held against their digest by who reads them.
func download(ctx context.Context, address string) (io.ReadCloser, error) {
	if !strings.HasPrefix(address, "https://") {
		return nil, fmt.Errorf("%s: not an https address", address)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	if answer.StatusCode != http.StatusOK {
		answer.Body.Close()
		return nil, fmt.Errorf("%s: %s", address, answer.Status)
	}
	return answer.Body, nil
}
