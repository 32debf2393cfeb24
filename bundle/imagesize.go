package bundle

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// ImageSize is what an image takes of a bundle: its manifests, configs and layers of the platforms that are carried, each
// blob counted once.
type ImageSize struct {
	Reference string `json:"reference"`
	Layers    int    `json:"layers"`
	Bytes     int64  `json:"bytes"`
	// SharedBytes are those of Bytes that images of another digest have too: without this image they would still be there.
	SharedBytes int64 `json:"sharedBytes"`
	// OmittedBytes are those of Bytes that a delta leaves out.
	OmittedBytes int64 `json:"omittedBytes,omitempty"`
	// Unknown says that a delta leaves out the image's manifest: nothing is known then but its name.
	Unknown bool `json:"unknown,omitempty"`
}

// ImageSizes measures the images, in the manifest's order. It is called instead of the first Next, and reads as far as the last
// OCI manifest, which stands near the front: Next goes on from there.
func (r *Reader) ImageSizes() ([]ImageSize, error) {
	manifests := map[string]*ocispec.Manifest{}
	for _, wanted := range r.entries {
		if wanted.Role.rank() > RoleManifest.rank() {
			break
		}
		entry, contents, err := r.Next()
		if err != nil {
			return nil, err
		}
		if entry.Role != RoleManifest {
			continue
		}
		data, err := io.ReadAll(contents)
		if err != nil {
			return nil, err
		}
		var manifest ocispec.Manifest
		if err := json.Unmarshal(data, &manifest); err != nil {
			return nil, fmt.Errorf("%w: %s: %w", ErrFormat, entry.Path, err)
		}
		manifests[entry.Digest()] = &manifest
	}
	return imageSizes(r.manifest, manifests), nil
}

// imageSizes measures images by their manifests, as many as there are.
func imageSizes(m *Manifest, manifests map[string]*ocispec.Manifest) []ImageSize {
	entries := make(map[string]Entry, len(m.Entries))
	for _, e := range m.Entries {
		if e.isBlob() {
			entries[e.Digest()] = e
		}
	}
	blobs := make([][]string, len(m.Images)) // of each image
	users := map[string][]string{}           // of each blob: digests of images
	sizes := make([]ImageSize, len(m.Images))
	for i, image := range m.Images {
		sizes[i].Reference = image.Reference
		set := map[string]bool{image.Digest: true}
		layers := map[string]bool{}
		for _, platform := range image.Platforms {
			manifest, ok := manifests[platform.Digest]
			if !ok {
				sizes[i].Unknown = true
				continue
			}
			set[platform.Digest], set[manifest.Config.Digest.String()] = true, true
			for _, layer := range manifest.Layers {
				set[layer.Digest.String()], layers[layer.Digest.String()] = true, true
			}
		}
		sizes[i].Layers = len(layers)
		for digest := range set {
			blobs[i] = append(blobs[i], digest)
			if !slices.Contains(users[digest], image.Digest) {
				users[digest] = append(users[digest], image.Digest)
			}
		}
	}
	for i := range sizes {
		for _, digest := range blobs[i] {
			e := entries[digest]
			sizes[i].Bytes += e.Size
			if len(users[digest]) > 1 {
				sizes[i].SharedBytes += e.Size
			}
			if e.Omitted {
				sizes[i].OmittedBytes += e.Size
			}
		}
	}
	return sizes
}
