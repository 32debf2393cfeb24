package registry

import (
	"context"
	"errors"
	"slices"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

func TestPin(t *testing.T) {
	s := openTestStore(t, t.TempDir())
	b := newBlobs()
	first, second := b.image("amd64", b.layer(gzipped, file("a", "1"))), b.image("amd64", b.layer(gzipped, file("b", "2")))
	o := testImages("l", map[string]ocispec.Descriptor{"first:1": first, "second:1": second})
	for n := range o.Images {
		o.Images[n].Labels = nil
	}
	importAll(t, s, b, o)
	missing, err := s.Pin(context.Background(), []string{"first:1", "other:1"})
	if err != nil || !slices.Equal(missing, []string{"other:1"}) {
		t.Errorf("missing %v, %v; want other:1", missing, err)
	}
	list, err := s.Images(context.Background())
	if err != nil || len(list) != 6 {
		t.Fatalf("%d images, %v; want 6", len(list), err)
	}
	for _, image := range list {
		if got, want := image.Labels[LabelPinned] == Pinned, image.Target.Digest == first.Digest; got != want {
			t.Errorf("%s pinned: %v, want %v", image.Name, got, want)
		}
		if image.Labels[LabelManaged] != Managed {
			t.Errorf("%s lost its label: %v", image.Name, image.Labels)
		}
	}
}

func TestRemoveImages(t *testing.T) {
	s := openTestStore(t, t.TempDir())
	b := newBlobs()
	shared, own := b.layer(gzipped, file("a", "1")), b.layer(gzipped, file("b", "2"))
	first, second := b.image("amd64", shared, own), b.image("amd64", shared)
	o := testImages("l", map[string]ocispec.Descriptor{"first:1": first, "second:1": second})
	o.Images = append(o.Images, ImportImage{Names: []string{"first:alias", "mirror.site/first:1"}, Target: first})
	importAll(t, s, b, o)
	ctx := context.Background()
	remove := func(name string, left int) {
		t.Helper()
		if err := s.RemoveImages(ctx, name); err != nil {
			t.Fatal(err)
		}
		if names := checkWhole(t, s); len(names) != left {
			t.Errorf("after the removal of %s: %v, want %d names", name, names, left)
		}
	}
	remove("first:1", 3+5)     // the digest reference and ID stay, for the other tags
	remove("first:alias", 3+3) // the digest reference on docker.io goes with its last tag
	remove("never:there", 3+3)
	remove("mirror.site/first:1", 3)
	if _, _, err := s.OpenBlob(ctx, own.desc.Digest.String()); !errors.Is(err, ErrNotFound) {
		t.Errorf("the layer of the removed image: %v, want ErrNotFound", err)
	}
	if got, want := contents(t, s), (stored{blobs: 3, snapshots: 1, folders: 1}); got != want {
		t.Errorf("the store has %+v, want %+v", got, want)
	}
	remove("second:1", 0)
	if got := contents(t, s); got != (stored{}) {
		t.Errorf("the store has %+v, want nothing", got)
	}
}

func TestReadBlob(t *testing.T) {
	s := openTestStore(t, t.TempDir())
	b := newBlobs()
	target := b.image("amd64", b.layer(gzipped, file("a", "1")))
	importAll(t, s, b, testImages("l", map[string]ocispec.Descriptor{"x:1": target}))
	if data, err := s.ReadBlob(context.Background(), target.Digest.String()); err != nil || string(data) != string(b.data[target.Digest]) {
		t.Errorf("%q, %v", data, err)
	}
	for _, bad := range []string{"", "sha256:12", "sha512:" + target.Digest.Encoded(), "../../etc/passwd"} {
		if _, err := s.ReadBlob(context.Background(), bad); err == nil {
			t.Errorf("%q was read", bad)
		}
	}
}
