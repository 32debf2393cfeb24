package interop

import (
	"context"
	"errors"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/core/metadata"
	"github.com/containerd/containerd/v2/plugins/content/local"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	bolt "go.etcd.io/bbolt"

	"airgap/bundle"
	"airgap/bundle/source"
	store "airgap/registry"
	"airgap/registry/distribution"
)

// TestCosignSignsImages has stock cosign sign images in a registry, each way it can, and requires these signatures of a bundle. What the
// bundle brings into a node's store is then served as a node does, and verified there by the same cosign.
func TestCosignSignsImages(t *testing.T) { withEach(t, testCosignSignsImages) }

func testCosignSignsImages(t *testing.T, c stock) {
	if !c.run(t, "generate-key-pair", "--output-key-prefix", "other") {
		t.Fatal("cosign makes no key")
	}
	formats := map[string][]string{"attached": {"--new-bundle-format=false"}, "bundled": {"--new-bundle-format=true"}}
	for format, flags := range formats {
		for _, referrers := range []bool{false, true} {
			t.Run(format, func(t *testing.T) {
				server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0)), registry.WithReferrersSupport(referrers)))
				defer server.Close()
				host := strings.TrimPrefix(server.URL, "http://")
				pushRandom(t, host+"/team/app:1")
				pushRandom(t, host+"/team/bare:1")
				sign := append([]string{"sign", "--key", "site.key", "--use-signing-config=false", "--tlog-upload=false", "--yes"}, flags...)
				if !c.run(t, append(sign, host+"/team/app:1")...) {
					t.Fatal("cosign does not sign")
				}
				if _, err := gatherSigned(t, c, host, "app", "other.pub"); !errors.Is(err, source.ErrNotSigned) {
					t.Errorf("by another key: %v", err)
				}
				if _, err := gatherSigned(t, c, host, "bare", "site.pub"); !errors.Is(err, source.ErrNotSigned) {
					t.Errorf("an image that is not signed: %v", err)
				}
				gathered, err := gatherSigned(t, c, host, "app", "site.pub")
				if err != nil {
					t.Fatal(err)
				}
				defer gathered.Close()
				if len(gathered.Content.Manifest.Referrers) != 1 {
					t.Errorf("referrers %+v", gathered.Content.Manifest.Referrers)
				}
				node := serveAsNode(t, gathered)
				verify := append([]string{"verify", "--insecure-ignore-tlog"}, flags...)
				if !c.three {
					// 2.6 asks for a trusted root with bundles, though a key needs none.
					c.run(t, "trusted-root", "create", "--out", "root.json")
					if format == "bundled" {
						verify = append(verify, "--trusted-root", "root.json")
					}
				}
				if !c.run(t, append(verify, "--key", "site.pub", node+"/site.example/app:1")...) {
					t.Error("cosign does not find the signature at the node")
				}
				if c.run(t, append(verify, "--key", "other.pub", node+"/site.example/app:1")...) {
					t.Error("cosign takes another key's")
				}
			})
		}
	}
}

// pushRandom pushes an image for linux/amd64.
func pushRandom(t *testing.T, reference string) {
	t.Helper()
	ref, err := name.ParseReference(reference)
	if err != nil {
		t.Fatal(err)
	}
	image, err := random.Image(1000, 1)
	if err == nil {
		image, err = mutate.ConfigFile(image, platformed(t, image))
	}
	if err == nil {
		err = remote.Write(ref, image)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func platformed(t *testing.T, image v1.Image) *v1.ConfigFile {
	t.Helper()
	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	config = config.DeepCopy()
	config.OS, config.Architecture = "linux", "amd64"
	return config
}

// gatherSigned gathers an image, which is to be called site.example/app:1, and requires it to be signed by key.
func gatherSigned(t *testing.T, c stock, host, image, key string) (*source.Gathered, error) {
	t.Helper()
	file := c.file("airgap.yaml")
	err := os.WriteFile(file, []byte(`apiVersion: airgap/v1
kind: Bundle
metadata: {name: signed, version: 1.0.0}
spec:
  from: []
  platforms: [linux/amd64]
  images: [{source: "`+host+`/team/`+image+`:1", name: "site.example/app:1"}]
  verifyImages: [{images: ["site.example/*"], keys: [`+key+`]}]
`), 0o644)
	if err != nil {
		t.Fatal(err)
	}
	spec, err := source.Load(file)
	if err != nil {
		t.Fatal(err)
	}
	return source.Gather(context.Background(), spec, source.Options{})
}

// serveAsNode brings what was gathered through a bundle into a store as a node has it, and serves that. It returns host:port.
func serveAsNode(t *testing.T, gathered *source.Gathered) string {
	t.Helper()
	ctx, root := context.Background(), t.TempDir()
	path := filepath.Join(root, "signed.airgap")
	if _, err := bundle.Create(ctx, path, gathered.Content, bundle.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	reader, err := bundle.Open(path, bundle.AllowUnsigned{})
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	s, err := store.OpenStore(root)
	if err != nil {
		t.Fatal(err)
	}
	options := store.ImportOptions{Lease: "signed", Platform: "linux/amd64"}
	add := func(reference, mediaType, of string, size int64) {
		options.Images = append(options.Images, store.ImportImage{
			Names: []string{reference}, Target: ocispec.Descriptor{MediaType: mediaType, Digest: digest.Digest(of), Size: size},
		})
	}
	for _, image := range reader.Manifest().Images {
		add(image.Reference, image.MediaType, image.Digest, image.Size)
		for _, r := range reader.Manifest().ReferrersOf(image) {
			add(r.Reference, r.MediaType, r.Digest, r.Size)
		}
	}
	importing, err := s.Import(ctx, options)
	if err != nil {
		t.Fatal(err)
	}
	for {
		entry, contents, err := reader.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil && entry.Role != bundle.RoleLayout {
			err = importing.Blob(ctx, entry.Digest(), entry.Size, contents)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(importing.Commit(ctx), s.Close()); err != nil {
		t.Fatal(err)
	}
	blobs, err := local.NewStore(filepath.Join(root, "io.containerd.content.v1.content"))
	if err != nil {
		t.Fatal(err)
	}
	database, err := bolt.Open(filepath.Join(root, "io.containerd.metadata.v1.bolt", "meta.db"), 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { database.Close() })
	held := metadata.NewDB(database, blobs, nil)
	if err := held.Init(ctx); err != nil {
		t.Fatal(err)
	}
	node := httptest.NewServer(distribution.Handler{Content: distribution.Content{Images: metadata.NewImageStore(held), Blobs: held.ContentStore()}})
	t.Cleanup(node.Close)
	return strings.TrimPrefix(node.URL, "http://")
}
