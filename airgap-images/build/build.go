// Package build makes the images that package images declares: it compiles or copies their
// executables and writes an OCI image layout.
//
//	declaration ─► compile for each platform ─► one layer ─► image ─► index ─► layout
//
// Building again gives the same bytes, whoever builds and when: compilers are told to leave out
// paths, times and build IDs, and layers are written with fixed times and owners in
// the order of their names. What the bytes do depend on are the versions of the Go toolchain, of gcc and glibc, and of
// the Debian packages.
package build

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"

	images "airgap/airgap-images"
)

// Options say what to build and where.
type Options struct {
	Set       *images.Set
	Names     []string // of the images; empty: all of the set
	Platforms []string // "linux/amd64"; every image must declare each
	Folder    string   // of the declaration's file: what its folders are relative to, and inside a Go module
	Output    string   // folder of the OCI layout; replaced as a whole
	Log       func(format string, args ...any)
}

// Build writes an OCI layout with one index per image, each annotated with its reference
// (org.opencontainers.image.ref.name). The output is there complete or as it was before.
func Build(ctx context.Context, opts Options) (err error) {
	names := opts.Names
	if len(names) == 0 {
		names = opts.Set.Names()
	}
	if opts.Output, err = filepath.Abs(opts.Output); err != nil { // compilers run in other folders
		return err
	}
	if err := os.MkdirAll(filepath.Dir(opts.Output), 0o755); err != nil {
		return err
	}
	work, err := os.MkdirTemp(filepath.Dir(opts.Output), ".images-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(work)) }()

	target := filepath.Join(work, "layout")
	out, err := layout.Write(target, empty.Index)
	if err != nil {
		return fmt.Errorf("write OCI layout %s: %w", target, err)
	}
	b := &builder{opts: opts, work: work, packages: map[string]*packages{}, images: map[string]v1.Image{}}
	for _, name := range names {
		image, err := opts.Set.Find(name)
		if err != nil {
			return err
		}
		reference, err := opts.Set.Reference(name)
		if err != nil {
			return err
		}
		started := time.Now()
		index, err := b.index(ctx, image)
		if err != nil {
			return fmt.Errorf("image %s: %w", reference, err)
		}
		if err := out.AppendIndex(index, layout.WithAnnotations(map[string]string{
			"org.opencontainers.image.ref.name": reference,
		})); err != nil {
			return fmt.Errorf("image %s: write to %s: %w", reference, target, err)
		}
		digest, err := index.Digest()
		if err != nil {
			return err
		}
		opts.Log("%s@%s built in %.1f s", reference, digest, time.Since(started).Seconds())
	}
	return replace(target, opts.Output)
}

// replace puts the folder from in the place of to. A folder that is no OCI layout is not
// replaced: it may be somebody's home.
func replace(from, to string) error {
	if _, err := os.Stat(to); err == nil {
		if _, err := os.Stat(filepath.Join(to, "oci-layout")); err != nil {
			return fmt.Errorf("%s exists and is not an OCI layout; remove it or name another output", to)
		}
		if err := os.RemoveAll(to); err != nil {
			return err
		}
	}
	return os.Rename(from, to)
}

// builder is one run of Build. What several images have in common is made once.
type builder struct {
	opts     Options
	work     string               // for temporary files
	packages map[string]*packages // by architecture and list
	images   map[string]v1.Image  // by name and platform
}

// index makes one image for all platforms.
func (b *builder) index(ctx context.Context, image *images.Image) (v1.ImageIndex, error) {
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, platform := range b.opts.Platforms {
		p, err := v1.ParsePlatform(platform)
		if err != nil {
			return nil, err
		}
		built, err := b.image(ctx, image, p)
		if err != nil {
			return nil, fmt.Errorf("for %s: %w", platform, err)
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: built, Descriptor: v1.Descriptor{Platform: p}})
	}
	return index, nil
}

// image makes one image for one platform.
func (b *builder) image(ctx context.Context, image *images.Image, p *v1.Platform) (v1.Image, error) {
	key := image.Name + " " + p.String()
	if built, ok := b.images[key]; ok {
		return built, nil
	}
	if !slices.Contains(image.Platforms, p.String()) {
		return nil, fmt.Errorf("is not declared for %s, only for %s", p, strings.Join(image.Platforms, ", "))
	}
	source := &source{image: image, arch: p.Architecture, folder: b.opts.Folder, work: b.work}
	layers, err := b.below(ctx, image, p, source)
	if err != nil {
		return nil, err
	}
	files, err := source.files(ctx)
	if err != nil {
		return nil, err
	}
	if len(files) > 0 {
		layer, err := newLayer(files)
		if err != nil {
			return nil, err
		}
		layers = append(layers, layer)
	}
	version, err := source.version(ctx)
	if err != nil {
		return nil, err
	}
	built, err := assemble(image, p, layers, version)
	if err != nil {
		return nil, err
	}
	b.images[key] = built
	return built, nil
}

// below returns the layers that an image stands on: those of another image, or one of packages.
func (b *builder) below(ctx context.Context, image *images.Image, p *v1.Platform, source *source) ([]v1.Layer, error) {
	switch {
	case image.From != "":
		from, err := b.opts.Set.Find(image.From)
		if err != nil {
			return nil, err
		}
		built, err := b.image(ctx, from, p)
		if err != nil {
			return nil, fmt.Errorf("from %s: %w", image.From, err)
		}
		return built.Layers()
	case !image.Packages.Empty():
		key := fmt.Sprintf("%s %+v", p.Architecture, image.Packages)
		if b.packages[key] == nil {
			unpacked, err := unpackPackages(ctx, image.Packages, p.Architecture, b.work)
			if err != nil {
				return nil, err
			}
			b.packages[key] = unpacked
		}
		source.packages = b.packages[key]
		return []v1.Layer{source.packages.layer}, nil
	}
	return nil, nil
}

// assemble joins layers and configuration to an image without a time in it.
func assemble(image *images.Image, p *v1.Platform, layers []v1.Layer, version string) (v1.Image, error) {
	img := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	var err error
	for _, layer := range layers {
		if img, err = mutate.Append(img, mutate.Addendum{
			Layer:   layer,
			History: v1.History{Created: v1.Time{Time: epoch}, CreatedBy: "airgap-images build " + image.Name},
		}); err != nil {
			return nil, err
		}
	}
	config, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	config.Created = v1.Time{Time: epoch}
	config.OS, config.Architecture, config.Variant = p.OS, p.Architecture, p.Variant
	config.Config = v1.Config{
		Entrypoint: image.Entrypoint,
		Cmd:        image.Command,
		User:       image.User,
		WorkingDir: image.WorkingDir,
		Env:        []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
		Labels: map[string]string{
			"org.opencontainers.image.title":    image.Title,
			"org.opencontainers.image.version":  version,
			"org.opencontainers.image.licenses": image.Licenses,
			"org.opencontainers.image.source":   image.Upstream.Module + image.Upstream.Debian,
		},
	}
	return mutate.ConfigFile(img, config)
}
