package source

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"airgap/bundle"
	"airgap/bundle/media"
)

// FromError says that a bundle named in spec.from, or the system bundle that its absence means, could not be
// used. It wraps the reason.
type FromError struct {
	Path string
	Err  error
}

func (e *FromError) Error() string {
	if reason := e.Err.Error(); strings.HasPrefix(reason, e.Path) {
		return "from " + reason
	}
	return fmt.Sprintf("from %s: %v", e.Path, e.Err)
}

func (e *FromError) Unwrap() error { return e.Err }

// base is a bundle to start from. Its manifest is verified; its blobs are not, but each is held
// against the manifest when it is read.
type base struct {
	path     string
	manifest *bundle.Manifest
	layout   layoutStore
	sizes    map[string]int64 // of each blob, by digest
}

// openBase verifies the signature of a bundle and opens it for reading in any order.
func (g *gatherer) openBase(ctx context.Context, location string) (_ *base, err error) {
	path := media.Name(location)
	defer func() {
		if err != nil {
			err = &FromError{path, err}
		}
	}()
	reader, err := media.Open(ctx, location, g.options.Trust, media.Options{Cache: g.registries.cache})
	if err != nil {
		return nil, err
	}
	defer reader.Close()
	b := &base{path: path, manifest: reader.Manifest(), sizes: map[string]int64{}}
	if len(b.manifest.Base) > 0 {
		return nil, errors.New("it is a delta: start from the whole bundle")
	}
	for _, entry := range b.manifest.Entries {
		if strings.HasPrefix(entry.Path, "blobs/") {
			b.sizes["sha256:"+entry.SHA256] = entry.Size
		}
	}
	t, err := g.openBlobs(ctx, location, reader)
	if errors.Is(err, tar.ErrHeader) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = fmt.Errorf("%w: %w", bundle.ErrFormat, err)
	}
	if err != nil {
		return nil, err
	}
	b.layout = layoutStore{t}
	return b, nil
}

// openBlobs opens the files of a bundle whose head reader has read. Registries give them one by one, and so do servers that give parts of a
// file. Of a bundle that comes in order alone it makes a temporary copy, verified, which has no name any more when it returns: its blobs are
// wanted in another order.
func (g *gatherer) openBlobs(ctx context.Context, location string, reader *bundle.Reader) (tree, error) {
	if info, err := os.Stat(location); err == nil && (info.IsDir() || info.Mode().IsRegular()) && !media.IsPart(location) {
		return openTree(ctx, location, "")
	}
	blobs, err := media.OpenBlobs(ctx, location, reader, media.Options{Cache: g.registries.cache})
	if err == nil {
		return newDistantTree(ctx, blobs, reader.Manifest().Carried()), nil
	} else if !errors.Is(err, media.ErrInOrder) {
		return nil, err
	}
	folder, err := os.MkdirTemp(g.options.TemporaryPath, ".airgap-from-*")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(folder)
	copied := filepath.Join(folder, "from.airgap")
	if err := bundle.Copy(ctx, reader, copied, bundle.CopyOptions{Progress: g.options.Progress, Transfer: g.options.Transfer}); err != nil {
		return nil, err
	}
	return openTree(ctx, copied, "")
}

// descriptor is the descriptor of a blob that the manifest lists.
func (b *base) descriptor(mediaType, of string) (ocispec.Descriptor, error) {
	size, ok := b.sizes[of]
	if !ok {
		return ocispec.Descriptor{}, &FromError{b.path, fmt.Errorf("%w: %s is named but not listed", bundle.ErrFormat, of)}
	}
	return ocispec.Descriptor{MediaType: mediaType, Digest: digest.Digest(of), Size: size}, nil
}

// image is an image of the bundle, restricted to the wanted platforms.
func (b *base) image(ctx context.Context, image bundle.Image, wanted []string) (*expanded, error) {
	var available []string
	for _, p := range image.Platforms {
		available = append(available, p.Platform)
	}
	for _, platform := range wanted {
		if !slices.Contains(available, platform) {
			return nil, missingPlatform(platform, available)
		}
	}
	root, err := b.descriptor(image.MediaType, image.Digest)
	if err != nil {
		return nil, err
	}
	return expandImage(ctx, b.layout, root, wanted)
}

// referrers is what the bundle carries about an image, as far as it is about what of the image is taken over.
func (b *base) referrers(ctx context.Context, image *wantedImage) ([]referrer, error) {
	taken := bundle.Image{Reference: image.reference, Digest: image.content.root.Digest.String(), Platforms: image.content.platforms}
	var found []referrer
	for _, r := range b.manifest.ReferrersOf(taken) {
		d, err := b.descriptor(r.MediaType, r.Digest)
		if err != nil {
			return nil, err
		}
		one, err := readReferrer(ctx, b.layout, d)
		if err != nil {
			return nil, err
		}
		one.suffix, one.subject = r.Suffix(), digest.Digest(r.Subject)
		found = append(found, *one)
	}
	return found, nil
}

// artifact lists the blobs of an artifact whose layer has a role.
func (b *base) artifact(ctx context.Context, manifestDigest string, role bundle.Role) ([]bundle.Blob, error) {
	d, err := b.descriptor(ocispec.MediaTypeImageManifest, manifestDigest)
	if err != nil {
		return nil, err
	}
	data, err := readManifest(ctx, b.layout, d)
	if err != nil {
		return nil, &FromError{b.path, err}
	}
	var manifest ocispec.Manifest
	if err := json.Unmarshal(data, &manifest); err != nil {
		return nil, &FromError{b.path, err}
	}
	if len(manifest.Layers) != 1 {
		return nil, &FromError{b.path, errors.New("artifact " + manifestDigest + " does not have one layer")}
	}
	return []bundle.Blob{
		bundle.NewBlob(bundle.RoleManifest, data),
		storedBlob(b.layout, manifest.Config, bundle.RoleConfig),
		storedBlob(b.layout, manifest.Layers[0], role),
	}, nil
}

// takeOver adds everything but the images of a bundle to content.
func (b *base) takeOver(ctx context.Context, content *bundle.Content, platforms []string) error {
	m := &content.Manifest
	add := func(artifact string, role bundle.Role) error {
		blobs, err := b.artifact(ctx, artifact, role)
		content.Blobs = append(content.Blobs, blobs...)
		return err
	}
	for _, chart := range b.manifest.Charts {
		if slices.ContainsFunc(m.Charts, func(c bundle.Chart) bool { return c.Release == chart.Release }) {
			return &FromError{b.path, fmt.Errorf("the release %s is in another bundle of spec.from too", chart.Release)}
		}
		m.Charts = append(m.Charts, chart)
		if err := add(chart.Artifact, bundle.RoleChart); err != nil {
			return err
		}
		if chart.Values != "" {
			d, err := b.descriptor("", chart.Values)
			if err != nil {
				return err
			}
			content.Blobs = append(content.Blobs, storedBlob(b.layout, d, bundle.RoleValues))
		}
	}
	for _, objects := range b.manifest.Manifests {
		if slices.ContainsFunc(m.Manifests, func(o bundle.Objects) bool { return o.Name == objects.Name }) {
			return &FromError{b.path, fmt.Errorf("the manifest %s is in another bundle of spec.from too", objects.Name)}
		}
		m.Manifests = append(m.Manifests, objects)
		if err := add(objects.Artifact, bundle.RoleObjects); err != nil {
			return err
		}
	}
	for _, file := range b.manifest.Files {
		if slices.ContainsFunc(m.Files, func(f bundle.File) bool { return f.Target == file.Target }) {
			return &FromError{b.path, fmt.Errorf("the file %s is in another bundle of spec.from too", file.Target)}
		}
		m.Files = append(m.Files, file)
		if err := add(file.Artifact, bundle.RoleFile); err != nil {
			return err
		}
	}
	return b.takeOverDistributions(content, platforms, add)
}

// takeOverDistributions adds the executables of the wanted platforms that content does not have yet.
func (b *base) takeOverDistributions(content *bundle.Content, platforms []string, add func(string, bundle.Role) error) error {
	var available []string
	for _, distribution := range b.manifest.Distributions {
		available = append(available, distribution.Platform)
		if !slices.Contains(platforms, distribution.Platform) || hasDistribution(content, distribution.Platform) {
			continue
		}
		content.Manifest.Distributions = append(content.Manifest.Distributions, distribution)
		if err := add(distribution.Artifact, bundle.RoleExecutable); err != nil {
			return err
		}
	}
	if len(available) == 0 {
		return nil
	}
	for _, platform := range platforms {
		if !hasDistribution(content, platform) {
			return &FromError{b.path, fmt.Errorf("has no distribution for %s; it has %s", platform, listed(available))}
		}
	}
	return nil
}

func hasDistribution(content *bundle.Content, platform string) bool {
	return slices.ContainsFunc(content.Manifest.Distributions, func(d bundle.Distribution) bool { return d.Platform == platform })
}
