package bundle

import (
	"slices"
	"strings"
	"testing"
)

func described(t *testing.T, c Content) Described {
	t.Helper()
	r, err := Open(create(t, c, CreateOptions{}), AllowUnsigned{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	d, err := Describe(r)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestCompare(t *testing.T) {
	old := testContent(t, 100)
	a := described(t, old)
	if c := Compare(a, described(t, testContent(t, 100))); !c.Same || len(c.Differences)+len(c.Removed)+len(c.Added) > 0 {
		t.Errorf("two of the same: %+v", c)
	}

	next := old
	next.Manifest.Version = "1.5.0"
	next.Manifest.Files = nil
	next.Manifest.Images = slices.Clone(old.Manifest.Images)
	base, top := newLayer(t, "base", nil), newLayer(t, "another top", []byte("new"))
	for _, b := range old.Blobs {
		if b.Role == RoleLayer {
			base.blob = b // of images a and b
			break
		}
	}
	image := imageManifest(t, "amd64", base, top)
	c := &next.Manifest.Images[0] // docker.io/library/c:1, which had the base layer alone
	c.Digest, c.Size, c.Platforms = image[0].Digest, image[0].Size, []ImagePlatform{{"linux/amd64", image[0].Digest}}
	file, layer := old.Manifest.Files[0].Artifact, old.Manifest.Files[0].Digest
	next.Blobs = append(slices.DeleteFunc(slices.Clone(old.Blobs), func(b Blob) bool { return b.Digest == file || b.Digest == layer }), image...)

	got := Compare(a, described(t, next))
	var told []string
	for _, d := range got.Differences {
		told = append(told, d.What+": "+d.From+" → "+d.To+"; "+strings.Join(d.Why, "; "))
	}
	for _, want := range []string{
		"version: 1.4.0 → 1.5.0",
		"file /etc/site.conf: 0644 " + layer + " → ;",
		"→ " + image[0].Digest + "; linux/amd64: the first 1 of 1 layers stayed the same, now there are 2; linux/amd64: layer 2 is " + top.blob.Digest,
	} {
		if !slices.ContainsFunc(told, func(s string) bool { return strings.Contains(s, want) }) {
			t.Errorf("no %q in\n%s", want, strings.Join(told, "\n"))
		}
	}
	if len(told) != 3 {
		t.Errorf("%d differences:\n%s", len(told), strings.Join(told, "\n"))
	}
	if !slices.ContainsFunc(got.Added, func(e Entry) bool { return e.Digest() == top.blob.Digest }) ||
		!slices.ContainsFunc(got.Removed, func(e Entry) bool { return e.Digest() == layer }) || got.Shared == 0 {
		t.Errorf("added %+v, removed %+v, %d shared", got.Added, got.Removed, got.Shared)
	}
}
