package bundle

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/images/archive"
	"github.com/containerd/containerd/v2/plugins/content/local"
	"github.com/containerd/platforms"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"airgap/signing"
)

// TestSkopeoReads finds each image of a signed bundle by its reference, as docs/format.md shows.
func TestSkopeoReads(t *testing.T) {
	skopeo, err := exec.LookPath("skopeo")
	if err != nil {
		t.Fatal("this test needs Debian's skopeo: apt-get install skopeo")
	}
	key, _ := signer(t, siteKey)
	content := testContent(t, 10)
	opts := CreateOptions{Signers: []*signing.PrivateKey{key}}
	tar := create(t, content, opts)
	folder := create(t, content, CreateOptions{Directory: true})
	for _, image := range content.Manifest.Images {
		for _, source := range []string{"oci-archive:" + tar, "oci:" + folder} {
			command := exec.Command(skopeo, "inspect", "--override-arch=amd64", source+":"+image.Reference)
			command.Env = append(os.Environ(), "TMPDIR="+t.TempDir())
			out, err := command.Output()
			if err != nil {
				t.Errorf("%v: %v\n%s", command, err, err.(*exec.ExitError).Stderr)
				continue
			}
			var found struct {
				Layers []string
			}
			if err := json.Unmarshal(out, &found); err != nil || len(found.Layers) == 0 {
				t.Errorf("%v: %v, layers %v", command, err, found.Layers)
			}
		}
	}
}

// TestContainerdImports runs what ctr image import runs, in process: ImportIndex, then the walk of
// client.Import, which fails on a descriptor that it cannot follow.
func TestContainerdImports(t *testing.T) {
	ctx := context.Background()
	content := testContent(t, 10)
	file, err := os.Open(create(t, content, CreateOptions{}))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	store, err := local.NewStore(filepath.Join(t.TempDir(), "content"))
	if err != nil {
		t.Fatal(err)
	}
	index, err := archive.ImportIndex(ctx, store, file)
	if err != nil {
		t.Fatal(err)
	}
	var names, unpackable []string
	var handler images.HandlerFunc = func(ctx context.Context, d ocispec.Descriptor) ([]ocispec.Descriptor, error) {
		if name := d.Annotations[images.AnnotationImageName]; name != "" {
			names = append(names, name)
		}
		if images.IsConfigType(d.MediaType) {
			unpackable = append(unpackable, d.Digest.String())
		}
		return images.Children(ctx, store, d)
	}
	amd64 := platforms.OnlyStrict(platforms.MustParse("linux/amd64"))
	if err := images.WalkNotEmpty(ctx, images.FilterPlatforms(handler, amd64), index); err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, image := range content.Manifest.Images {
		want = append(want, image.Reference)
	}
	slices.Sort(want)
	slices.Sort(names)
	if !slices.Equal(names, want) {
		t.Errorf("images %v, want %v: artifacts must have no name", names, want)
	}
	if len(unpackable) != len(want) {
		t.Errorf("%d configs that would be unpacked, want one for each of %d images", len(unpackable), len(want))
	}
	for _, image := range content.Manifest.Images {
		target := ocispec.Descriptor{MediaType: image.MediaType, Digest: descriptorOf("", Blob{Digest: image.Digest}).Digest, Size: image.Size}
		if available, _, _, missing, err := images.Check(ctx, store, target, amd64); err != nil || !available || len(missing) > 0 {
			t.Errorf("%s: available %v, missing %v, %v", image.Reference, available, missing, err)
		}
	}
}
