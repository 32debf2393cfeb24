package main

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/stream"
)

// The content-only bundle is images of a usual shape. Their bytes do not compress, as those
// of compressed layers do not either, and are the same on every machine.
const (
	contentImages  = 12
	layersPerImage = 5
)

// contentBundle makes, once, the bundle of images alone, and returns its path.
func (b *bench) contentBundle(ctx context.Context) (string, error) {
	if b.content != "" {
		return b.content, nil
	}
	say("making a content-only bundle of %d MB", b.sizeMB)
	if err := b.writeImages(ctx); err != nil {
		return "", err
	}
	bundle := filepath.Join(b.work, "content.airgap")
	if _, err := output(b.buildContent(ctx, bundle)); err != nil {
		return "", err
	}
	b.content = bundle
	return bundle, nil
}

// contentSpec is the path of the airgap.yaml of the content-only bundle.
func (b *bench) contentSpec() string { return filepath.Join(b.work, "content.yaml") }

// buildContent is `airgap build` of the content-only bundle.
func (b *bench) buildContent(ctx context.Context, bundle string) *exec.Cmd {
	return b.command(ctx, b.built(packed), "build", "-f", b.contentSpec(), "-o", bundle, "--key", b.built("dist/development.key"))
}

// writeImages writes an OCI layout with the images, and the airgap.yaml that names them.
func (b *bench) writeImages(ctx context.Context) error {
	images, err := layout.Write(filepath.Join(b.work, "content"), empty.Index)
	if err != nil {
		return err
	}
	var spec strings.Builder
	fmt.Fprintf(&spec, "apiVersion: airgap/v1\nkind: Bundle\nmetadata: {name: content, version: 1.0.0}\n"+
		"spec:\n  from: []\n  platforms: [linux/%s]\n  images:\n", runtime.GOARCH)
	layerBytes := int64(b.sizeMB) * 1e6 / (contentImages * layersPerImage)
	for n := range contentImages {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		image, err := syntheticImage(n, layerBytes)
		if err != nil {
			return err
		}
		name := fmt.Sprintf("bench.internal/content-%02d:1", n)
		named := layout.WithAnnotations(map[string]string{"org.opencontainers.image.ref.name": name})
		if err := images.AppendImage(image, named); err != nil {
			return err
		}
		fmt.Fprintf(&spec, "    - {source: %q, name: %q}\n", "oci:"+string(images)+":"+name, name)
	}
	return os.WriteFile(b.contentSpec(), []byte(spec.String()), 0o600)
}

// syntheticImage is image n, of layers of its own.
func syntheticImage(n int, layerBytes int64) (v1.Image, error) {
	var seeds [][2]byte
	for l := range layersPerImage {
		seeds = append(seeds, [2]byte{byte(n), byte(l)})
	}
	return layeredImage(seeds, layerBytes)
}

// layeredImage is an image of gzip layers, each a tar of one file of layerBytes that its seed determines. The layers
// are made while they are read, once.
func layeredImage(seeds [][2]byte, layerBytes int64) (v1.Image, error) {
	image, err := mutate.ConfigFile(empty.Image, &v1.ConfigFile{OS: "linux", Architecture: runtime.GOARCH})
	if err != nil {
		return nil, err
	}
	for _, seed := range seeds {
		content := syntheticLayer(seed[0], seed[1], layerBytes)
		layer := stream.NewLayer(content, stream.WithCompressionLevel(gzip.HuffmanOnly))
		if image, err = mutate.AppendLayers(image, layer); err != nil {
			return nil, err
		}
	}
	return image, nil
}

// syntheticLayer is the tar of a layer.
func syntheticLayer(image, layer byte, size int64) io.ReadCloser {
	r, w := io.Pipe()
	go func() {
		archive := tar.NewWriter(w)
		err := archive.WriteHeader(&tar.Header{
			Typeflag: tar.TypeReg, Name: fmt.Sprintf("opt/content-%d-%d", image, layer), Mode: 0o644, Size: size,
		})
		if err == nil {
			_, err = io.CopyN(archive, rand.NewChaCha8([32]byte{image, layer}), size)
		}
		w.CloseWithError(errors.Join(err, archive.Close()))
	}()
	return r
}
