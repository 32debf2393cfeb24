package registry

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/core/metadata"
	"github.com/containerd/containerd/v2/core/metadata/boltutil"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	bolt "go.etcd.io/bbolt"
	"golang.org/x/sys/unix"
)

// importIntoVariable names the root into which the test executable imports crashImages, when it is started with it.
const importIntoVariable = "AIRGAP_TEST_IMPORT_INTO"

func TestMain(m *testing.M) {
	if root := os.Getenv(rebuildVariable); root != "" {
		if _, err := rebuild(context.Background(), root); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	root := os.Getenv(importIntoVariable)
	if root == "" {
		os.Exit(m.Run())
	}
	if err := importSlowly(root); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// crashImages are four images on one base, of the same bytes each time.
func crashImages() (*blobs, ImportOptions) {
	b := newBlobs()
	random := rand.NewChaCha8([32]byte{1})
	layerOf := func(name string) layerBlob {
		var entries []entry
		for n := range 40 {
			data := make([]byte, 8<<10)
			random.Read(data)
			entries = append(entries, file(fmt.Sprintf("%s/folder/file-%d", name, n), string(data)))
		}
		return b.layer(gzipped, entries...)
	}
	base := []layerBlob{layerOf("base-0"), layerOf("base-1")}
	targets := map[string]ocispec.Descriptor{}
	for n := range 4 {
		targets[fmt.Sprintf("site/image-%d:1", n)] = b.image("amd64", base[0], base[1], layerOf(fmt.Sprintf("own-%d-a", n)), layerOf(fmt.Sprintf("own-%d-b", n)))
	}
	return b, testImages("crash", targets)
}

// importSlowly imports crashImages and saves its progress after each blob, to be killed anywhere.
func importSlowly(root string) error {
	s, err := OpenStore(root)
	if err != nil {
		return err
	}
	defer s.Close()
	b, o := crashImages()
	i, err := s.Import(context.Background(), o)
	if err != nil {
		return err
	}
	for _, d := range b.inOrder() {
		if err := feed(i, b, d); err != nil {
			return err
		}
		if err := i.checkpoint(i.ctx); err != nil {
			return err
		}
	}
	return i.Commit(context.Background())
}

// TestKilledImportContinues kills an import again and again; names must never exist without what they name,
// and what comes out in the end must be what an import in one go makes.
func TestKilledImportContinues(t *testing.T) {
	root := t.TempDir()
	openTestStore(t, t.TempDir()) // skips without privileges
	b, o := crashImages()
	kills := 0
	for after := 20 * time.Millisecond; ; after += after / 3 {
		child := exec.Command(os.Args[0])
		child.Env = append(os.Environ(), importIntoVariable+"="+root)
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		timer := time.AfterFunc(after, func() { child.Process.Kill() })
		err := child.Wait()
		if timer.Stop() && err != nil {
			t.Fatalf("import after %d kills: %v", kills, err)
		}
		s, openErr := OpenStore(root)
		if openErr != nil {
			t.Fatal(openErr)
		}
		names, checkErr := wholeImages(s)
		s.Close()
		if checkErr != nil {
			t.Fatalf("after %d kills: %v", kills+1, checkErr)
		}
		if want := 3 * len(o.Images); len(names) != 0 && len(names) != want {
			t.Fatalf("after %d kills there are %d names, want none or %d: %v", kills+1, len(names), want, names)
		}
		if err == nil {
			break
		}
		kills++
	}
	if kills < 3 {
		t.Errorf("the import was killed only %d times", kills)
	}
	s := openTestStore(t, root)
	if names := checkWhole(t, s); len(names) != 3*len(o.Images) {
		t.Errorf("%d names, want %d", len(names), 3*len(o.Images))
	}
	if got, want := contents(t, s), (stored{blobs: len(b.data), snapshots: 2 + 4*2, folders: 2 + 4*2}); got != want {
		t.Errorf("the store has %+v, want %+v", got, want)
	}
}

// stored counts what a store has, in the database and on the disk.
type stored struct{ blobs, snapshots, folders, leases, staged int }

func contents(t *testing.T, s *Store) stored {
	t.Helper()
	ctx := inNamespace(context.Background())
	var got stored
	files, _ := os.ReadDir(filepath.Join(s.contentRoot, "blobs", "sha256"))
	got.blobs = len(files)
	folders, _ := os.ReadDir(filepath.Join(s.snapshotRoot, "snapshots"))
	got.folders = len(folders)
	staged, _ := os.ReadDir(filepath.Join(s.contentRoot, stagingFolder))
	got.staged = len(staged)
	err := s.snapshotter().Walk(ctx, func(context.Context, snapshots.Info) error { got.snapshots++; return nil })
	if err != nil {
		t.Fatal(err)
	}
	all, err := metadata.NewLeaseManager(s.db).List(ctx)
	if err != nil {
		t.Fatal(err)
	}
	got.leases = len(all)
	return got
}

// TestContinueKeepsWhatWasSaved closes an import half way; the second must not read again what the first has registered.
func TestContinueKeepsWhatWasSaved(t *testing.T) {
	s := openTestStore(t, t.TempDir())
	b, o := crashImages()
	first, err := s.Import(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	all := b.inOrder()
	half := len(b.meta) + 3
	if err := feed(first, b, all[:half]...); err != nil {
		t.Fatal(err)
	}
	for ctx := context.Background(); contents(t, s).snapshots == 0 || len(unsaved(first)) > 0; { // the workers are at it
		if err := first.checkpoint(inNamespace(leases.WithLease(ctx, "crash"))); err != nil {
			t.Fatal(err)
		}
	}
	if err := feed(first, b, all[half]); err != nil { // staged, but not saved
		t.Fatal(err)
	}
	first.Close()
	second, err := s.Import(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	for n, d := range all {
		if got, want := second.nodes[d] != nil && second.nodes[d].present, n < half; got != want {
			t.Errorf("blob %d of %d: present is %v, want %v", n, half, got, want)
		}
	}
	kept := 0
	for _, l := range second.layers {
		if l.committed {
			kept++
		}
	}
	if kept != 3 {
		t.Errorf("%d layers kept, want 3", kept)
	}
	if err := feed(second, b, all...); err != nil {
		t.Fatal(err)
	}
	if err := second.Commit(context.Background()); err != nil {
		t.Fatal(err)
	}
	checkWhole(t, s)
}

// unsaved lists layers whose blob has come and that are not committed.
func unsaved(i *Import) (list []digest.Digest) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, l := range i.order {
		if l.blob.present && !l.committed {
			list = append(list, l.chainID)
		}
	}
	return list
}

func TestAbortRemovesOnlyItsOwn(t *testing.T) {
	s := openTestStore(t, t.TempDir())
	b := newBlobs()
	shared := b.layer(gzipped, file("shared", "1"))
	importAll(t, s, b, testImages("one", map[string]ocispec.Descriptor{"kept:1": b.image("amd64", shared)}))
	before := contents(t, s)

	b = newBlobs()
	shared = b.layer(gzipped, file("shared", "1"))
	o := testImages("two", map[string]ocispec.Descriptor{"gone:1": b.image("amd64", shared, b.layer(gzipped, file("own", "2")), b.layer(gzipped, file("late", "3")))})
	i, err := s.Import(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	all := b.inOrder()
	if err := feed(i, b, all[:len(all)-1]...); err != nil {
		t.Fatal(err)
	}
	for len(unsaved(i)) > 0 {
		if err := i.checkpoint(i.ctx); err != nil {
			t.Fatal(err)
		}
	}
	if during := contents(t, s); during.blobs != before.blobs+3 || during.leases != 1 {
		t.Errorf("before the abort the store has %+v, at first %+v", during, before)
	}
	if err := i.Abort(context.Background()); err != nil {
		t.Fatal(err)
	}
	if after := contents(t, s); after != before {
		t.Errorf("after the abort the store has %+v, want %+v", after, before)
	}
	if names := checkWhole(t, s); len(names) != 3 {
		t.Errorf("names: %v", names)
	}
}

// TestDiskFull imports onto a disk that a layer expands beyond, then makes it larger and continues.
func TestDiskFull(t *testing.T) {
	root := t.TempDir()
	if err := unix.Mount("tmpfs", root, "tmpfs", 0, "size=100m"); err != nil {
		t.Skipf("cannot mount a small disk: %v", err)
	}
	t.Cleanup(func() { unix.Unmount(root, unix.MNT_DETACH) })
	s := openTestStore(t, root)
	b := newBlobs()
	small := b.layer(gzipped, file("small", "1"))
	large := b.layer(gzipped, file("zeros", strings.Repeat("\x00", 120<<20)))
	o := testImages("full", map[string]ocispec.Descriptor{"x:1": b.image("amd64", small, large)})
	attempt := func() error {
		i, err := s.Import(context.Background(), o)
		if err != nil {
			return err
		}
		defer i.Close()
		if err := feed(i, b, b.inOrder()...); err != nil {
			return err
		}
		return i.Commit(context.Background())
	}
	err := attempt()
	if !errors.Is(err, ErrNoSpace) || !strings.Contains(err.Error(), "run again") {
		t.Fatalf("error %v, want ErrNoSpace with the remedy", err)
	}
	if names := checkWhole(t, s); len(names) > 0 {
		t.Errorf("there are images: %v", names)
	}
	if err := unix.Mount("tmpfs", root, "tmpfs", unix.MS_REMOUNT, "size=400m"); err != nil {
		t.Fatal(err)
	}
	if err := attempt(); err != nil {
		t.Fatal(err)
	}
	checkWhole(t, s)
}

// TestSweepAfterHalfTransaction leaves the snapshotter with what the metadata does not know, as a crash between
// the two commits does, and folders that neither knows.
func TestSweepAfterHalfTransaction(t *testing.T) {
	s := openTestStore(t, t.TempDir())
	ctx := inNamespace(context.Background())
	b, o := crashImages()
	i, err := s.Import(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	if err := feed(i, b, b.inOrder()[:len(b.meta)]...); err != nil {
		t.Fatal(err)
	}
	i.Close()
	lost := errors.New("power cut")
	err = s.db.Update(func(tx *bolt.Tx) error {
		err := s.overlay.batch(boltutil.WithTransaction(ctx, tx), func(ctx context.Context) error {
			for _, l := range i.order {
				if _, err := s.snapshotter().Prepare(ctx, l.key(), "", l.options()...); err != nil {
					return err
				}
			}
			return nil
		})
		return errors.Join(err, lost) // the metadata's transaction does not come to its end
	})
	if !errors.Is(err, lost) {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(s.snapshotRoot, "snapshots", "99", "fs"), 0o755); err != nil {
		t.Fatal(err)
	}
	importAll(t, s, b, o)
	checkWhole(t, s)
	if got, want := contents(t, s), (stored{blobs: len(b.data), snapshots: 10, folders: 10}); got != want {
		t.Errorf("the store has %+v, want %+v", got, want)
	}
}
