package installer

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"

	"airgap/bundle"
	"airgap/installer/preflight"
	"airgap/installer/preflight/preflighttest"
	"airgap/internal/hostinfo"
	"airgap/internal/payload"
	"airgap/node/config"
	"airgap/registry"
	"airgap/signing"
)

// testSite is a machine to install on, all of it below one folder, and the packager's keys. Its service
// manager is a systemd that does not run, so that the whole plan runs but no node.
type testSite struct {
	dir        string
	key, other *signing.PrivateKey
}

// serverSteps is how many steps a first install has that joins nothing.
var serverSteps = len(steps) - 3

// newSite makes a site. Paths below it are short enough for a data folder.
func newSite(t testing.TB) *testSite {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: image layers are unpacked with their owners")
	}
	parent := "/dev/shm" // in memory, so that a sync costs nothing: what is tested is killed, not powered off
	if _, err := os.Stat(parent); err != nil {
		parent = ""
	}
	dir, err := os.MkdirTemp(parent, "ag")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	s := &testSite{dir: dir, key: siteKey(), other: otherKey()}
	for _, folder := range []string{"etc", "systemd", "bin"} {
		if err := os.Mkdir(s.path(folder), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	// What a bundle's file will replace.
	if err := os.WriteFile(s.path("etc/site.conf"), []byte("before"), 0o640); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(s.path("site.pub"), s.key.Public().PEM(), 0o644); err != nil {
		t.Fatal(err)
	}
	return s
}

// The packager's key, and a stranger's. Making one takes a second: its file's password is stretched.
var siteKey, otherKey = sync.OnceValue(newKey), sync.OnceValue(newKey)

func newKey() *signing.PrivateKey {
	private, _, err := signing.GenerateKey(nil)
	if err != nil {
		panic(err)
	}
	key, err := signing.ParsePrivateKey(private, nil)
	if err != nil {
		panic(err)
	}
	return key
}

func (s *testSite) path(name string) string { return filepath.Join(s.dir, name) }

func (s *testSite) paths() config.Paths { return config.PathsOf(s.path("data")) }

// options is an install of the bundle with that file name.
func siteOptions(dir, file string) Options {
	server := config.NewServer()
	server.DataDir = filepath.Join(dir, "data")
	return Options{
		Bundle:     filepath.Join(dir, file),
		Server:     server,
		Config:     map[string]any{"tls-san": []string{"node.example"}},
		Init:       InitSystemd,
		EtcDir:     filepath.Join(dir, "etc"),
		SystemdDir: filepath.Join(dir, "systemd"),
		BinDir:     filepath.Join(dir, "bin"),
		host:       hostinfo.Host{FS: unbooted{os.DirFS("/")}},
		targets:    []string{filepath.Join(dir, "etc")},
		facts: func(r *run) (Facts, error) {
			f := preflighttest.Machine()
			f.Installed = r.installed()
			return f, nil
		},
		setClock: func(time.Time) error { return errors.New("not this machine's clock") },
	}
}

func (s *testSite) options(file string) Options {
	o := siteOptions(s.dir, file)
	o.Keys = []signing.PublicKey{s.key.Public()}
	return o
}

// unbooted is a machine whose systemd does not run.
type unbooted struct{ fs.FS }

func (u unbooted) Open(name string) (fs.File, error) {
	if strings.HasPrefix(name, "run/systemd") {
		return nil, fs.ErrNotExist
	}
	return u.FS.Open(name)
}

// content is a bundle of everything: two images that share layers, a chart with values, a
// manifest, a host file and a distribution. Its version changes what each of them is.
func (s *testSite) content(t testing.TB, version string) bundle.Content {
	t.Helper()
	return withDistribution(t, s.contentOnly(t, version), version)
}

// contentOnly is content without the distribution.
func (s *testSite) contentOnly(t testing.TB, version string) bundle.Content {
	t.Helper()
	c := bundle.Content{Manifest: bundle.Manifest{
		Name: "site-a", Version: version, Platforms: []string{preflight.ThisPlatform()}, IssuedAt: "2026-11-22T09:00:00Z",
	}}
	base := newImage(t)
	layer, err := random.Layer(2<<20, "application/vnd.docker.image.rootfs.diff.tar")
	if err != nil {
		t.Fatal(err)
	}
	top, err := mutate.AppendLayers(base, layer)
	if err != nil {
		t.Fatal(err)
	}
	addImage(t, &c, "example.com/base:"+version, base)
	addImage(t, &c, "example.com/top:latest", top)

	artifact := func(kind, media string, config string, configData []byte, b bundle.Blob) (string, string) {
		blobs, digest, err := bundle.NewArtifact(kind, media, config, configData, b)
		if err != nil {
			t.Fatal(err)
		}
		c.Blobs = append(c.Blobs, blobs...)
		return digest, b.Digest
	}
	chart, chartDigest := artifact("", bundle.ChartLayerMediaType, bundle.ChartConfigMediaType, []byte(`{"name":"podinfo"}`),
		bundle.NewBlob(bundle.RoleChart, []byte("chart "+version)))
	values := bundle.NewBlob(bundle.RoleValues, []byte("{}"))
	c.Blobs = append(c.Blobs, values)
	objects, objectsDigest := artifact(bundle.ObjectsArtifactType, bundle.ObjectsLayerMediaType, "", nil,
		bundle.NewBlob(bundle.RoleObjects, []byte("# "+version+"\nkind: Namespace\n")))
	file, fileDigest := artifact(bundle.FileArtifactType, bundle.FileLayerMediaType, "", nil,
		bundle.NewBlob(bundle.RoleFile, []byte("site "+version)))
	c.Manifest.Charts = []bundle.Chart{{Release: "podinfo-" + version[:1], Namespace: "demo", Chart: "podinfo", Version: "6.9.2",
		Artifact: chart, Digest: chartDigest, Values: values.Digest}}
	c.Manifest.Manifests = []bundle.Objects{{Name: "namespace", Artifact: objects, Digest: objectsDigest}}
	c.Manifest.Files = []bundle.File{{Target: s.path("etc/site.conf"), Mode: "0600", Artifact: file, Digest: fileDigest}}
	return c
}

// withDistribution adds a distribution of that version to c.
func withDistribution(t testing.TB, c bundle.Content, version string) bundle.Content {
	t.Helper()
	executable := bundle.NewBlob(bundle.RoleExecutable, packed(t, version))
	blobs, digest, err := bundle.NewArtifact(bundle.DistributionArtifactType, bundle.DistributionLayerMediaType, "", nil, executable)
	if err != nil {
		t.Fatal(err)
	}
	c.Blobs = append(c.Blobs, blobs...)
	c.Manifest.Distributions = []bundle.Distribution{{Platform: preflight.ThisPlatform(), Version: version, Kubernetes: "v1.37.1",
		Artifact: digest, Digest: executable.Digest, Size: executable.Size}}
	return c
}

// packed is a packed executable that does nothing.
func packed(t testing.TB, version string) []byte {
	t.Helper()
	root := t.TempDir()
	if err := os.Mkdir(filepath.Join(root, "bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "bin", "airgap"), []byte("#!/bin/sh\n# "+version+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if _, err := payload.Pack(&out, strings.NewReader("#!/bin/sh\nexit 0\n"), root, payload.Zstd); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// newImage is an image of two layers that nothing else has.
func newImage(t testing.TB) v1.Image {
	t.Helper()
	image, err := random.Image(200<<10, 2)
	if err != nil {
		t.Fatal(err)
	}
	return image
}

// addImage adds an image, made to be for this platform.
func addImage(t testing.TB, c *bundle.Content, reference string, image v1.Image) {
	t.Helper()
	addImageFor(t, c, reference, image, preflight.ThisPlatform())
}

func addImageFor(t testing.TB, c *bundle.Content, reference string, image v1.Image, platform string) {
	t.Helper()
	must := func(err error) {
		if err != nil {
			t.Helper()
			t.Fatal(err)
		}
	}
	config, err := image.ConfigFile()
	must(err)
	config = config.DeepCopy()
	config.OS, config.Architecture = "linux", strings.TrimPrefix(platform, "linux/")
	image, err = mutate.ConfigFile(image, config)
	must(err)
	manifest, err := image.RawManifest()
	must(err)
	rawConfig, err := image.RawConfigFile()
	must(err)
	layers, err := image.Layers()
	must(err)
	mediaType, err := image.MediaType()
	must(err)
	blob := bundle.NewBlob(bundle.RoleManifest, manifest)
	c.Blobs = append(c.Blobs, blob, bundle.NewBlob(bundle.RoleConfig, rawConfig))
	for _, layer := range layers {
		r, err := layer.Compressed()
		must(err)
		data, err := io.ReadAll(r)
		must(err)
		c.Blobs = append(c.Blobs, bundle.NewBlob(bundle.RoleLayer, data))
	}
	c.Manifest.Images = append(c.Manifest.Images, bundle.Image{
		Reference: reference, Digest: blob.Digest, MediaType: string(mediaType), Size: blob.Size,
		Platforms: []bundle.ImagePlatform{{Platform: platform, Digest: blob.Digest}},
	})
}

// build writes a bundle of c with that file name, signed by keys.
func (s *testSite) build(t testing.TB, file string, c bundle.Content, keys ...*signing.PrivateKey) *bundle.Manifest {
	t.Helper()
	m, err := bundle.Create(context.Background(), s.path(file), c, bundle.CreateOptions{Signers: keys})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// fingerprint is everything on the site but bundles, keys and what differs between two good installs:
// times, and the layout of containerd's store, for which the names of its images stand.
func (s *testSite) fingerprint(t testing.TB) string {
	t.Helper()
	var lines []string
	for _, top := range []string{"data", "etc", "systemd", "bin"} {
		err := filepath.WalkDir(s.path(top), func(path string, entry fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			if err != nil {
				return err
			}
			name, _ := filepath.Rel(s.dir, path)
			switch name {
			case "data/agent/pki", "data/agent/containerd", "data/install/reports", "data/install/replaced", "data/install/bundles", "data/server/db":
				return fs.SkipDir
			case "data/install/journal", "data/install/lock", "data/data/.lock", "data/install/files.json", "data/previous", "data/install/previous.json":
				return nil
			case "data/install/accepted.json":
				all, err := readAccepted(s.paths())
				lines = append(lines, fmt.Sprint("accepted ", all["site-a"].Version))
				return err
			}
			info, err := entry.Info()
			if err != nil {
				return err
			}
			line := fmt.Sprintf("%s %s", info.Mode(), name)
			switch info.Mode().Type() {
			case 0:
				sum, err := fileSHA256(path)
				if err != nil {
					return err
				}
				line += " " + sum
			case fs.ModeSymlink:
				to, err := os.Readlink(path)
				if err != nil {
					return err
				}
				line += " -> " + to
			}
			lines = append(lines, line)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return strings.Join(append(lines, s.images(t)...), "\n")
}

// images are the names of the images in containerd's store.
func (s *testSite) images(t testing.TB) []string {
	t.Helper()
	if _, err := os.Stat(s.paths().Containerd()); err != nil {
		return nil
	}
	store, err := registry.OpenStore(s.paths().Containerd())
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	all, err := store.Images(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, image := range all {
		labels, _ := json.Marshal(image.Labels)
		names = append(names, fmt.Sprintf("image %s %s %s", image.Name, image.Target.Digest, labels))
	}
	slices.Sort(names)
	return names
}
