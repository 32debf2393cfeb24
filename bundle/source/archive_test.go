package source

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/mholt/archiver/v4"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// oldArchive is what Docker before 25 saves: uncompressed layers by path, the second image's first layer a link.
func oldArchive(t *testing.T) []byte {
	t.Helper()
	layer := string(tarOf(t, map[string]string{"a": "a"}))
	config := func(name string) string {
		return fmt.Sprintf(`{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":["sha256:%s"]},"comment":%q}`, sum([]byte(layer)), name)
	}
	manifest := must(json.Marshal([]dockerImage{
		{Config: "one.json", RepoTags: []string{"one:1"}, Layers: []string{"x/layer.tar"}},
		{Config: "two.json", RepoTags: []string{"registry.example/two:2"}, Layers: []string{"x/layer.tar"}},
	}))(t)
	return tarOf(t, map[string]string{"one.json": config("one"), "two.json": config("two"), "x/layer.tar": layer, "manifest.json": string(manifest)})
}

func TestArchiveInEveryCompression(t *testing.T) {
	plain := oldArchive(t)
	for _, format := range append(compressions, archiver.Brotli{}, nil) {
		name := "plain.tar"
		var packed bytes.Buffer
		if format == nil {
			packed.Write(plain)
		} else {
			name = "packed" + format.Extension()
			writer := must(format.OpenWriter(&packed))(t)
			if _, err := writer.Write(plain); err != nil {
				t.Fatal(err)
			}
			if err := writer.Close(); err != nil {
				t.Fatal(err)
			}
		}
		t.Run(name, func(t *testing.T) {
			folder := write(t, map[string]string{name: packed.String()})
			_, m, err := gather(t, load(t, folder, "  images: [\"docker-archive:"+name+":one:1\", \"docker-archive:"+name+":registry.example/two:2\"]\n"), options())
			if err != nil {
				t.Fatal(err)
			}
			if got, want := references(m), "docker.io/library/one:1\nregistry.example/two:2\n"; got != want {
				t.Errorf("got\n%swant\n%s", got, want)
			}
		})
	}
}

func TestArchiveWantsAName(t *testing.T) {
	folder := write(t, map[string]string{"a.tar": string(oldArchive(t))})
	for text, want := range map[string]string{
		"docker-archive:a.tar":         "2 images in it; say which after a colon: one:1, registry.example/two:2",
		"docker-archive:a.tar:three:3": `no image "three:3" in it; there are: one:1, registry.example/two:2`,
		"oci-archive:a.tar":            "not an OCI image layout: there is no index.json",
	} {
		_, _, err := gather(t, load(t, folder, "  images: [\""+text+"\"]\n"), options())
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v\nwant %s", text, err, want)
		}
	}
}

// ociLayout writes a layout of two images: "1.0" alone by tag, the other by its full name.
func ociLayout(t *testing.T) string {
	t.Helper()
	folder := filepath.Join(t.TempDir(), "app")
	path := must(layout.Write(folder, empty.Index))(t)
	for reference, text := range map[string]string{"1.0": "one", "registry.example/two:2": "two"} {
		annotation := layout.WithAnnotations(map[string]string{"org.opencontainers.image.ref.name": reference})
		if err := path.AppendImage(image(t, "linux/amd64", text), annotation); err != nil {
			t.Fatal(err)
		}
	}
	return folder
}

func TestLayoutAndItsArchive(t *testing.T) {
	folder := ociLayout(t)
	files := map[string]string{}
	err := filepath.WalkDir(folder, func(path string, entry os.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			data, readErr := os.ReadFile(path)
			name, _ := filepath.Rel(folder, path)
			files["./"+name], err = string(data), readErr
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	var packed bytes.Buffer
	zipper := gzip.NewWriter(&packed)
	if _, err := zipper.Write(tarOf(t, files)); err != nil {
		t.Fatal(err)
	}
	zipper.Close()
	if err := os.WriteFile(folder+".tar.gz", packed.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	for source, want := range map[string]string{
		"oci:app:1.0":                                   "docker.io/library/app:1.0",
		"oci:app:registry.example/two:2":                "registry.example/two:2",
		"oci:app:2":                                     "registry.example/two:2",
		"oci-archive:app.tar.gz:1.0":                    "docker.io/library/app:1.0",
		"oci-archive:app.tar.gz:registry.example/two:2": "registry.example/two:2",
	} {
		_, m, err := gather(t, load(t, filepath.Dir(folder), "  images: [\""+source+"\"]\n"), options())
		if err != nil {
			t.Errorf("%s: %v", source, err)
		} else if got := references(m); got != want+"\n" {
			t.Errorf("%s: got %s, want %s", source, got, want)
		}
	}
}

func TestDamagedLayoutIsNotCarried(t *testing.T) {
	folder := ociLayout(t)
	root, _, err := layoutAt(t, folder).find("1.0")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{blobPath(root.Digest)} {
		data := must(os.ReadFile(filepath.Join(folder, name)))(t)
		data[len(data)-1] ^= 1
		if err := os.WriteFile(filepath.Join(folder, name), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	_, _, err = gather(t, load(t, filepath.Dir(folder), "  images: [\"oci:app:1.0\"]\n"), options())
	if err == nil || !strings.Contains(err.Error(), root.Digest.String()+" is damaged") {
		t.Errorf("got %v", err)
	}
}

// TestModernDockerArchive: since version 25, Docker saves an OCI layout with its own manifest.json beside it.
func TestModernDockerArchive(t *testing.T) {
	folder := ociLayout(t)
	root, _, err := layoutAt(t, folder).find("registry.example/two:2")
	if err != nil {
		t.Fatal(err)
	}
	var manifest ocispec.Manifest
	if err := json.Unmarshal(must(os.ReadFile(filepath.Join(folder, blobPath(root.Digest))))(t), &manifest); err != nil {
		t.Fatal(err)
	}
	old := dockerImage{Config: blobPath(manifest.Config.Digest), RepoTags: []string{"other:1", "registry.example/two:2"}}
	for _, layer := range manifest.Layers {
		old.Layers = append(old.Layers, blobPath(layer.Digest))
	}
	data := must(json.Marshal([]dockerImage{old}))(t)
	if err := os.WriteFile(filepath.Join(folder, "manifest.json"), data, 0o644); err != nil {
		t.Fatal(err)
	}
	_, m, err := gather(t, load(t, filepath.Dir(folder), "  images: [\"docker-archive:app:registry.example/two:2\"]\n"), options())
	if err != nil {
		t.Fatal(err)
	}
	if m.Images[0].Reference != "registry.example/two:2" || m.Images[0].Digest != root.Digest.String() {
		t.Errorf("got %+v, want the digest that Docker shows, %s", m.Images[0], root.Digest)
	}
}

func layoutAt(t *testing.T, folder string) layoutStore {
	t.Helper()
	tree := must(openTree(context.Background(), folder, ""))(t)
	t.Cleanup(func() { tree.close() })
	return layoutStore{tree}
}

func TestLinksOutOfAFolderAreRefused(t *testing.T) {
	folder := write(t, map[string]string{"in/file": "in", "secret": "out"})
	if err := os.Symlink("../secret", filepath.Join(folder, "in", "link")); err != nil {
		t.Fatal(err)
	}
	tree := must(openTree(context.Background(), filepath.Join(folder, "in"), ""))(t)
	defer tree.close()
	if reader, _, err := tree.open("link"); err == nil {
		data, _ := io.ReadAll(reader)
		t.Errorf("read %q through a link", data)
	}
}
