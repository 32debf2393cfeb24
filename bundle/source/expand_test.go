package source

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/klauspost/compress/zstd"

	"airgap/bundle"
)

// child is an image of an index and what the index says of it.
type child struct {
	image    v1.Image
	platform string // "" says nothing
	mark     string // of an attestation
}

func indexOf(children ...child) v1.ImageIndex {
	out := v1.ImageIndex(mutate.IndexMediaType(empty.Index, types.OCIImageIndex))
	for _, c := range children {
		var descriptor v1.Descriptor
		if c.platform != "" {
			descriptor.Platform, _ = v1.ParsePlatform(c.platform)
		}
		if c.mark != "" {
			descriptor.Annotations = map[string]string{attestationMark: c.mark}
		}
		out = mutate.AppendManifests(out, mutate.IndexAddendum{Add: c.image, Descriptor: descriptor})
	}
	return out
}

// layered makes an image of layers as they are.
func layered(t *testing.T, layers ...v1.Layer) v1.Image {
	t.Helper()
	return must(mutate.AppendLayers(image(t, "linux/amd64"), layers...))(t)
}

func digestText(t *testing.T, image v1.Image) string {
	t.Helper()
	return must(image.Digest())(t).String()
}

// Which image of an index a machine gets, as containerd would pick it.
func TestPlatformOfAnIndex(t *testing.T) {
	v5, v6, v7 := image(t, "linux/arm", "v5"), image(t, "linux/arm", "v6"), image(t, "linux/arm", "v7")
	amd64, arm64 := image(t, "linux/amd64", "amd64"), image(t, "linux/arm64", "arm64")
	host := newRegistry(t)
	for _, test := range []struct {
		name, wanted string
		index        v1.ImageIndex
		want         v1.Image
		failure      string
	}{
		{"its own variant", "linux/arm/v7", indexOf(child{v6, "linux/arm/v6", ""}, child{v7, "linux/arm/v7", ""}), v7, ""},
		{"the next lower variant", "linux/arm/v7", indexOf(child{v5, "linux/arm/v5", ""}, child{v6, "linux/arm/v6", ""}), v6, ""},
		{"no higher variant", "linux/arm/v6", indexOf(child{v7, "linux/arm/v7", ""}), nil, "has no image for linux/arm/v6; it has linux/arm/v7"},
		{"no other architecture", "linux/arm64", indexOf(child{v7, "linux/arm/v7", ""}), nil, "has no image for linux/arm64; it has linux/arm/v7"},
		{"arm64 in full", "linux/arm64", indexOf(child{arm64, "linux/arm64/v8", ""}), arm64, ""},
		{"the first of two", "linux/amd64", indexOf(child{amd64, "linux/amd64", ""}, child{layered(t), "linux/amd64", ""}), amd64, ""},
		{"unmarked: its config tells", "linux/amd64", indexOf(child{arm64, "", ""}, child{amd64, "", ""}), amd64, ""},
		{"attestations", "linux/amd64", indexOf(child{layered(t), "unknown/unknown", ""}, child{layered(t), "", "attestation-manifest"}, child{amd64, "linux/amd64", ""}), amd64, ""},
		{"nothing but attestations", "linux/amd64", indexOf(child{amd64, "unknown/unknown", ""}), nil, "has no container image: its index lists none"},
		{"a wrong label", "linux/arm64", indexOf(child{amd64, "linux/arm64", ""}), nil, "its index says that it is for linux/arm64, its own config linux/amd64"},
	} {
		t.Run(test.name, func(t *testing.T) {
			reference := host + "/" + strings.ReplaceAll(strings.ReplaceAll(strings.ToLower(test.name), " ", "-"), ":", "") + ":1"
			root := push(t, reference, test.index)
			o := options()
			o.Platforms = []string{test.wanted}
			_, m, err := gather(t, load(t, t.TempDir(), "  images: ["+reference+"]\n"), o)
			if test.failure != "" {
				if err == nil || !strings.Contains(err.Error(), test.failure) {
					t.Errorf("got %v\nwant %s", err, test.failure)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			got := m.Images[0]
			want := bundle.ImagePlatform{Platform: test.wanted, Digest: digestText(t, test.want)}
			if got.Digest != root || fmt.Sprint(got.Platforms) != fmt.Sprint([]bundle.ImagePlatform{want}) {
				t.Errorf("got %s %v\nwant %s %v", got.Digest, got.Platforms, root, want)
			}
		})
	}
}

// A part of an index is carried without what leads to the rest.
func TestNestedIndex(t *testing.T) {
	host := newRegistry(t)
	inner := func(platform string) v1.ImageIndex { return indexOf(child{image(t, platform, platform), platform, ""}) }
	outer := v1.ImageIndex(mutate.IndexMediaType(empty.Index, types.OCIImageIndex))
	for _, platform := range []string{"linux/amd64", "linux/s390x"} {
		outer = mutate.AppendManifests(outer, mutate.IndexAddendum{Add: inner(platform)})
	}
	push(t, host+"/nested:1", outer)
	_, m, err := gather(t, load(t, t.TempDir(), "  images: ["+host+"/nested:1]\n"), options())
	if err != nil {
		t.Fatal(err)
	}
	roles := map[bundle.Role]int{}
	for _, entry := range m.Entries {
		roles[entry.Role]++
	}
	if roles[bundle.RoleIndex] != 2 || roles[bundle.RoleManifest] != 1 || roles[bundle.RoleLayer] != 1 {
		t.Errorf("carried %v, want 2 indexes, 1 manifest, 1 layer", roles)
	}
}

// Every kind of layer that containerd unpacks, and as many as it takes, is carried as it is.
func TestLayersOfEveryKind(t *testing.T) {
	host := newRegistry(t)
	plain := tarOf(t, map[string]string{"etc/file": "content"})
	encoder := must(zstd.NewWriter(nil))(t)
	emptyTar := make([]byte, 1024)
	duplicate := static.NewLayer(tarOf(t, map[string]string{"twice": "the same"}), types.OCIUncompressedLayer)
	var many []v1.Layer
	for i := range 127 {
		many = append(many, static.NewLayer(tarOf(t, map[string]string{fmt.Sprint(i): "layer"}), types.OCIUncompressedLayer))
	}
	for _, test := range []struct {
		name   string
		layers []v1.Layer
		want   int // blobs
	}{
		{"none", nil, 0},
		{"uncompressed", []v1.Layer{static.NewLayer(plain, types.OCIUncompressedLayer)}, 1},
		{"docker-uncompressed", []v1.Layer{static.NewLayer(plain, types.DockerUncompressedLayer)}, 1},
		{"zstd", []v1.Layer{static.NewLayer(encoder.EncodeAll(plain, nil), types.OCILayerZStd)}, 1},
		{"empty", []v1.Layer{static.NewLayer(emptyTar, types.OCIUncompressedLayer)}, 1},
		{"duplicate", []v1.Layer{duplicate, static.NewLayer(plain, types.OCIUncompressedLayer), duplicate}, 2},
		{"many", many, 127},
	} {
		t.Run(test.name, func(t *testing.T) {
			pushed := layered(t, test.layers...)
			push(t, host+"/"+test.name+":1", pushed)
			_, m, err := gather(t, load(t, t.TempDir(), "  images: ["+host+"/"+test.name+":1]\n"), options())
			if err != nil {
				t.Fatal(err)
			}
			carried := map[string]bool{}
			for _, entry := range m.Entries {
				if entry.Role == bundle.RoleLayer {
					carried[entry.Digest()] = true
				}
			}
			for _, layer := range must(pushed.Layers())(t) {
				if digest := must(layer.Digest())(t).String(); !carried[digest] {
					t.Errorf("layer %s is not carried", digest)
				}
			}
			if len(carried) != test.want {
				t.Errorf("%d layers, want %d", len(carried), test.want)
			}
		})
	}
}

// A foreign layer comes from whoever has it.
func TestForeignLayer(t *testing.T) {
	host := newRegistry(t)
	layer := static.NewLayer(tarOf(t, map[string]string{"theirs": "not to be given on"}), types.OCIUncompressedRestrictedLayer)
	foreign := must(mutate.Append(image(t, "linux/amd64"), mutate.Addendum{
		Layer: layer, MediaType: types.OCIUncompressedRestrictedLayer, URLs: []string{"https://127.0.0.1:1/layer"},
	}))(t)
	ref := must(name.ParseReference(host + "/foreign:1"))(t)
	if err := remote.Write(ref, foreign); err != nil {
		t.Fatal(err)
	}
	spec := load(t, t.TempDir(), "  images: ["+host+"/foreign:1]\n")
	_, _, err := gather(t, spec, options())
	for _, want := range []string{"is not distributable", "https://127.0.0.1:1/layer", "push it to a registry that may keep it"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("nobody has it: %v\nwant %s", err, want)
		}
	}
	if err := remote.WriteLayer(ref.Context(), layer, remote.WithNondistributable); err != nil {
		t.Fatal(err)
	}
	if _, _, err = gather(t, spec, options()); err != nil {
		t.Errorf("the registry has it: %v", err)
	}
}

func TestForeignLayerFromItsMaker(t *testing.T) {
	content := tarOf(t, map[string]string{"theirs": "content"})
	maker := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(content) }))
	defer maker.Close()
	trusting := http.DefaultClient.Transport
	http.DefaultClient.Transport = maker.Client().Transport
	defer func() { http.DefaultClient.Transport = trusting }()
	host := newRegistry(t)
	push(t, host+"/foreign:1", must(mutate.Append(image(t, "linux/amd64"), mutate.Addendum{
		Layer:     static.NewLayer(content, types.OCIUncompressedRestrictedLayer),
		MediaType: types.OCIUncompressedRestrictedLayer, URLs: []string{"http://127.0.0.1:1/plain", maker.URL + "/layer"},
	}))(t))
	if _, _, err := gather(t, load(t, t.TempDir(), "  images: ["+host+"/foreign:1]\n"), options()); err != nil {
		t.Error(err)
	}
}

// rawManifest is a manifest that no library would write.
type rawManifest struct {
	mediaType types.MediaType
	content   any
}

func (r rawManifest) RawManifest() ([]byte, error)        { return json.Marshal(r.content) }
func (r rawManifest) MediaType() (types.MediaType, error) { return r.mediaType, nil }
func (r rawManifest) withLayers(layers ...map[string]any) rawManifest {
	content := r.content.(map[string]any)
	content["layers"] = layers
	return rawManifest{r.mediaType, content}
}

// Images that would only fail at the site fail the build, and the error says what to do.
func TestImagesThatNoMachineUnpacks(t *testing.T) {
	host := newRegistry(t)
	good := layered(t, static.NewLayer(tarOf(t, map[string]string{"a": "b"}), types.OCIUncompressedLayer))
	push(t, host+"/bad:good", good)
	var manifest map[string]any
	if err := json.Unmarshal(must(good.RawManifest())(t), &manifest); err != nil {
		t.Fatal(err)
	}
	layer := manifest["layers"].([]any)[0].(map[string]any)
	with := func(key string, value any) map[string]any {
		other := map[string]any{}
		for k, v := range layer {
			other[k] = v
		}
		other[key] = value
		return other
	}
	like := rawManifest{types.OCIManifestSchema1, manifest}
	for _, test := range []struct {
		name     string
		manifest func() rawManifest
		want     string
	}{
		{"schema1", func() rawManifest {
			return rawManifest{types.DockerManifestSchema1Signed, map[string]any{"schemaVersion": 1, "name": "bad"}}
		}, "schema 1, which has no configuration and which containerd does not run; push it anew"},
		{"encrypted", func() rawManifest {
			return like.withLayers(with("mediaType", "application/vnd.oci.image.layer.v1.tar+encrypted"))
		}, "is encrypted"},
		{"unknown-layer", func() rawManifest { return like.withLayers(with("mediaType", "application/x-tar")) },
			`of type "application/x-tar", which containerd does not unpack`},
		{"too-few", func() rawManifest { return like.withLayers() }, "it has 0 layers, its config knows of 1"},
		{"sha512", func() rawManifest { return like.withLayers(with("digest", "sha512:"+strings.Repeat("a", 128))) },
			"does not have a sha256 digest"},
	} {
		t.Run(test.name, func(t *testing.T) {
			ref := must(name.ParseReference(host + "/bad:" + test.name))(t)
			if err := remote.Put(ref, test.manifest()); err != nil {
				t.Fatal(err)
			}
			_, _, err := gather(t, load(t, t.TempDir(), "  images: ["+ref.String()+"]\n"), options())
			if err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), ref.String()) {
				t.Errorf("got %v\nwant %s", err, test.want)
			}
		})
	}
}
