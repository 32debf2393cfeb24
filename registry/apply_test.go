package registry

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/pkg/archive"
	"github.com/containerd/continuity/sysx"
)

// treeOf describes everything under root, one line for each name.
func treeOf(t testing.TB, root string) string {
	var out strings.Builder
	first := map[uint64]string{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		stat := info.Sys().(*syscall.Stat_t)
		name, _ := filepath.Rel(root, path)
		fmt.Fprintf(&out, "%s %v %d:%d", name, info.Mode(), stat.Uid, stat.Gid)
		if info.ModTime().Year() < 2010 { // else it is the time of making, no entry's
			fmt.Fprintf(&out, " %d", info.ModTime().UnixNano())
		}
		switch {
		case info.Mode().IsRegular():
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			fmt.Fprintf(&out, " %q", data)
		case info.Mode()&fs.ModeSymlink != 0:
			target, _ := os.Readlink(path)
			fmt.Fprintf(&out, " -> %s", target)
		case !info.IsDir():
			fmt.Fprintf(&out, " device %d", stat.Rdev)
		}
		if other, linked := first[stat.Ino]; linked {
			fmt.Fprintf(&out, " same as %s", other)
		} else {
			first[stat.Ino] = name
		}
		names, err := sysx.LListxattr(path)
		for _, x := range names {
			value, _ := sysx.LGetxattr(path, x)
			fmt.Fprintf(&out, " %s=%q", x, value)
		}
		out.WriteByte('\n')
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// compareAppliers unpacks a tar with containerd's code and with ours.
func compareAppliers(t testing.TB, data []byte) {
	t.Helper()
	folder := t.TempDir()
	theirs, ours := filepath.Join(folder, "a", "fs"), filepath.Join(folder, "b", "fs")
	for _, root := range []string{theirs, ours} {
		if err := os.MkdirAll(root, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	ctx := context.Background()
	_, theirErr := archive.Apply(ctx, theirs, bytes.NewReader(data), archive.WithConvertWhiteout(archive.OverlayConvertWhiteout))
	a, err := newApplier(ours)
	if err != nil {
		t.Fatal(err)
	}
	defer a.close()
	ourErr := a.apply(ctx, bytes.NewReader(data), impliedFolders{}.note)
	if (theirErr != nil) != (ourErr != nil) {
		t.Fatalf("containerd: %v\nairgap:     %v", theirErr, ourErr)
	}
	if theirErr != nil {
		return // what each has made before it gave up does not matter
	}
	if want, got := treeOf(t, theirs), treeOf(t, ours); got != want {
		t.Errorf("airgap made\n%s\ncontainerd made\n%s", got, want)
	}
	if around, _ := os.ReadDir(folder); len(around) != 2 {
		t.Errorf("something was made outside: %v", around)
	}
}

func link(kind byte, name, target string) entry {
	return entry{header: tar.Header{Typeflag: kind, Name: name, Linkname: target, Mode: 0o777, ModTime: time.Unix(1e9, 5)}}
}

func TestApplierIsContainerds(t *testing.T) {
	if os.Geteuid() != 0 || !canResolveInRoot() {
		t.Skip("needs root and openat2")
	}
	// What a broken applier would reach outside its root, instead of the machine's own /etc.
	bait := t.TempDir()
	if err := os.WriteFile(filepath.Join(bait, "passwd"), []byte("bait"), 0o600); err != nil {
		t.Fatal(err)
	}
	untouched := treeOf(t, bait)
	inside := bait[1:] // the same path in the layer
	device := entry{header: tar.Header{Typeflag: tar.TypeChar, Name: "dev/null", Mode: 0o666, Devmajor: 1, Devminor: 3}}
	fifo := entry{header: tar.Header{Typeflag: tar.TypeFifo, Name: "run/fifo", Mode: 0o640, Uid: 3, Gid: 4}}
	xattrs := entry{tar.Header{Typeflag: tar.TypeReg, Name: "cap", Mode: 0o6755, Size: 1, Uid: 5, Format: tar.FormatPAX,
		PAXRecords: map[string]string{paxXattrPrefix + "user.a": "1", paxXattrPrefix + "trusted.overlay.opaque": "y"}}, "x"}
	folderXattr := folder("d", 0o711)
	folderXattr.header.Format = tar.FormatPAX
	folderXattr.header.PAXRecords = map[string]string{paxXattrPrefix + "user.b": "2"}
	group := folder("g", 0o2775)
	group.header.Gid = 7
	shared := entry{header: tar.Header{Typeflag: tar.TypeReg, Name: "shared", Mode: 0o666}}
	ancient := file("ancient", "x")
	ancient.header.ModTime = time.Unix(-5, 0)
	for _, test := range []struct {
		name    string
		entries []entry
	}{
		{"kinds", []entry{folder("dev", 0o755), device, fifo, xattrs, folderXattr, ancient, link(tar.TypeSymlink, "s", "/cap"), link(tar.TypeLink, "h", "cap")}},
		{"modes that the system changes", []entry{group, folder("g/sub", 0o755), file("g/file", "1"), link(tar.TypeSymlink, "g/link", "file"), folder("open", 0o1777), shared}},
		{"root entry", []entry{folder(".", 0o700), file("./a", "1"), file("/b", "2")}},
		{"parents without entries", []entry{file("a/b/c/d", "1"), folder("a/b", 0o700)}},
		{"replace file", []entry{file("a", "1"), file("a", "22")}},
		{"replace link", []entry{link(tar.TypeSymlink, "a", bait), file("a", "22")}},
		{"replace folder by file", []entry{file("a/b/c", "1"), file("a", "22")}},
		{"replace folder by link", []entry{file("a/b/c", "1"), folder("x", 0o755), link(tar.TypeSymlink, "a", "x"), file("a/b/c", "2")}},
		{"replace file by folder", []entry{file("a", "1"), folder("a", 0o755), file("a/b", "2")}},
		{"merge folder", []entry{folder("a", 0o755), file("a/b", "1"), folder("a", 0o700)}},
		{"file as folder", []entry{file("a", "1"), file("a/b", "2")}},
		{"through links", []entry{folder(inside+"/lib", 0o755), link(tar.TypeSymlink, "lib", inside+"/lib"), file("lib/x", "1"), link(tar.TypeSymlink, "abs", bait), file("abs/lib/y", "2")}},
		{"escape by dots", []entry{file("../../../x", "1"), file("a/../../b", "2")}},
		{"escape by links", []entry{link(tar.TypeSymlink, "up", "../../.."), file("up/x", "1"), link(tar.TypeSymlink, "abs", bait), file("abs/y", "2"), file("abs/passwd", "3")}},
		{"escape by hard link", []entry{link(tar.TypeLink, "passwd", "../../../../.."+bait+"/passwd")}},
		{"hard link through link", []entry{link(tar.TypeSymlink, "e", bait), link(tar.TypeLink, "p", "e/passwd")}},
		{"hard link to link", []entry{link(tar.TypeSymlink, "l", "nowhere"), link(tar.TypeLink, "m", "l")}},
		{"dangling link as folder", []entry{link(tar.TypeSymlink, "var/run", bait+"/run"), file("var/run/x", "1")}},
		{"link loop", []entry{link(tar.TypeSymlink, "a", "b"), link(tar.TypeSymlink, "b", "a"), file("a/x", "1")}},
		{"whiteouts", []entry{file("a/.wh.b", ""), file("a/.wh..wh..opq", ""), file(".wh.c", "")}},
		{"whiteout, then the file", []entry{file("a/.wh.b", ""), file("a/b", "1")}},
		{"whiteout of dots", []entry{file("a/.wh...", "")}},
		{"whiteout of nothing", []entry{file("a/.wh.", "")}},
		{"opaque by link", []entry{link(tar.TypeSymlink, "l", bait), file("l/.wh..wh..opq", ""), file("l/.wh.passwd", "")}},
		{"unknown type", []entry{{header: tar.Header{Typeflag: 'Z', Name: "z"}}}},
	} {
		t.Run(test.name, func(t *testing.T) { compareAppliers(t, tarOf(test.entries...)) })
	}
	if now := treeOf(t, bait); now != untouched {
		t.Errorf("outside the root there was\n%s\nnow\n%s", untouched, now)
	}
}

// TestApplierIsContainerdsAtRandom makes archives whose few names collide in every way.
func TestApplierIsContainerdsAtRandom(t *testing.T) {
	if os.Geteuid() != 0 || !canResolveInRoot() {
		t.Skip("needs root and openat2")
	}
	for seed := range uint64(25) {
		random := rand.New(rand.NewPCG(seed, 1))
		pick := func(from ...string) string { return from[random.IntN(len(from))] }
		name := func() string {
			parts := []string{pick("a", "b", "l")}
			for random.IntN(2) == 0 && len(parts) < 4 {
				parts = append(parts, pick("a", "b", "l", ".."))
			}
			return strings.Join(parts, "/")
		}
		var entries []entry
		for range 12 {
			var e entry
			switch random.IntN(5) {
			case 0, 1:
				e = file(name(), fmt.Sprint(random.IntN(100)))
			case 2:
				e = folder(name(), int64(random.IntN(0o1000)|0o700))
			case 3:
				e = link(tar.TypeSymlink, name(), pick("", "/", "../")+name())
			case 4:
				e = link(tar.TypeLink, name(), name())
			}
			e.header.ModTime = time.Unix(int64(random.IntN(1e9)), 0)
			e.header.Uid = random.IntN(3)
			entries = append(entries, e)
		}
		// Each prefix too: an archive that containerd refuses says nothing about what came before.
		for n := 1; n <= len(entries); n++ {
			t.Run(fmt.Sprintf("seed %d entries %d", seed, n), func(t *testing.T) { compareAppliers(t, tarOf(entries[:n]...)) })
			if t.Failed() {
				for _, e := range entries[:n] {
					t.Logf("%c %s -> %s", e.header.Typeflag, e.header.Name, e.header.Linkname)
				}
				return
			}
		}
	}
}
