package bundle

import (
	"fmt"
	"strings"
	"testing"

	digest "github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Two images that share a layer, one of them under two names, and a third whose manifest a delta leaves out.
func TestImageSizes(t *testing.T) {
	d := func(letter string) string { return "sha256:" + strings.Repeat(letter, 64) }
	m := &Manifest{}
	for letter, entry := range map[string]Entry{
		"a": {Size: 1000, Role: RoleIndex}, "b": {Size: 200, Role: RoleManifest}, "c": {Size: 300, Role: RoleManifest}, "f": {Size: 400, Role: RoleManifest, Omitted: true},
		"1": {Size: 10, Role: RoleConfig}, "2": {Size: 20, Role: RoleConfig},
		"3": {Size: 5e6, Role: RoleLayer, Omitted: true}, "4": {Size: 7e6, Role: RoleLayer},
	} {
		entry.SHA256 = strings.Repeat(letter, 64)
		entry.Path = "blobs/sha256/" + entry.SHA256
		m.Entries = append(m.Entries, entry)
	}
	image := func(reference, root, manifest string) Image {
		return Image{Reference: reference, Digest: d(root), Platforms: []ImagePlatform{{"linux/amd64", d(manifest)}}}
	}
	m.Images = []Image{image("a:1", "a", "b"), image("a:2", "a", "b"), image("b:1", "c", "c"), image("c:1", "f", "f")}
	manifest := func(config string, layers ...string) *ocispec.Manifest {
		out := &ocispec.Manifest{Config: ocispec.Descriptor{Digest: digest.Digest(d(config))}}
		for _, layer := range layers {
			out.Layers = append(out.Layers, ocispec.Descriptor{Digest: digest.Digest(d(layer))})
		}
		return out
	}
	got := imageSizes(m, map[string]*ocispec.Manifest{d("b"): manifest("1", "3", "4", "3"), d("c"): manifest("2", "4")})
	want := []ImageSize{
		{Reference: "a:1", Layers: 2, Bytes: 1000 + 200 + 10 + 12e6, SharedBytes: 7e6, OmittedBytes: 5e6},
		{Reference: "a:2", Layers: 2, Bytes: 1000 + 200 + 10 + 12e6, SharedBytes: 7e6, OmittedBytes: 5e6},
		{Reference: "b:1", Layers: 1, Bytes: 300 + 20 + 7e6, SharedBytes: 7e6},
		{Reference: "c:1", Bytes: 400, OmittedBytes: 400, Unknown: true},
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got\n%+v\nwant\n%+v", got, want)
	}
}
