package source

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"airgap/bundle"
	"airgap/signing"
)

// image makes an image whose layers hold the given texts.
func image(t *testing.T, platform string, layers ...string) v1.Image {
	t.Helper()
	base := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	for _, text := range layers {
		base = must(mutate.AppendLayers(base, static.NewLayer(tarOf(t, map[string]string{"text": text}), types.OCIUncompressedLayer)))(t)
	}
	config := must(base.ConfigFile())(t).DeepCopy()
	config.OS, config.Architecture, _ = strings.Cut(platform, "/")
	return must(mutate.ConfigFile(base, config))(t)
}

// index makes an image of a platform each, and an attestation as BuildKit adds one.
func index(t *testing.T, platforms ...string) v1.ImageIndex {
	t.Helper()
	out := v1.ImageIndex(mutate.IndexMediaType(empty.Index, types.OCIImageIndex))
	for _, platform := range append(platforms, "unknown/unknown") {
		operatingSystem, architecture, _ := strings.Cut(platform, "/")
		out = mutate.AppendManifests(out, mutate.IndexAddendum{
			Add:        image(t, platform, "shared", "of "+platform),
			Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: operatingSystem, Architecture: architecture}},
		})
	}
	return out
}

// newRegistry serves an empty registry on loopback and returns its host:port.
func newRegistry(t *testing.T) string {
	t.Helper()
	return newRegistryOf(t, false)
}

// push puts an image or index into a registry and returns its digest.
func push(t *testing.T, reference string, what remote.Taggable) string {
	t.Helper()
	ref := must(name.ParseReference(reference))(t)
	var err error
	switch what := what.(type) {
	case v1.Image:
		err = remote.Write(ref, what)
	case v1.ImageIndex:
		err = remote.WriteIndex(ref, what)
	}
	if err != nil {
		t.Fatal(err)
	}
	return must(remote.Head(ref))(t).Digest.String()
}

// tarOf makes a tar of files in the order of their names.
func tarOf(t *testing.T, files map[string]string) []byte {
	t.Helper()
	var out bytes.Buffer
	writer := tar.NewWriter(&out)
	anyFiles := map[string]any{}
	for file := range files {
		anyFiles[file] = nil
	}
	for _, file := range sortedKeys(anyFiles) {
		if err := writer.WriteHeader(&tar.Header{Name: file, Mode: 0o644, Size: int64(len(files[file]))}); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(writer, files[file]); err != nil {
			t.Fatal(err)
		}
	}
	if err := writer.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// write puts files into a folder of the test and returns it.
func write(t *testing.T, files map[string]string) string {
	t.Helper()
	folder := t.TempDir()
	for name, text := range files {
		path := filepath.Join(folder, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return folder
}

// load reads an airgap.yaml of which only spec is given.
func load(t *testing.T, folder, spec string) *Spec {
	t.Helper()
	text := "apiVersion: airgap/v1\nkind: Bundle\nmetadata: {name: test, version: 1.0.0}\nspec:\n  from: []\n  platforms: [linux/amd64]\n" + spec
	return must(Parse(filepath.Join(folder, "airgap.yaml"), []byte(text)))(t)
}

// options are those of a test: the clock stands.
func options() Options {
	return Options{
		Now:           func() time.Time { return time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC) },
		AirgapVersion: "1.0.0", KubernetesVersion: "v1.37.1",
	}
}

// gather gathers and, to see that every blob is there and true, writes the bundle.
func gather(t *testing.T, spec *Spec, o Options) (*Gathered, *bundle.Manifest, error) {
	t.Helper()
	gathered, err := Gather(context.Background(), spec, o)
	if err != nil {
		return nil, nil, err
	}
	t.Cleanup(func() { gathered.Close() })
	manifest, err := bundle.Create(context.Background(), filepath.Join(t.TempDir(), "out.airgap"), gathered.Content, bundle.CreateOptions{})
	return gathered, manifest, err
}

// testKey is a signing key made for the test.
func testKey(t *testing.T) *signing.PrivateKey {
	t.Helper()
	private, _, err := signing.GenerateKey([]byte("x"))
	if err != nil {
		t.Fatal(err)
	}
	return must(signing.ParsePrivateKey(private, []byte("x")))(t)
}

// references are those of a manifest's images, a line each.
func references(m *bundle.Manifest) string {
	var out strings.Builder
	for _, image := range m.Images {
		fmt.Fprintln(&out, image.Reference)
	}
	return out.String()
}

func sum(data []byte) string {
	s := sha256.Sum256(data)
	return hex.EncodeToString(s[:])
}

// must makes a value of a value and an error that fails the test.
func must[T any](value T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
}
