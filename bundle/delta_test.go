package bundle

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"airgap/signing"
)

// memoryBase has blobs by their digest.
type memoryBase map[string][]byte

func (b memoryBase) Has(e Entry) bool { return int64(len(b[e.Digest()])) == e.Size }

func (b memoryBase) Open(e Entry) (io.ReadCloser, error) {
	return io.NopCloser(bytes.NewReader(b[e.Digest()])), nil
}

// baseOf has the blobs of a content.
func baseOf(t testing.TB, c Content) memoryBase {
	t.Helper()
	base := memoryBase{}
	for _, b := range c.Blobs {
		r, err := b.Open(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		if base[b.Digest], err = io.ReadAll(r); err != nil {
			t.Fatal(err)
		}
	}
	return base
}

// upgraded is testContent with another top layer in image a: a new manifest and config there, an index that names them.
func upgraded(t testing.TB, layerBytes int) (c Content, newLayerBytes int64) {
	t.Helper()
	c = testContent(t, layerBytes)
	c.Manifest.Version = "1.5.0"
	top := newLayer(t, "new top", bytes.Repeat([]byte("new"), layerBytes/3))
	base := newLayer(t, "base", nil)
	for _, b := range c.Blobs { // the base layer is the one that image a and image b share
		if b.Role == RoleLayer {
			base.blob = b
			break
		}
	}
	image := imageManifest(t, "amd64", base, top)
	c.Blobs = append(c.Blobs, image...)
	c.Manifest.Images = append(slices.Clone(c.Manifest.Images), Image{
		Reference: "docker.io/library/d:1", Digest: image[0].Digest, MediaType: "application/vnd.oci.image.manifest.v1+json", Size: image[0].Size,
		Platforms: []ImagePlatform{{"linux/amd64", image[0].Digest}},
	})
	return c, top.blob.Size
}

// since is the inventory of a site that has installed content.
func since(t testing.TB, c Content) *Inventory {
	t.Helper()
	r, err := Open(create(t, c, CreateOptions{}), AllowUnsigned{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	inventory, err := InventoryOf(r.Manifest())
	if err != nil {
		t.Fatal(err)
	}
	return inventory
}

func TestDelta(t *testing.T) {
	const mostOverhead = 64 << 10
	key, policy := signer(t, siteKey)
	opts := CreateOptions{Signers: []*signing.PrivateKey{key}}
	old := testContent(t, largeLayer)
	whole, newBytes := upgraded(t, largeLayer)
	want, err := Open(create(t, whole, opts), policy)
	if err != nil {
		t.Fatal(err)
	}
	defer want.Close()
	wanted, err := readAll(want)
	if err != nil {
		t.Fatal(err)
	}
	delta := whole
	delta.Since = since(t, old)
	for _, form := range []string{"delta.airgap", "delta/"} {
		t.Run(form, func(t *testing.T) {
			path := t.TempDir() + "/" + form
			if _, err := Create(t.Context(), path, delta, opts); err != nil {
				t.Fatal(err)
			}
			if info, err := os.Stat(path); err != nil || !info.IsDir() && info.Size() > newBytes+mostOverhead {
				t.Errorf("%d bytes for a layer of %d, %v", info.Size(), newBytes, err)
			}
			m, _, err := Verify(t.Context(), path, policy, nil)
			if err != nil {
				t.Fatalf("by itself: %v", err)
			}
			if len(m.Base) != 1 || m.Base[0].Name != "site-a" || m.Base[0].Version != "1.4.0" || m.Base[0] != delta.Since.Bundles[0] {
				t.Errorf("base %+v", m.Base)
			}
			alone, err := Open(path, policy)
			if err != nil {
				t.Fatal(err)
			}
			defer alone.Close()
			carried, err := readAll(alone)
			if err != nil || len(carried) != len(m.Carried()) || len(carried)+len(m.Omitted()) != len(m.Entries) {
				t.Errorf("%d entries of %d came, %v", len(carried), len(m.Carried()), err)
			}
			supplied, err := Open(path, policy)
			if err != nil {
				t.Fatal(err)
			}
			defer supplied.Close()
			if err := supplied.Supply(baseOf(t, old)); err != nil {
				t.Fatal(err)
			}
			got, err := readAll(supplied)
			if err != nil {
				t.Fatal(err)
			}
			if len(got) != len(wanted) {
				t.Errorf("%d entries with the base, the whole bundle has %d", len(got), len(wanted))
			}
			for name, data := range wanted {
				if !bytes.Equal(got[name], data) {
					t.Errorf("%s differs from the whole bundle's", name)
				}
			}
		})
	}
}

func TestDeltaWithoutItsBase(t *testing.T) {
	old := testContent(t, largeLayer)
	delta, _ := upgraded(t, largeLayer)
	delta.Since = since(t, old)
	path := create(t, delta, CreateOptions{})
	open := func() *Reader {
		r, err := Open(path, AllowUnsigned{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { r.Close() })
		return r
	}
	var layer Blob
	for _, b := range old.Blobs {
		if b.Role == RoleLayer {
			layer = b
		}
	}

	lacking := baseOf(t, old)
	delete(lacking, layer.Digest)
	err := open().Supply(lacking)
	var missing *MissingBaseError
	if !errors.As(err, &missing) || len(missing.Missing) != 1 || missing.Missing[0].Digest() != layer.Digest {
		t.Fatalf("got %v", err)
	}
	for _, part := range []string{"delta on site-a 1.4.0", layer.Digest[len(digestPrefix):]} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q does not say %q", err, part)
		}
	}

	rotten := baseOf(t, old)
	rotten[layer.Digest] = bytes.Clone(rotten[layer.Digest])
	rotten[layer.Digest][largeLayer/2] ^= 1
	r := open()
	if err := r.Supply(rotten); err != nil {
		t.Fatal(err)
	}
	if _, err := readAll(r); !errors.Is(err, ErrDigest) || !strings.Contains(err.Error(), "whole bundle") {
		t.Errorf("a base that rotted: %v", err)
	}
}

// TestDeltaCarriesWhatLeadsToTheNew wants an index that the site has to be carried while something below it is.
func TestDeltaCarriesWhatLeadsToTheNew(t *testing.T) {
	c := testContent(t, 100)
	all := since(t, c)
	imageA := c.Manifest.Images[1]
	var platform []byte
	for digest, data := range baseOf(t, c) {
		if digest == imageA.Platforms[0].Digest {
			platform = data
		}
	}
	if platform == nil {
		t.Fatal("image a has no manifest")
	}
	all.Blobs = slices.DeleteFunc(all.Blobs, func(b HeldBlob) bool { return b.Digest == imageA.Platforms[0].Digest })
	c.Since = all
	path := create(t, c, CreateOptions{})
	m, _, err := Verify(t.Context(), path, AllowUnsigned{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	var roles []Role
	for _, e := range m.Carried() {
		roles = append(roles, e.Role)
	}
	if want := []Role{RoleLayout, RoleLayout, RoleIndex, RoleManifest}; !slices.Equal(roles, want) {
		t.Errorf("carried %v, want %v", roles, want)
	}
}

func TestDeltaOfNothingInCommon(t *testing.T) {
	c := tinyContent(t)
	whole := mustRead(t, create(t, c, CreateOptions{}))
	c.Since = since(t, testContent(t, 10))
	if delta := mustRead(t, create(t, c, CreateOptions{})); !bytes.Equal(delta, whole) {
		t.Error("it is not the whole bundle")
	}
}

func TestInventory(t *testing.T) {
	want := since(t, testContent(t, 10))
	got, err := ReadInventory(bytes.NewReader(mustJSON(t, want)))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(mustJSON(t, got), mustJSON(t, want)) {
		t.Errorf("%+v came back as %+v", want, got)
	}
	for _, bad := range []string{"", "{}", "[]", `{"apiVersion":"airgap/v1","kind":"Inventory","bundles":[],"blobs":[]}`, `{"apiVersion":"airgap/v1","kind":"Inventory","more":1}`} {
		if _, err := ReadInventory(strings.NewReader(bad)); err == nil {
			t.Errorf("%q was read", bad)
		}
	}
}

// TestDeltaWeight holds what a delta costs beside what it carries: the table of decision 40.
func TestDeltaWeight(t *testing.T) {
	key, _ := signer(t, siteKey)
	const layers = 5
	for _, images := range []int{1, 12, 40} {
		version := func(name, changed string) (Content, int64) {
			c := Content{Manifest: Manifest{Name: "site", Version: name, Platforms: []string{"linux/amd64"}, IssuedAt: "2026-11-22T09:00:00Z"}}
			var last layer
			for i := range images {
				var stack []layer
				for j := range layers {
					content := fmt.Sprintf("image %d layer %d", i, j)
					if i == 0 && j == layers-1 {
						content += changed
					}
					stack = append(stack, newLayer(t, "f", []byte(content)))
				}
				image := imageManifest(t, "amd64", stack...)
				c.Blobs = append(c.Blobs, image...)
				c.Manifest.Images = append(c.Manifest.Images, Image{
					Reference: fmt.Sprintf("registry.example/team/application-%d:1.29.3", i), Digest: image[0].Digest, MediaType: ocispec.MediaTypeImageManifest, Size: image[0].Size,
					Platforms: []ImagePlatform{{"linux/amd64", image[0].Digest}},
				})
				if i == 0 {
					last = stack[layers-1]
				}
			}
			return c, last.blob.Size
		}
		before, _ := version("1.0.0", "")
		after, layerBytes := version("1.1.0", " changed")
		after.Since = since(t, before)
		path := create(t, after, CreateOptions{Signers: []*signing.PrivateKey{key}})
		r, err := Open(path, AllowUnsigned{})
		if err != nil {
			t.Fatal(err)
		}
		omitted, _ := len(r.Manifest().Omitted()), r.Close()
		beyond := int64(len(mustRead(t, path))) - layerBytes
		t.Logf("%d images, %d blobs left out: %d bytes beyond the layer", images, omitted, beyond)
		if most := int64(12<<10 + omitted*220 + images*900); beyond > most {
			t.Errorf("%d images: %d bytes beyond the layer, want at most %d", images, beyond, most)
		}
	}
}
