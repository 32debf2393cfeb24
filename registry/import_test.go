package registry

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/pkg/labels"
	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/identity"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"
)

// mountImage mounts the image of the given layers, as a container would see it, and runs look on it.
func mountImage(t *testing.T, s *Store, look func(root string), layers ...layerBlob) {
	t.Helper()
	ctx := inNamespace(context.Background())
	var diffIDs []digest.Digest
	for _, l := range layers {
		diffIDs = append(diffIDs, l.diffID)
	}
	mounts, err := s.snapshotter().View(ctx, "look", identity.ChainID(diffIDs).String())
	if err != nil {
		t.Fatal(err)
	}
	defer s.snapshotter().Remove(ctx, "look")
	if err := mount.WithTempMount(ctx, mounts, func(root string) error { look(root); return nil }); err != nil {
		t.Fatal(err)
	}
}

func TestImportUnpacks(t *testing.T) {
	b := newBlobs()
	xattr := file("bin/cap", "x")
	xattr.header.Format = tar.FormatPAX
	xattr.header.PAXRecords = map[string]string{"SCHILY.xattr.user.color": "blue"}
	setuid := file("bin/su", "y")
	setuid.header.Mode = 0o4755
	setuid.header.Uid, setuid.header.Gid = 12, 34
	base := b.layer(gzipped, folder("bin", 0o755), xattr, setuid, folder("etc", 0o700), file("etc/old", "1"), file("etc/kept", "2"),
		folder("srv", 0o755), file("srv/hidden", "3"), folder("tmp", 0o1777))
	link := entry{header: tar.Header{Typeflag: tar.TypeLink, Name: "etc/again", Linkname: "etc/new"}}
	symlink := entry{header: tar.Header{Typeflag: tar.TypeSymlink, Name: "sbin", Linkname: "bin"}}
	// etc and tmp have no entries here: they must keep the modes they have below.
	middle := b.layer(func(d []byte) []byte { return zstdPacked(d) },
		file("etc/.wh.old", ""), file("etc/new", "4"), link, symlink, file("tmp/left", "5"))
	top := b.layer(unpacked, folder("srv", 0o750), file("srv/.wh..wh..opq", ""), file("srv/seen", "6"))
	target := b.image("amd64", base, middle, top)

	s := openTestStore(t, t.TempDir())
	var progress [2]int64
	o := testImages("lease", map[string]ocispec.Descriptor{"docker.io/library/app:1": target})
	o.Progress = func(done, total int64) { progress = [2]int64{done, total} }
	importAll(t, s, b, o)
	checkWhole(t, s)
	if want := base.desc.Size + middle.desc.Size + top.desc.Size; progress != [2]int64{want, want} {
		t.Errorf("progress ended at %v, want %d of it", progress, want)
	}
	mountImage(t, s, func(root string) {
		for path, want := range map[string]string{
			"bin/cap": "x", "sbin/su": "y", "etc/kept": "2", "etc/new": "4", "etc/again": "4", "tmp/left": "5", "srv/seen": "6",
		} {
			if got, err := os.ReadFile(filepath.Join(root, path)); err != nil || string(got) != want {
				t.Errorf("%s: %q, %v; want %q", path, got, err, want)
			}
		}
		for _, path := range []string{"etc/old", "etc/.wh.old", "srv/hidden", "srv/.wh..wh..opq"} {
			if _, err := os.Lstat(filepath.Join(root, path)); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("%s is there: %v", path, err)
			}
		}
		for path, want := range map[string]os.FileMode{
			"etc": os.ModeDir | 0o700, "tmp": os.ModeDir | os.ModeSticky | 0o777, "srv": os.ModeDir | 0o750, "bin/su": os.ModeSetuid | 0o755,
		} {
			info, err := os.Stat(filepath.Join(root, path))
			if err != nil || info.Mode() != want {
				t.Errorf("%s: mode %v, %v; want %v", path, info.Mode(), err, want)
			}
		}
		info, err := os.Stat(filepath.Join(root, "bin/su"))
		if err != nil {
			t.Fatal(err)
		}
		if stat := info.Sys().(*syscall.Stat_t); stat.Uid != 12 || stat.Gid != 34 {
			t.Errorf("bin/su belongs to %d:%d, want 12:34", stat.Uid, stat.Gid)
		}
		value := make([]byte, 16)
		if n, err := unix.Lgetxattr(filepath.Join(root, "bin/cap"), "user.color", value); err != nil || string(value[:n]) != "blue" {
			t.Errorf("xattr %q, %v; want blue", value[:max(n, 0)], err)
		}
	}, base, middle, top)
}

func TestImportNamesAndLabels(t *testing.T) {
	b := newBlobs()
	shared := b.layer(gzipped, file("a", "a"))
	own := b.layer(gzipped, file("b", "b"))
	other := b.layer(gzipped, file("c", "c"))
	amd64 := b.image("amd64", shared, own)
	index := b.index(map[string]ocispec.Descriptor{"amd64": amd64, "arm64": b.image("arm64", other)})
	single := b.image("amd64", shared)

	s := openTestStore(t, t.TempDir())
	importAll(t, s, b, testImages("lease", map[string]ocispec.Descriptor{
		"nginx:1.29": index, "registry.site:5000/team/base:v1": single}))
	ctx := inNamespace(context.Background())

	names := checkWhole(t, s)
	config := func(manifest ocispec.Descriptor) string {
		var m ocispec.Manifest
		n := &node{desc: manifest, registered: true}
		if err := (&Import{store: s}).readJSON(n, &m); err != nil {
			t.Fatal(err)
		}
		return m.Config.Digest.String()
	}
	want := []string{
		"docker.io/library/nginx:1.29", "docker.io/library/nginx@" + index.Digest.String(), config(amd64),
		"registry.site:5000/team/base:v1", "registry.site:5000/team/base@" + single.Digest.String(), config(single),
	}
	slices.Sort(want)
	if !slices.Equal(names, want) {
		t.Errorf("names\n%s\nwant\n%s", strings.Join(names, "\n"), strings.Join(want, "\n"))
	}
	for _, name := range names {
		image, err := s.images.Get(ctx, name)
		if err != nil || image.Labels[LabelManaged] != Managed || image.Labels[LabelPinned] != Pinned {
			t.Errorf("%s has labels %v, %v", name, image.Labels, err)
		}
	}
	for d, labelled := range map[string]map[string]string{
		index.Digest.String(): {"containerd.io/gc.ref.content.m.1": amd64.Digest.String()},
		amd64.Digest.String(): {"containerd.io/gc.ref.content.config": config(amd64), "containerd.io/gc.ref.content.l.1": own.desc.Digest.String()},
		config(single):        {labelSnapshotRef: shared.diffID.String()},
		own.desc.Digest.String(): {labels.LabelUncompressed: own.diffID.String(),
			labels.LabelDistributionSource + ".docker.io": "library/nginx"},
		shared.desc.Digest.String(): {labels.LabelUncompressed: shared.diffID.String(),
			labels.LabelDistributionSource + ".docker.io":     "library/nginx",
			labels.LabelDistributionSource + ".registry.site": "team/base"},
		other.desc.Digest.String(): {labels.LabelUncompressed: ""}, // kept, but not unpacked
	} {
		info, err := s.db.ContentStore().Info(ctx, digest.Digest(d))
		if err != nil {
			t.Errorf("%s: %v", d, err)
			continue
		}
		for key, want := range labelled {
			if info.Labels[key] != want {
				t.Errorf("%s: label %s is %q, want %q", d, key, info.Labels[key], want)
			}
		}
	}
	if _, err := s.snapshotter().Stat(ctx, other.diffID.String()); err == nil {
		t.Error("the other platform's layer was unpacked")
	}
	// Everything must survive containerd's garbage collection without a lease.
	if err := s.collect(ctx); err != nil {
		t.Fatal(err)
	}
	if after := checkWhole(t, s); !slices.Equal(after, want) {
		t.Errorf("after garbage collection: %v", after)
	}
	if held, err := os.ReadDir(filepath.Join(s.contentRoot, stagingFolder)); len(held) > 0 {
		t.Errorf("staging still has %v, %v", held, err)
	}
}

func TestImportRefuses(t *testing.T) {
	b := newBlobs()
	good := b.layer(gzipped, file("a", strings.Repeat("a", 5000)))
	lying := b.layer(gzipped, file("b", "b"))
	lying.diffID = digest.FromString("something else")
	cut := b.layer(func(d []byte) []byte { return gzipped(d)[:len(gzipped(d))-9] }, file("c", strings.Repeat("c", 5000)))
	wide := b.layer(func(d []byte) []byte {
		return zstdPacked(d, zstd.WithWindowSize(2*maxZstdWindowBytes), zstd.WithSingleSegment(false))
	}, file("d", strings.Repeat("d", 5<<20)))
	outside := b.layer(gzipped, file("../../../../escaped", "x"))

	t.Run("flipped byte", func(t *testing.T) {
		s := openTestStore(t, t.TempDir())
		target := b.image("amd64", good)
		i, err := s.Import(context.Background(), testImages("l", map[string]ocispec.Descriptor{"x:1": target}))
		if err != nil {
			t.Fatal(err)
		}
		defer i.Close()
		bad := bytes.Clone(b.data[good.desc.Digest])
		bad[len(bad)/2] ^= 1
		err = i.Blob(context.Background(), good.desc.Digest.String(), good.desc.Size, verify(bad, good.desc.Digest))
		if !errors.Is(err, errFlipped) {
			t.Fatalf("error %v, want the reader's", err)
		}
		for _, path := range []string{i.stagingPath(good.desc.Digest), s.blobPath(good.desc.Digest.Encoded())} {
			if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("%s is there: %v", path, err)
			}
		}
		// The same import goes on with the right bytes.
		if err := feed(i, b, b.inOrder()...); err != nil {
			t.Fatal(err)
		}
		if err := i.Commit(context.Background()); err != nil {
			t.Fatal(err)
		}
	})
	for _, test := range []struct {
		name   string
		target ocispec.Descriptor
		leave  digest.Digest // a blob that does not come
		want   error         // nil: any
		says   string
	}{
		{"wrong diff ID", b.image("amd64", lying), "", ErrDigest, lying.diffID.String()},
		{"truncated layer", b.image("amd64", cut), "", io.ErrUnexpectedEOF, cut.desc.Digest.String()},
		{"window beyond the limit", b.image("amd64", wide), "", zstd.ErrWindowSizeExceeded, wide.desc.Digest.String()},
		{"blob does not come", b.image("amd64", good), good.desc.Digest, ErrIncomplete, "docker.io/library/x:1 lacks its blob " + good.desc.Digest.String()},
		{"other platform", b.image("arm64", good), "", nil, "image is for linux/arm64, this import is for linux/amd64"},
		{"index without the platform", b.index(map[string]ocispec.Descriptor{"arm64": b.image("arm64", good)}), "", ErrIncomplete, "nothing for linux/amd64"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := openTestStore(t, t.TempDir())
			i, err := s.Import(context.Background(), testImages("l", map[string]ocispec.Descriptor{"x:1": test.target}))
			if err != nil {
				t.Fatal(err)
			}
			defer i.Close()
			var all []digest.Digest
			for _, d := range b.inOrder() {
				if d != test.leave {
					all = append(all, d)
				}
			}
			err = feed(i, b, all...)
			if err == nil {
				err = i.Commit(context.Background())
			}
			if err == nil || test.want != nil && !errors.Is(err, test.want) || !strings.Contains(err.Error(), test.says) {
				t.Errorf("error %v, want %v with %q", err, test.want, test.says)
			}
			if names := checkWhole(t, s); len(names) > 0 {
				t.Errorf("there are images: %v", names)
			}
		})
	}
	t.Run("path outside", func(t *testing.T) {
		root := t.TempDir()
		s := openTestStore(t, root)
		b := newBlobs()
		b.data, b.order = map[digest.Digest][]byte{outside.desc.Digest: gzipped(tarOf(file("../../../../escaped", "x")))}, []digest.Digest{outside.desc.Digest}
		importAll(t, s, b, testImages("l", map[string]ocispec.Descriptor{"x:1": b.image("amd64", outside)}))
		mountImage(t, s, func(image string) {
			if _, err := os.Stat(filepath.Join(image, "escaped")); err != nil {
				t.Errorf("the file is not in the image: %v", err)
			}
		}, outside)
	})
}

func TestOpenStoreInUse(t *testing.T) {
	root := t.TempDir()
	openTestStore(t, root)
	if _, err := OpenStore(root); !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), "stop containerd") {
		t.Errorf("second open: %v, want ErrInUse with the remedy", err)
	}
}

func TestParseName(t *testing.T) {
	d := "sha256:" + strings.Repeat("a", 64)
	for _, test := range []struct{ name, full, host, path string }{
		{"nginx", "docker.io/library/nginx:latest", "docker.io", "library/nginx"},
		{"ghcr.io/a/b:1", "ghcr.io/a/b:1", "ghcr.io", "a/b"},
		{"localhost:5000/x:1", "localhost:5000/x:1", "localhost", "x"},
		{"airgap.internal/pause:3.10", "airgap.internal/pause:3.10", "airgap.internal", "pause"},
		{"ghcr.io/a/b:1@" + d, "ghcr.io/a/b@" + d, "ghcr.io", "a/b"},
		{"Upper/Case", "", "", ""},
		{"", "", "", ""},
	} {
		n, err := parseName(test.name)
		if (err != nil) != (test.full == "") || n.full != test.full || n.host != test.host || n.path != test.path {
			t.Errorf("parseName(%q) = %+v, %v", test.name, n, err)
		}
	}
}
