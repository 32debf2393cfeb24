package build

import (
	"archive/tar"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/validate"

	images "airgap/airgap-images"
)

const platform = "linux/" + runtime.GOARCH

// hello is a small set of the three kinds, declared with the real upstreams.
const hello = `
registry: example.test
images:
  - name: hello
    tag: v1
    title: A Go program
    licenses: Apache-2.0
    upstream: {module: k8s.io/kubernetes, version: v1.37.1}
    build: {go: {folder: hello, package: .}}
    files: [{source: LICENSE, target: /licenses/kubernetes}, {content: "hello\n", target: /etc/greeting}]
    folders: [/tmp, /etc]
    entrypoint: [/bin/hello]
    command: [world]
    workingDir: /etc
    user: "65532:65532"
    platforms: [linux/amd64, linux/arm64]
`

// options declares the set in a temporary folder that has the program hello.
func options(t *testing.T, declaration string) Options {
	t.Helper()
	folder := t.TempDir()
	for name, content := range map[string]string{
		"go.mod":        "module outer\n",
		"hello/go.mod":  "module hello\n",
		"hello/main.go": "package main\n\nfunc main() { println(\"hello\") }\n",
	} {
		path := filepath.Join(folder, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	set, err := images.Parse([]byte(declaration))
	if err != nil {
		t.Fatal(err)
	}
	return Options{
		Set: set, Platforms: []string{platform}, Folder: folder,
		Output: filepath.Join(t.TempDir(), "out", "layout"), Log: t.Logf,
	}
}

// bytesOf reads all files under dir.
func bytesOf(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := fs.WalkDir(os.DirFS(dir), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(filepath.Join(dir, path))
		files[path] = string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// open returns the only image of the only index of a layout, and its annotations.
func open(t *testing.T, dir, reference string) v1.Image {
	t.Helper()
	root, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := root.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range manifest.Manifests {
		if d.Annotations["org.opencontainers.image.ref.name"] != reference {
			continue
		}
		index, err := root.ImageIndex(d.Digest)
		if err != nil {
			t.Fatal(err)
		}
		if err := validate.Index(index); err != nil {
			t.Errorf("%s is not valid: %v", reference, err)
		}
		list, err := index.IndexManifest()
		if err != nil {
			t.Fatal(err)
		}
		if got := list.Manifests[0].Platform.String(); got != platform {
			t.Errorf("platform %s, want %s", got, platform)
		}
		image, err := index.Image(list.Manifests[0].Digest)
		if err != nil {
			t.Fatal(err)
		}
		return image
	}
	t.Fatalf("the layout has no %s: %v", reference, manifest.Manifests)
	return nil
}

// entries lists the only layer of an image: "name mode" with "-> target" for links.
func entries(t *testing.T, image v1.Image) []string {
	t.Helper()
	layers, err := image.Layers()
	if err != nil || len(layers) != 1 {
		t.Fatalf("%d layers, %v", len(layers), err)
	}
	content, err := layers[0].Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	defer content.Close()
	return list(t, content)
}

// list lists the entries of a layer, uncompressed, and holds that they have no owner and no time.
func list(t *testing.T, content io.Reader) []string {
	t.Helper()
	var list []string
	for r := tar.NewReader(content); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return list
		}
		if err != nil {
			t.Fatal(err)
		}
		line := h.Name + " " + h.FileInfo().Mode().String()
		if h.Linkname != "" {
			line += " -> " + h.Linkname
		}
		if h.Uid != 0 || h.Gid != 0 || h.ModTime.Unix() != 0 {
			t.Errorf("%s: owner %d:%d, time %v", h.Name, h.Uid, h.Gid, h.ModTime)
		}
		list = append(list, line)
	}
}

func TestBuildGo(t *testing.T) {
	opts := options(t, hello)
	if err := Build(context.Background(), opts); err != nil {
		t.Fatal(err)
	}
	image := open(t, opts.Output, "example.test/hello:v1")
	want := []string{
		"bin/ drwxr-xr-x",
		"bin/hello -rwxr-xr-x",
		"etc/ drwxr-xr-x",
		"etc/greeting -rw-r--r--",
		"licenses/ drwxr-xr-x",
		"licenses/kubernetes -rw-r--r--",
		"tmp/ dtrwxrwxrwx",
	}
	if got := entries(t, image); !slices.Equal(got, want) {
		t.Errorf("the layer holds\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if c := config.Config; c.User != "65532:65532" || c.WorkingDir != "/etc" || !slices.Equal(c.Entrypoint, []string{"/bin/hello"}) ||
		!slices.Equal(c.Cmd, []string{"world"}) || c.Labels["org.opencontainers.image.version"] != "v1.37.1" {
		t.Errorf("config %+v", c)
	}

	t.Run("again, elsewhere, the bytes are the same", func(t *testing.T) {
		again := options(t, hello)
		t.Chdir(filepath.Dir(filepath.Dir(again.Output)))
		again.Output = "layout"
		if err := Build(context.Background(), again); err != nil {
			t.Fatal(err)
		}
		first, second := bytesOf(t, opts.Output), bytesOf(t, again.Output)
		if len(first) != len(second) {
			t.Errorf("%d files, then %d", len(first), len(second))
		}
		for name, content := range first {
			if second[name] != content {
				t.Errorf("%s differs", name)
			}
		}
	})
}

// TestBuildSystem builds the two small system images as they are declared.
func TestBuildSystem(t *testing.T) {
	opts := options(t, hello)
	opts.Set, opts.Names, opts.Folder = images.System(), []string{"pause", "busybox"}, ".."
	if err := Build(context.Background(), opts); err != nil {
		t.Fatal(err)
	}
	if got := entries(t, open(t, opts.Output, images.Reference("pause"))); !slices.Contains(got, "pause -rwxr-xr-x") {
		t.Errorf("pause holds %v", got)
	}
	got := entries(t, open(t, opts.Output, images.Reference("busybox")))
	for _, want := range []string{"bin/busybox -rwxr-xr-x", "bin/sh Lrwxrwxrwx -> /bin/busybox", "usr/bin/wget Lrwxrwxrwx -> /bin/busybox", "tmp/ dtrwxrwxrwx"} {
		if !slices.Contains(got, want) {
			t.Errorf("busybox lacks %s", want)
		}
	}
}

func TestBuildRefuses(t *testing.T) {
	debian := strings.NewReplacer("{module: k8s.io/kubernetes, version: v1.37.1}", "{debian: busybox-static, version: 1.35.0}",
		"{source: LICENSE, target: /licenses/kubernetes}, ", "", "{go: {folder: hello, package: .}}", "{debian: {executable: /bin/busybox}}").Replace(hello)
	change := func(in, from, to string) string {
		out := strings.Replace(in, from, to, 1)
		if out == in {
			t.Fatalf("nothing to change from %q", from)
		}
		return out
	}
	tests := map[string]struct {
		declaration, platform, name, want string
	}{
		"unknown name":       {hello, platform, "nginx", "nginx"},
		"undeclared machine": {hello, "linux/s390x", "hello", "not declared for linux/s390x"},
		"does not compile":   {change(hello, "package: .", "package: ./missing"), platform, "hello", "missing"},
		"no such file":       {change(hello, "source: LICENSE", "source: COPYING"), platform, "hello", "COPYING"},
		"another version":    {change(debian, "1.35.0", "1.34.0"), platform, "hello", "correct version and tag"},
		"no such package":    {change(debian, "busybox-static", "busybox-statix"), platform, "hello", "busybox-statix"},
		"linked dynamically": {change(debian, "/bin/busybox", "/bin/ls"), platform, "hello", "dynamically"},
		"not an executable":  {change(debian, "/bin/busybox", "/etc/passwd"), platform, "hello", "/etc/passwd"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			opts := options(t, test.declaration)
			opts.Names, opts.Platforms = []string{test.name}, []string{test.platform}
			err := Build(context.Background(), opts)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want it to say %q", err, test.want)
			}
			if left, _ := os.ReadDir(filepath.Dir(opts.Output)); len(left) != 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

func TestOutputThatIsNoLayoutIsKept(t *testing.T) {
	opts := options(t, hello)
	if err := os.MkdirAll(opts.Output, 0o755); err != nil {
		t.Fatal(err)
	}
	mine := filepath.Join(opts.Output, "thesis.txt")
	if err := os.WriteFile(mine, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := Build(context.Background(), opts); err == nil || !strings.Contains(err.Error(), "not an OCI layout") {
		t.Errorf("got %v", err)
	}
	if _, err := os.Stat(mine); err != nil {
		t.Errorf("somebody's file is gone: %v", err)
	}
}
