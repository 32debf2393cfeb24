package interop

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	digest "github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"airgap/bundle"
	"airgap/signing"
)

const hostileFolder = "../../bundle/testdata/hostile"

// leftToAirgap are the rules that bundle.py does not check: what is inside the files, and the shapes of names.
var leftToAirgap = []string{"manifest", "index", "graph", "attestation"}

// content is an image and a file for the host.
func content(t *testing.T) bundle.Content {
	t.Helper()
	layer, config := bundle.NewBlob(bundle.RoleLayer, bytes.Repeat([]byte("layer"), 1<<20)), bundle.NewBlob(bundle.RoleConfig, []byte("{}"))
	encoded, err := json.Marshal(ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest,
		Config: descriptor(ocispec.MediaTypeImageConfig, config), Layers: []ocispec.Descriptor{descriptor(ocispec.MediaTypeImageLayerGzip, layer)},
	})
	if err != nil {
		t.Fatal(err)
	}
	manifest := bundle.NewBlob(bundle.RoleManifest, encoded)
	file := bundle.NewBlob(bundle.RoleFile, []byte("a=1\n"))
	blobs, artifact, err := bundle.NewArtifact(bundle.FileArtifactType, bundle.FileLayerMediaType, "", nil, file)
	if err != nil {
		t.Fatal(err)
	}
	return bundle.Content{Blobs: append([]bundle.Blob{manifest, config, layer}, blobs...), Manifest: bundle.Manifest{
		Name: "interop", Version: "1.2.3", Platforms: []string{"linux/amd64"}, IssuedAt: "2026-11-22T09:00:00Z",
		Images: []bundle.Image{{Reference: "docker.io/library/a:1", Digest: manifest.Digest, MediaType: ocispec.MediaTypeImageManifest, Size: manifest.Size,
			Platforms: []bundle.ImagePlatform{{Platform: "linux/amd64", Digest: manifest.Digest}}}},
		Files: []bundle.File{{Target: "/etc/site.conf", Mode: "0644", Artifact: artifact, Digest: file.Digest}},
	}}
}

func descriptor(mediaType string, b bundle.Blob) ocispec.Descriptor {
	return ocispec.Descriptor{MediaType: mediaType, Digest: digest.Digest(b.Digest), Size: b.Size}
}

// publishedKey is the key of the hostile bundles' maker.
func publishedKey(t *testing.T) *signing.PrivateKey {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(hostileFolder, "maker.key"))
	if err != nil {
		t.Fatal(err)
	}
	key, err := signing.ParsePrivateKey(data, nil)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// python runs Debian's interpreter.
func python(t *testing.T, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	cmd := exec.Command("python3", args...)
	var out, errs strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); cmd.ProcessState == nil {
		t.Fatalf("this test needs Debian's python3: %v", err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

func TestPythonReads(t *testing.T) {
	path := filepath.Join(t.TempDir(), "interop.airgap")
	if _, err := bundle.Create(context.Background(), path, content(t), bundle.CreateOptions{Signers: []*signing.PrivateKey{publishedKey(t)}}); err != nil {
		t.Fatal(err)
	}
	out, errs, code := python(t, "bundle.py", path, filepath.Join(hostileFolder, "maker.pub"))
	if code != 0 || !strings.HasPrefix(out, "interop 1.2.3, ") || !strings.Contains(out, "docker.io/library/a:1 sha256:") || !strings.Contains(out, "/etc/site.conf 0644") {
		t.Errorf("exit code %d\n%s\n%s", code, out, errs)
	}
	if _, errs, code = python(t, "bundle.py", path, filepath.Join(hostileFolder, "stranger.pub")); code != 3 || !strings.Contains(errs, "not signed by this key") {
		t.Errorf("with a stranger's key: exit code %d, %s", code, errs)
	}
	if lines := bytes.Count(read(t, "bundle.py"), []byte("\n")); lines > 100 {
		t.Errorf("bundle.py has %d lines; docs/format.md says that a hundred do", lines)
	}
}

// TestPythonRefuses gives it each of the hostile bundles that breaks a rule which it knows.
func TestPythonRefuses(t *testing.T) {
	var cases []struct{ File, Rule string }
	if err := json.Unmarshal(read(t, filepath.Join(hostileFolder, "cases.json")), &cases); err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	args := []string{"-c", `import bundle, sys
for path in sys.argv[2:]:
    try: bundle.verify(path, sys.argv[1]); print("accepted", path)
    except bundle.Refused: pass`, filepath.Join(hostileFolder, "maker.pub")}
	for _, c := range cases {
		if slices.Contains(leftToAirgap, c.Rule) {
			continue
		}
		path := filepath.Join(folder, c.File)
		if err := os.WriteFile(path, gunzip(t, read(t, filepath.Join(hostileFolder, c.File))), 0o644); err != nil {
			t.Fatal(err)
		}
		args = append(args, path)
	}
	if out, errs, code := python(t, args...); code != 0 || out != "" {
		t.Errorf("exit code %d\n%s\n%s", code, out, errs)
	}
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func gunzip(t *testing.T, data []byte) []byte {
	t.Helper()
	r, err := gzip.NewReader(bytes.NewReader(data))
	if err == nil {
		data, err = io.ReadAll(r)
	}
	if err != nil {
		t.Fatal(err)
	}
	return data
}
