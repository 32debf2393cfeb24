package source

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"airgap/bundle"
)

// Docker's media types, which registries still have more of than the OCI's.
const (
	dockerIndex    = "application/vnd.docker.distribution.manifest.list.v2+json"
	dockerManifest = "application/vnd.docker.distribution.manifest.v2+json"
	dockerConfig   = "application/vnd.docker.container.image.v1+json"
)

// maxIndexDepth bounds indexes in indexes.
const maxIndexDepth = 4

// expanded is an image with all that its chosen platforms need.
type expanded struct {
	root      ocispec.Descriptor
	platforms []bundle.ImagePlatform
	metadata  []bundle.Blob // indexes, manifests, configs
	layers    []bundle.Blob // base first
}

// expandImage reads the metadata of an image and lists the blobs of the wanted platforms. A wanted platform
// that the image does not have is an error that says which it has.
func expandImage(ctx context.Context, s store, root ocispec.Descriptor, wanted []string) (*expanded, error) {
	e := &expander{store: s, image: &expanded{root: root}, wanted: wanted}
	if err := e.node(ctx, root, "", 0); err != nil {
		return nil, err
	}
	for _, platform := range wanted {
		if !slices.ContainsFunc(e.image.platforms, func(p bundle.ImagePlatform) bool { return p.Platform == platform }) {
			return nil, missingPlatform(platform, e.available)
		}
	}
	slices.SortFunc(e.image.platforms, func(a, b bundle.ImagePlatform) int { return strings.Compare(a.Platform, b.Platform) })
	return e.image, nil
}

func missingPlatform(wanted string, available []string) error {
	return fmt.Errorf("has no image for %s; it has %s", wanted, listed(available))
}

type expander struct {
	store     store
	image     *expanded
	wanted    []string
	available []string // platforms the image has, wanted or not
}

// node takes in an index or manifest. platform is what the index above says it is for ("" if nothing
// does: its config says it).
func (e *expander) node(ctx context.Context, d ocispec.Descriptor, platform string, depth int) error {
	switch d.MediaType {
	case ocispec.MediaTypeImageIndex, dockerIndex:
		return e.index(ctx, d, depth)
	case ocispec.MediaTypeImageManifest, dockerManifest:
		return e.manifest(ctx, d, platform)
	}
	return fmt.Errorf("%s is of type %q, which is not a container image", d.Digest, d.MediaType)
}

func (e *expander) index(ctx context.Context, d ocispec.Descriptor, depth int) error {
	if depth == maxIndexDepth {
		return fmt.Errorf("indexes are nested more than %d deep", maxIndexDepth)
	}
	data, err := readManifest(ctx, e.store, d)
	if err != nil {
		return err
	}
	var index ocispec.Index
	if err := json.Unmarshal(data, &index); err != nil {
		return fmt.Errorf("index %s: %w", d.Digest, err)
	}
	e.image.metadata = append(e.image.metadata, bundle.NewBlob(bundle.RoleIndex, data))
	for _, child := range index.Manifests {
		platform := ""
		if p := child.Platform; p != nil && p.OS != "" {
			if p.OS == "unknown" { // an attestation, as BuildKit marks it
				continue
			}
			platform = platformName(*p)
			e.available = append(e.available, platform)
			if !e.wants(platform) {
				continue
			}
		}
		if err := e.node(ctx, child, platform, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// wants says whether a platform is to be carried and not there yet: of several entries for one, as Windows
// has, the first counts.
func (e *expander) wants(platform string) bool {
	return slices.Contains(e.wanted, platform) && !slices.ContainsFunc(e.image.platforms, func(p bundle.ImagePlatform) bool {
		return p.Platform == platform
	})
}

func (e *expander) manifest(ctx context.Context, d ocispec.Descriptor, platform string) error {
	data, err := readManifest(ctx, e.store, d)
	if err != nil {
		return err
	}
	var manifest ocispec.Manifest
	if err := json.Unmarshal(data, &manifest); err != nil {
		return fmt.Errorf("manifest %s: %w", d.Digest, err)
	}
	if t := manifest.Config.MediaType; t != ocispec.MediaTypeImageConfig && t != dockerConfig {
		return fmt.Errorf("%s is not a container image: its config is of type %q", d.Digest, t)
	}
	config, err := readConfig(ctx, e.store, manifest.Config)
	if err != nil {
		return fmt.Errorf("config of %s: %w", d.Digest, err)
	}
	if platform == "" {
		var p ocispec.Platform
		if err := json.Unmarshal(config, &p); err != nil {
			return fmt.Errorf("config of %s: %w", d.Digest, err)
		}
		platform = platformName(p)
		e.available = append(e.available, platform)
		if !e.wants(platform) {
			return nil
		}
	}
	e.image.platforms = append(e.image.platforms, bundle.ImagePlatform{Platform: platform, Digest: d.Digest.String()})
	e.image.metadata = append(e.image.metadata, bundle.NewBlob(bundle.RoleManifest, data), bundle.NewBlob(bundle.RoleConfig, config))
	for _, layer := range manifest.Layers {
		if len(layer.URLs) > 0 || strings.Contains(layer.MediaType, "nondistributable") || strings.Contains(layer.MediaType, ".foreign.") {
			return fmt.Errorf("layer %s of %s is not distributable (%s): its maker wants it fetched from elsewhere, which an offline site cannot",
				layer.Digest, platform, layer.MediaType)
		}
		e.image.layers = append(e.image.layers, storedBlob(e.store, layer, bundle.RoleLayer))
	}
	return nil
}

// storedBlob is a blob that streams from a store when it is wanted.
func storedBlob(s store, d ocispec.Descriptor, role bundle.Role) bundle.Blob {
	return bundle.Blob{
		Digest: d.Digest.String(), Size: d.Size, Role: role,
		Open: func(ctx context.Context) (io.ReadCloser, error) { return s.blob(ctx, d) },
	}
}
