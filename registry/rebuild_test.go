package registry

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// rebuildVariable names the root that the test executable makes anew, when it is started with it.
const rebuildVariable = "AIRGAP_TEST_REBUILD"

// filledStore is a closed store with crashImages, its record beside it, and the names that it has.
func filledStore(t *testing.T) (root string, names []string) {
	t.Helper()
	root = filepath.Join(t.TempDir(), "containerd")
	s := openTestStore(t, root)
	b, o := crashImages()
	i, err := s.Import(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if err := feed(i, b, b.inOrder()...); err != nil {
		t.Fatal(err)
	}
	if err := i.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	verified := map[digest.Digest]int64{}
	for d, data := range b.data {
		verified[d] = int64(len(data))
	}
	at := slices.IndexFunc(o.Images, func(i ImportImage) bool { return i.Names[0] == "site/image-0:1" })
	target := o.Images[at].Target
	push := RecordedImage{
		Name: "registry.airgap.internal/team/app:1", MediaType: target.MediaType, Digest: target.Digest, Size: target.Size,
		Labels: map[string]string{"airgap.internal/pushed": "true"},
	}
	if back, lost, err := s.adoptPushed(t.Context(), []RecordedImage{push}, verified); back != 1 || len(lost) > 0 || err != nil {
		t.Fatalf("%d, %v, %v", back, lost, err)
	}
	record, err := ReadImages(t.Context(), s.images)
	if err != nil {
		t.Fatal(err)
	}
	if err := WriteRecord(recordOf(root), record, nil); err != nil {
		t.Fatal(err)
	}
	if names, err = wholeImages(s); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return root, names
}

func recordOf(root string) string { return filepath.Join(filepath.Dir(root), "images.json") }

func rebuild(ctx context.Context, root string) (Rebuilt, error) {
	record, err := ReadRecord(recordOf(root))
	if err != nil {
		return Rebuilt{}, err
	}
	return Rebuild(ctx, RebuildOptions{Root: root, Record: record, Aside: filepath.Join(filepath.Dir(root), "damaged")})
}

func mustHaveNames(t *testing.T, root string, want []string) {
	t.Helper()
	if err := CheckDatabases(root); err != nil {
		t.Fatal(err)
	}
	s, err := OpenStore(root)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	got, err := wholeImages(s)
	if err != nil || !slices.Equal(got, want) {
		t.Fatalf("%v\nnames %v\nwant  %v", err, got, want)
	}
	mustHavePushed(t, s)
}

// mustHavePushed wants the pushed image, and all its blobs, also once the garbage has been collected.
func mustHavePushed(t *testing.T, s *Store) {
	t.Helper()
	ctx := namespaces.WithNamespace(t.Context(), SiteNamespace)
	list, err := s.images.List(ctx)
	if err != nil || len(list) != 1 || list[0].Labels["airgap.internal/pushed"] != "true" {
		t.Fatalf("pushed images: %v, %v", list, err)
	}
	if err := s.collect(t.Context()); err != nil {
		t.Fatal(err)
	}
	blobs := s.db.ContentStore()
	if missing := unreachable(ctx, blobs, list[0].Target); len(missing) > 0 {
		t.Fatalf("the pushed image lacks %v", missing)
	}
}

func unreachable(ctx context.Context, store content.Store, target ocispec.Descriptor) (missing []digest.Digest) {
	_ = images.Walk(ctx, images.HandlerFunc(func(ctx context.Context, d ocispec.Descriptor) ([]ocispec.Descriptor, error) {
		if _, err := store.Info(ctx, d.Digest); err != nil {
			missing = append(missing, d.Digest)
			return nil, nil
		}
		return images.Children(ctx, store, d)
	}), target)
	return missing
}

func TestSoundDatabases(t *testing.T) {
	root, names := filledStore(t)
	begin := time.Now()
	mustHaveNames(t, root, names)
	t.Logf("checked in %s", time.Since(begin))
	if err := CheckDatabases(t.TempDir()); err != nil {
		t.Errorf("a store that was never used: %v", err)
	}
	s, err := OpenStore(root)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := CheckDatabases(root); !errors.Is(err, ErrInUse) {
		t.Errorf("%v, want ErrInUse", err)
	}
}

// TestDamagedDatabasesAreMadeAnew damages either database in the ways a disk does.
func TestDamagedDatabasesAreMadeAnew(t *testing.T) {
	random := rand.NewChaCha8([32]byte{7})
	garbage := make([]byte, 64<<10)
	random.Read(garbage)
	for _, database := range []struct {
		name string
		file func(string) string
	}{{"meta.db", metaFile}, {"metadata.db", overlayFile}} {
		for _, damage := range []struct {
			name string
			do   func(f *os.File, size int64) error
		}{
			{"empty", func(f *os.File, _ int64) error { return f.Truncate(0) }},
			{"zero", func(f *os.File, size int64) error { _, err := f.WriteAt(make([]byte, size), 0); return err }},
			{"without its head", func(f *os.File, _ int64) error { _, err := f.WriteAt(make([]byte, 8192), 0); return err }},
			{"cut to two pages", func(f *os.File, _ int64) error { return f.Truncate(8192) }},
			{"cut to five pages", func(f *os.File, _ int64) error { return f.Truncate(5 * 4096) }},
			{"garbage from page 2", func(f *os.File, size int64) error {
				_, err := f.WriteAt(garbage[:min(int64(len(garbage)), size-8192)], 8192)
				return err
			}},
			{"gone", func(f *os.File, _ int64) error { return os.Remove(f.Name()) }},
		} {
			t.Run(database.name+" "+damage.name, func(t *testing.T) {
				root, names := filledStore(t)
				f, err := os.OpenFile(database.file(root), os.O_RDWR, 0)
				if err != nil {
					t.Fatal(err)
				}
				info, err := f.Stat()
				if err == nil {
					err = damage.do(f, info.Size())
				}
				f.Close()
				if err != nil {
					t.Fatal(err)
				}
				if err := CheckDatabases(root); !errors.Is(err, ErrDamaged) {
					t.Fatalf("%v, want ErrDamaged", err)
				}
				done, err := rebuild(t.Context(), root)
				if err != nil || done.Images != 4 || done.Pushed != 1 || len(done.Lost)+len(done.Corrupt) > 0 {
					t.Fatalf("%+v, %v", done, err)
				}
				mustHaveNames(t, root, names)
			})
		}
	}
}

// TestADamagedPageIsFoundOrHarmless overwrites single pages, which may be ones that nothing uses: then all images are still there.
func TestADamagedPageIsFoundOrHarmless(t *testing.T) {
	root, names := filledStore(t)
	whole, err := os.ReadFile(metaFile(root))
	if err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(1, 2))
	found := 0
	for page := 2; page < len(whole)/4096; page++ {
		data := slices.Clone(whole)
		for i := range 4096 {
			data[page*4096+i] = byte(random.Uint32())
		}
		if err := os.WriteFile(metaFile(root), data, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := CheckDatabases(root); errors.Is(err, ErrDamaged) {
			found++
			continue
		} else if err != nil {
			t.Fatal(err)
		}
		mustHaveNames(t, root, names)
	}
	if found == 0 {
		t.Error("no damage was found")
	}
	t.Logf("%d of %d pages matter", found, len(whole)/4096-2)
}

func TestACorruptBlobCostsItsImagesAlone(t *testing.T) {
	root, _ := filledStore(t)
	record, err := ReadRecord(recordOf(root))
	if err != nil {
		t.Fatal(err)
	}
	list := record.Images
	manifest := filepath.Join(blobsFolder(root), list[2].Digest.Encoded())
	if err := os.Chmod(manifest, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(manifest, []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(metaFile(root), 0); err != nil {
		t.Fatal(err)
	}
	done, err := rebuild(t.Context(), root)
	if err != nil || done.Images != 3 || len(done.Lost) != 1 || done.Lost[0].Name != list[2].Name || !slices.Equal(done.Corrupt, []string{list[2].Digest.String()}) {
		t.Fatalf("%+v, %v; want %s lost", done, err, list[2].Name)
	}
	if _, err := os.Stat(manifest); err == nil {
		t.Error("the corrupt blob is still under the name of what it is not")
	}
}

// TestKilledRebuildBeginsAnew kills the process that makes the store anew, again and again.
func TestKilledRebuildBeginsAnew(t *testing.T) {
	root, names := filledStore(t)
	if err := os.Truncate(metaFile(root), 4096); err != nil {
		t.Fatal(err)
	}
	for kills, after := 0, 10*time.Millisecond; ; kills, after = kills+1, after+after/3 {
		child := exec.Command(os.Args[0])
		child.Env = append(os.Environ(), rebuildVariable+"="+root)
		child.Stderr = os.Stderr
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		timer := time.AfterFunc(after, func() { child.Process.Kill() })
		err := child.Wait()
		if timer.Stop() && err != nil {
			t.Fatal(err)
		}
		if err == nil {
			t.Logf("after %d kills", kills)
			break
		}
		if err := CheckDatabases(root); err != nil && !errors.Is(err, ErrDamaged) {
			t.Fatal(err)
		}
	}
	mustHaveNames(t, root, names)
}

func TestRecordKeepsWhatBundlesBrought(t *testing.T) {
	file := filepath.Join(t.TempDir(), "images.json")
	image := func(name string) RecordedImage { return RecordedImage{Name: name, Digest: "sha256:x"} }
	write := func(keep []string, names ...string) []string {
		t.Helper()
		var record Record
		for _, name := range names {
			record.Images = append(record.Images, image(name))
		}
		if err := WriteRecord(file, record, keep); err != nil {
			t.Fatal(err)
		}
		read, err := ReadRecord(file)
		if err != nil {
			t.Fatal(err)
		}
		names = nil
		for _, i := range read.Images {
			names = append(names, i.Name)
		}
		return names
	}
	keep := []string{"site/app:1"}
	write(keep, "docker.io/site/app:1", "docker.io/library/pulled:1")
	if got := write(keep, "docker.io/library/other:1"); !slices.Equal(got, []string{"docker.io/library/other:1", "docker.io/site/app:1"}) {
		t.Errorf("%v", got)
	}
	if got := write(nil); len(got) != 0 {
		t.Errorf("%v: the bundle is gone", got)
	}
}
