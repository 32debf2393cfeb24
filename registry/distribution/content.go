package distribution

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"airgap/registry"
)

// Content is what containerd holds. A client's ImageService and ContentStore are one, the stores that
// a process has opened itself are another.
type Content struct {
	Images images.Store
	Blobs  interface {
		content.Provider
		content.InfoProvider
	}
	Namespace string // containerd's; empty: [registry.Namespace], the one of the kubelet's images
	// Folder holds the blobs as files named by the hex of their digests: containerd's own, …/blobs/sha256. If it is given, what Blobs knows
	// is read there, past containerd, which is several times as fast as through its socket.
	Folder string
}

// Image returns the image that the node holds under a route's tag or digest. The error is an
// [*Error] with status 404 if there is none.
func (c Content) Image(ctx context.Context, route Route) (images.Image, error) {
	name := route.String()
	image, err := c.Images.Get(c.inNamespace(ctx), name)
	switch {
	case errdefs.IsNotFound(err), err == nil && isDeleted(image):
		return images.Image{}, newError(http.StatusNotFound, CodeManifestUnknown, "this node does not hold %s", name)
	case err != nil:
		return images.Image{}, fmt.Errorf("image %s: %w", name, err)
	}
	return image, nil
}

// repository lists the images that the node holds under a repository, tags and digest references, by
// name. None is an [*Error] with status 404.
func (c Content) repository(ctx context.Context, repository string) ([]images.Image, error) {
	pattern := "^" + regexp.QuoteMeta(repository) + "[:@]"
	list, err := c.Images.List(c.inNamespace(ctx), "name~="+strconv.Quote(pattern))
	if err != nil {
		return nil, fmt.Errorf("images of %s: %w", repository, err)
	}
	if list = slices.DeleteFunc(list, isDeleted); len(list) == 0 {
		return nil, newError(http.StatusNotFound, CodeNameUnknown, "this node holds no image of %s", repository)
	}
	slices.SortFunc(list, func(a, b images.Image) int { return strings.Compare(a.Name, b.Name) })
	return list, nil
}

// open opens a blob for reading. The caller closes it.
func (c Content) open(ctx context.Context, desc ocispec.Descriptor) (io.ReadSeekCloser, error) {
	if c.Folder != "" && desc.Digest.Algorithm() == digest.SHA256 {
		// A file that is gone, collected or in another folder, is containerd's to explain.
		if file, err := os.Open(filepath.Join(c.Folder, desc.Digest.Encoded())); err == nil {
			return file, nil
		}
	}
	blob, err := c.Blobs.ReaderAt(c.inNamespace(ctx), desc)
	if err != nil {
		return nil, err
	}
	return struct {
		io.ReadSeeker
		io.Closer
	}{io.NewSectionReader(blob, 0, blob.Size()), blob}, nil
}

// has tells whether the bytes of a blob are there: of an image for several platforms
// a node holds one.
func (c Content) has(ctx context.Context, desc ocispec.Descriptor) (bool, error) {
	_, err := c.Blobs.Info(c.inNamespace(ctx), desc.Digest)
	if errdefs.IsNotFound(err) {
		return false, nil
	}
	return err == nil, err
}

func (c Content) inNamespace(ctx context.Context) context.Context {
	if c.Namespace != "" {
		return namespaces.WithNamespace(ctx, c.Namespace)
	}
	return namespaces.WithNamespace(ctx, registry.Namespace)
}
