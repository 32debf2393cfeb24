package source

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/platforms"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"airgap/bundle"
)

// Docker's media types, which registries still have more of than the OCI's.
const (
	dockerIndex    = "application/vnd.docker.distribution.manifest.list.v2+json"
	dockerManifest = "application/vnd.docker.distribution.manifest.v2+json"
	dockerConfig   = "application/vnd.docker.container.image.v1+json"
	// dockerSchema1 begins the types of the format before those, signed and unsigned.
	dockerSchema1 = "application/vnd.docker.distribution.manifest.v1+"
)

// attestationMark is how BuildKit marks what an index says about its images and is none itself.
const attestationMark = "vnd.docker.reference.type"

// maxIndexDepth bounds indexes in indexes.
const maxIndexDepth = 4

// errSchema1 says that an image is in Docker's first format.
var errSchema1 = errors.New("is in Docker's schema 1, which has no configuration and which containerd does not run; " +
	"push it anew with a current tool (docker pull and docker push, or skopeo copy --format oci)")

// expanded is an image with all that its chosen platforms need.
type expanded struct {
	root      ocispec.Descriptor
	platforms []bundle.ImagePlatform
	metadata  []bundle.Blob // indexes, manifests, configs
	layers    []bundle.Blob // base first
	distant   bool          // layers come over a network each time they are opened
}

// expandImage reads the metadata of an image and lists the blobs of the wanted platforms. Of an index it takes
// what containerd would on such a machine: for linux/arm/v7 the image for v7 or, if there is none, for v6. A wanted
// platform that the image does not have is an error that says which it has.
func expandImage(ctx context.Context, s store, root ocispec.Descriptor, wanted []string) (*expanded, error) {
	e := &expander{store: s, image: &expanded{root: root, distant: isDistant(s)}, carried: map[digest.Digest]bool{}}
	if err := e.find(ctx, root, nil, nil); err != nil {
		return nil, err
	}
	for _, name := range wanted {
		platform, err := platforms.Parse(name)
		if err != nil {
			return nil, err
		}
		best := e.best(platform)
		if best == nil {
			return nil, missingPlatform(name, e.available())
		}
		e.image.platforms = append(e.image.platforms, bundle.ImagePlatform{Platform: name, Digest: best.descriptor.Digest.String()})
		if err := e.carry(ctx, best); err != nil {
			return nil, err
		}
	}
	slices.SortFunc(e.image.platforms, func(a, b bundle.ImagePlatform) int { return strings.Compare(a.Platform, b.Platform) })
	return e.image, nil
}

func missingPlatform(wanted string, available []string) error {
	if len(available) == 0 {
		return errors.New("has no container image: its index lists none")
	}
	return fmt.Errorf("has no image for %s; it has %s", wanted, listed(available))
}

type expander struct {
	store      store
	image      *expanded
	candidates []candidate // in the order of the indexes
	carried    map[digest.Digest]bool
}

// candidate is an image manifest and what it is for.
type candidate struct {
	descriptor ocispec.Descriptor
	platform   ocispec.Platform
	indexes    []bundle.Blob // that lead to it
}

// find notes the manifests below an index, or the one that there is. platform is what the index above says it is
// for; nil if nothing does: its config says it.
func (e *expander) find(ctx context.Context, d ocispec.Descriptor, platform *ocispec.Platform, indexes []bundle.Blob) error {
	switch {
	case d.Digest.Algorithm() != digest.SHA256 || d.Digest.Validate() != nil:
		return fmt.Errorf("%q is not a sha256 digest, which is what bundles have", d.Digest)
	case d.MediaType == ocispec.MediaTypeImageIndex, d.MediaType == dockerIndex:
		return e.findInIndex(ctx, d, indexes)
	case d.MediaType == ocispec.MediaTypeImageManifest, d.MediaType == dockerManifest:
		if platform == nil {
			own, err := e.ownPlatform(ctx, d)
			if err != nil {
				return err
			}
			platform = &own
		}
		e.candidates = append(e.candidates, candidate{d, *platform, indexes})
		return nil
	case strings.HasPrefix(d.MediaType, dockerSchema1):
		return errSchema1
	}
	return fmt.Errorf("%s is of type %q, which is not a container image", d.Digest, d.MediaType)
}

func (e *expander) findInIndex(ctx context.Context, d ocispec.Descriptor, indexes []bundle.Blob) error {
	if len(indexes) == maxIndexDepth {
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
	indexes = append(slices.Clip(indexes), bundle.NewBlob(bundle.RoleIndex, data))
	for _, child := range index.Manifests {
		platform := child.Platform
		if platform != nil && platform.OS == "" {
			platform = nil
		}
		if isAbout(child) {
			continue
		}
		if err := e.find(ctx, child, platform, indexes); err != nil {
			return err
		}
	}
	return nil
}

// isAbout says whether an index' child is something about its images, such as an attestation or a signature. Some tools
// write an image's config type as its artifactType.
func isAbout(child ocispec.Descriptor) bool {
	return child.Annotations[attestationMark] != "" ||
		child.ArtifactType != "" && !images.IsConfigType(child.ArtifactType) ||
		child.Platform != nil && child.Platform.OS == "unknown"
}

// ownPlatform is what the config of an image says that it is for.
func (e *expander) ownPlatform(ctx context.Context, d ocispec.Descriptor) (ocispec.Platform, error) {
	image, err := e.read(ctx, d)
	if err != nil {
		return ocispec.Platform{}, err
	}
	return image.settings.Platform, nil
}

// best is the candidate that containerd would take on a machine of that platform: its own variant first, then lower
// ones, but no other architecture. nil if there is none.
func (e *expander) best(wanted ocispec.Platform) *candidate {
	order := platforms.Only(wanted)
	var best *candidate
	for i := range e.candidates {
		c := &e.candidates[i]
		platform := bare(c.platform)
		if platform.Architecture != bare(wanted).Architecture || !order.Match(platform) {
			continue
		}
		if best == nil || order.Less(platform, bare(best.platform)) {
			best = c
		}
	}
	return best
}

// available are the platforms that the image has.
func (e *expander) available() []string {
	var names []string
	for _, c := range e.candidates {
		names = append(names, platformName(c.platform))
	}
	return names
}

// imageParts is an image manifest with its config.
type imageParts struct {
	manifest     ocispec.Manifest
	settings     ocispec.Image
	manifestData []byte
	configData   []byte
}

// read reads an image manifest and its config.
func (e *expander) read(ctx context.Context, d ocispec.Descriptor) (*imageParts, error) {
	var image imageParts
	var err error
	if image.manifestData, err = readManifest(ctx, e.store, d); err != nil {
		return nil, err
	}
	if err := json.Unmarshal(image.manifestData, &image.manifest); err != nil {
		return nil, fmt.Errorf("manifest %s: %w", d.Digest, err)
	}
	if t := image.manifest.Config.MediaType; t != ocispec.MediaTypeImageConfig && t != dockerConfig {
		return nil, fmt.Errorf("%s is not a container image: its config is of type %q", d.Digest, t)
	}
	if image.configData, err = readConfig(ctx, e.store, image.manifest.Config); err != nil {
		return nil, fmt.Errorf("config of %s: %w", d.Digest, err)
	}
	if err := json.Unmarshal(image.configData, &image.settings); err != nil {
		return nil, fmt.Errorf("config of %s: %w", d.Digest, err)
	}
	return &image, nil
}

// carry adds the blobs of a candidate, once however many platforms it is for.
func (e *expander) carry(ctx context.Context, c *candidate) error {
	for _, index := range c.indexes {
		e.add(index)
	}
	if e.carried[c.descriptor.Digest] {
		return nil
	}
	image, err := e.read(ctx, c.descriptor)
	if err != nil {
		return err
	}
	e.add(bundle.NewBlob(bundle.RoleManifest, image.manifestData))
	e.add(bundle.NewBlob(bundle.RoleConfig, image.configData))
	if err := image.check(c); err != nil {
		return err
	}
	for _, layer := range image.manifest.Layers {
		blob := storedBlob(e.store, layer, bundle.RoleLayer)
		if isForeign(layer) {
			if blob, err = foreignBlob(ctx, e.store, layer); err != nil {
				return fmt.Errorf("layer %s of %s: %w", layer.Digest, platformName(c.platform), err)
			}
		}
		e.image.layers = append(e.image.layers, blob)
	}
	return nil
}

// add adds a metadata blob, once.
func (e *expander) add(b bundle.Blob) {
	if d := digest.Digest(b.Digest); !e.carried[d] {
		e.carried[d] = true
		e.image.metadata = append(e.image.metadata, b)
	}
}

// check sees what would keep a machine from unpacking the image, before it is on its way there.
func (i *imageParts) check(c *candidate) error {
	own, said := bare(i.settings.Platform), bare(c.platform)
	if own.OS != said.OS || own.Architecture != said.Architecture {
		return fmt.Errorf("%s was built wrongly: its index says that it is for %s, its own config %s/%s",
			c.descriptor.Digest, platformName(c.platform), own.OS, own.Architecture)
	}
	for _, layer := range i.manifest.Layers {
		switch {
		case layer.Digest.Algorithm() != digest.SHA256 || layer.Digest.Validate() != nil:
			return fmt.Errorf("layer %q does not have a sha256 digest, which is what bundles have", layer.Digest)
		case strings.HasSuffix(layer.MediaType, "+encrypted"):
			return fmt.Errorf("layer %s is encrypted; a site without a key service cannot open it", layer.Digest)
		case !images.IsLayerType(layer.MediaType):
			return fmt.Errorf("layer %s is of type %q, which containerd does not unpack", layer.Digest, layer.MediaType)
		}
	}
	if have, want := len(i.manifest.Layers), len(i.settings.RootFS.DiffIDs); have != want {
		return fmt.Errorf("%s was built wrongly: it has %d layers, its config knows of %d", c.descriptor.Digest, have, want)
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
