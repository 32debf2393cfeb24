package bundle

import (
	"bytes"
	"context"
	"errors"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"airgap/signing"
)

// largeLayer is more than a Reader and a worker hold at once.
const largeLayer = (chunks + 2) * chunkBytes

func TestRoundTrip(t *testing.T) {
	key, policy := signer(t, siteKey)
	content := testContent(t, largeLayer)
	want := make(map[string][]byte)
	for _, b := range content.Blobs {
		r, err := b.Open(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		if want[entryOfBlob(b).Path], err = io.ReadAll(r); err != nil {
			t.Fatal(err)
		}
	}
	for _, form := range []string{"site.airgap", "site/"} {
		t.Run(form, func(t *testing.T) {
			path := t.TempDir() + "/" + form
			var last, total int64
			written, err := Create(context.Background(), path, content, CreateOptions{
				Signers:  []*signing.PrivateKey{key},
				Progress: func(done, all int64) { last, total = done, all },
			})
			if err != nil {
				t.Fatal(err)
			}
			if last != total || total < written.Size() {
				t.Errorf("progress ended at %d of %d", last, total)
			}
			r, err := Open(path, policy)
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			if id := policy.Keys[0].ID(); !slices.Equal(r.Signers(), []string{id}) {
				t.Errorf("signers %v, want %s", r.Signers(), id)
			}
			got, err := readAll(r)
			if err != nil {
				t.Fatal(err)
			}
			if len(got) != len(want)+2 {
				t.Errorf("%d entries, want oci-layout, index.json and %d blobs", len(got), len(want))
			}
			for path, data := range want {
				if !bytes.Equal(got[path], data) {
					t.Errorf("%s: other bytes come out", path)
				}
			}
			if _, _, err := r.Next(); err != io.EOF {
				t.Errorf("Next after the end: %v", err)
			}
			assertOnly(t, filepath.Dir(filepath.Clean(path)), filepath.Base(path))
		})
	}
}

// TestOrder holds the entries to the order of the format.
func TestOrder(t *testing.T) {
	content := testContent(t, 10)
	r, err := Open(create(t, content, CreateOptions{}), AllowUnsigned{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	m := r.Manifest()
	var roles []Role
	for _, e := range m.Entries {
		roles = append(roles, e.Role)
	}
	// The chart's values are the bytes of the empty config, which comes first.
	want := []Role{"layout", "layout", "index", "manifest", "manifest", "manifest", "manifest", "manifest", "manifest",
		"config", "config", "config", "config", "chart", "objects", "file", "executable", "layer", "layer"}
	if !slices.Equal(roles, want) {
		t.Errorf("roles %v\nwant  %v", roles, want)
	}
	var layers []string
	for _, b := range content.Blobs {
		if b.Role == RoleLayer && !slices.Contains(layers, b.Digest) {
			layers = append(layers, b.Digest)
		}
	}
	for i, e := range m.Entries[len(m.Entries)-2:] {
		if e.Digest() != layers[i] {
			t.Errorf("layer %d is %s, want %s: import order", i, e.Digest(), layers[i])
		}
	}
	if !slices.IsSortedFunc(m.Images, func(a, b Image) int { return strings.Compare(a.Reference, b.Reference) }) {
		t.Errorf("images are not sorted: %v", m.Images)
	}
}

// TestDeterministic holds the bytes to be the same at any concurrency, and whatever the order of what has no order.
func TestDeterministic(t *testing.T) {
	key, _ := signer(t, siteKey)
	content := testContent(t, largeLayer)
	opts := CreateOptions{Signers: []*signing.PrivateKey{key}, Concurrency: 1}
	one := mustRead(t, create(t, content, opts))
	opts.Concurrency = 8
	slices.Reverse(content.Manifest.Images)
	content.Blobs = slices.SortedStableFunc(slices.Values(content.Blobs), func(a, b Blob) int { // layers keep their order
		return strings.Compare(string(a.Role), string(b.Role))
	})
	if eight := mustRead(t, create(t, content, opts)); !bytes.Equal(one, eight) {
		t.Errorf("bytes differ from %d on", firstDifference(one, eight))
	}
}

// TestCreateRefuses makes each promise of a source fail, and looks for what is left.
func TestCreateRefuses(t *testing.T) {
	long := testContent(t, largeLayer)
	last := len(long.Blobs) - 1
	for last > 0 && long.Blobs[last].Role != RoleLayer {
		last--
	}
	open := func(change func([]byte) []byte, err error) func(context.Context) (io.ReadCloser, error) {
		return func(ctx context.Context) (io.ReadCloser, error) {
			r, _ := long.Blobs[last].Open(ctx)
			data, _ := io.ReadAll(r)
			return io.NopCloser(io.MultiReader(bytes.NewReader(change(bytes.Clone(data))), failingReader{err})), nil
		}
	}
	broken := errors.New("connection reset")
	for name, test := range map[string]struct {
		open func(context.Context) (io.ReadCloser, error)
		want error
	}{
		"one bit":      {open(func(b []byte) []byte { b[len(b)/2] ^= 1; return b }, io.EOF), ErrDigest},
		"too short":    {open(func(b []byte) []byte { return b[:len(b)-1] }, io.EOF), ErrDigest},
		"too long":     {open(func(b []byte) []byte { return append(b, 0) }, io.EOF), ErrDigest},
		"read error":   {open(func(b []byte) []byte { return b[:len(b)/2] }, broken), broken},
		"not opened":   {func(context.Context) (io.ReadCloser, error) { return nil, broken }, broken},
		"without end":  {open(func(b []byte) []byte { return append(b, make([]byte, largeLayer)...) }, broken), ErrDigest},
		"error at end": {open(func(b []byte) []byte { return b }, broken), broken},
	} {
		for _, form := range []string{"site.airgap", "site/"} {
			t.Run(name+" to "+form, func(t *testing.T) {
				dir := t.TempDir()
				if form == "site.airgap" {
					os.WriteFile(filepath.Join(dir, "site.airgap"), []byte("the version before"), 0o644)
				}
				content := long
				content.Blobs = slices.Clone(long.Blobs)
				for i := range content.Blobs { // each place where the layer is shared
					if content.Blobs[i].Digest == long.Blobs[last].Digest {
						content.Blobs[i].Open = test.open
					}
				}
				_, err := Create(context.Background(), dir+"/"+form, content, CreateOptions{})
				if !errors.Is(err, test.want) || !strings.Contains(err.Error(), entryOfBlob(long.Blobs[last]).Path) {
					t.Errorf("error %v, want %v, naming the blob", err, test.want)
				}
				if form == "site.airgap" {
					assertOnly(t, dir, "site.airgap")
					if got := mustRead(t, filepath.Join(dir, "site.airgap")); string(got) != "the version before" {
						t.Error("the file that was there is gone")
					}
				} else {
					assertOnly(t, dir)
				}
			})
		}
	}
}

// TestCreateWithoutRoom declares a layer that no disk has room for; it must be refused before anything is fetched.
func TestCreateWithoutRoom(t *testing.T) {
	huge := layer{Blob{Digest: digestOf([]byte("huge")), Size: MaxEntryBytes, Role: RoleLayer, Open: func(context.Context) (io.ReadCloser, error) {
		t.Error("the layer was fetched")
		return nil, io.EOF
	}}, "sha256:00"}
	content := tinyContent(t)
	content.Blobs = imageManifest(t, "amd64", huge)
	image := &content.Manifest.Images[0]
	image.Digest, image.Size, image.Platforms[0].Digest = content.Blobs[0].Digest, content.Blobs[0].Size, content.Blobs[0].Digest
	for _, form := range []string{"site.airgap", "site/"} {
		dir := t.TempDir()
		_, err := Create(context.Background(), dir+"/"+form, content, CreateOptions{})
		if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "MB are free") {
			t.Errorf("%s: error %v, want ENOSPC with figures", form, err)
		}
		assertOnly(t, dir)
	}
}

func TestCreateCancelled(t *testing.T) {
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(context.Background())
	_, err := Create(ctx, filepath.Join(dir, "site.airgap"), testContent(t, largeLayer), CreateOptions{
		Progress: func(done, total int64) {
			if done > total/2 {
				cancel()
			}
		},
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want context.Canceled", err)
	}
	assertOnly(t, dir)
}

func TestCreateLeavesAFolderAlone(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "letter"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Create(context.Background(), dir+"/", testContent(t, 10), CreateOptions{}); err == nil || !strings.Contains(err.Error(), "already there") {
		t.Errorf("error %v", err)
	}
	assertOnly(t, dir, "letter")
}

// TestGraphIsClosed takes one blob away, or adds one, and expects Create to notice.
func TestGraphIsClosed(t *testing.T) {
	whole := testContent(t, 10)
	distinct := make(map[string]Role)
	for _, b := range whole.Blobs {
		distinct[b.Digest] = b.Role
	}
	for digest, role := range distinct {
		t.Run("without a "+string(role), func(t *testing.T) {
			c := whole
			c.Blobs = slices.DeleteFunc(slices.Clone(whole.Blobs), func(b Blob) bool { return b.Digest == digest })
			if _, err := Create(context.Background(), filepath.Join(t.TempDir(), "x"), c, CreateOptions{}); err == nil {
				t.Errorf("%s is missing and was not missed", digest)
			}
		})
	}
	for name, extra := range map[string]Blob{
		"stray layer":    NewBlob(RoleLayer, []byte("stray")),
		"stray manifest": NewBlob(RoleManifest, []byte(`{"config":{},"layers":[]}`)),
	} {
		t.Run(name, func(t *testing.T) {
			c := whole
			c.Blobs = append(slices.Clone(whole.Blobs), extra)
			_, err := Create(context.Background(), filepath.Join(t.TempDir(), "x"), c, CreateOptions{})
			if !errors.Is(err, ErrFormat) || !strings.Contains(err.Error(), "belongs to nothing") {
				t.Errorf("error %v", err)
			}
		})
	}
	t.Run("other size", func(t *testing.T) {
		c := whole
		c.Blobs = slices.Clone(whole.Blobs)
		for i := range c.Blobs {
			if c.Blobs[i].Role == RoleLayer {
				c.Blobs[i].Size++
			}
		}
		if _, err := Create(context.Background(), filepath.Join(t.TempDir(), "x"), c, CreateOptions{}); !errors.Is(err, ErrFormat) {
			t.Errorf("error %v, want ErrFormat", err)
		}
	})
}

func TestTrust(t *testing.T) {
	key, policy := signer(t, siteKey)
	stranger, strangers := signer(t, strangersKey)
	content := testContent(t, 10)
	both := signing.Policy{Keys: slices.Concat(policy.Keys, strangers.Keys), Threshold: 2}
	twice := create(t, content, CreateOptions{Signers: []*signing.PrivateKey{key, key}})
	byBoth := create(t, content, CreateOptions{Signers: []*signing.PrivateKey{key, stranger}})
	signed, unsigned := create(t, content, CreateOptions{Signers: []*signing.PrivateKey{key}}), create(t, content, CreateOptions{})
	for name, test := range map[string]struct {
		path  string
		trust Trust
		want  error
	}{
		"signed":                             {signed, policy, nil},
		"signed, unsigned allowed":           {signed, AllowUnsigned{policy}, nil},
		"two of two":                         {byBoth, both, nil},
		"one of two":                         {byBoth, strangers, nil},
		"one signer twice":                   {twice, both, signing.ErrUntrusted},
		"unsigned, allowed":                  {unsigned, AllowUnsigned{policy}, nil},
		"looking only":                       {signed, AllowUnsigned{}, nil},
		"unsigned":                           {unsigned, policy, signing.ErrUnsigned},
		"by a stranger":                      {signed, strangers, signing.ErrUntrusted},
		"by a stranger, unsigned allowed":    {signed, AllowUnsigned{strangers}, signing.ErrUntrusted},
		"no trust given is not trust in all": {signed, nil, signing.ErrUntrusted},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := Verify(context.Background(), test.path, test.trust, nil)
			if !errors.Is(err, test.want) {
				t.Errorf("error %v, want %v", err, test.want)
			}
		})
	}
}

// TestReadingOnlyAPart skips what it does not want, and is still told of damage there.
func TestReadingOnlyAPart(t *testing.T) {
	path := create(t, testContent(t, largeLayer), CreateOptions{})
	data := mustRead(t, path)
	skim := func(data []byte) error {
		r, err := NewReader(bytes.NewReader(data), AllowUnsigned{})
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		for {
			_, contents, err := r.Next()
			if err == io.EOF {
				return nil
			}
			if err != nil {
				return err
			}
			io.CopyN(io.Discard, contents, 100)
		}
	}
	if err := skim(data); err != nil {
		t.Errorf("undamaged: %v", err)
	}
	data[len(data)-largeLayer/2] ^= 1
	if err := skim(data); !errors.Is(err, ErrDigest) {
		t.Errorf("damaged: %v, want ErrDigest", err)
	}
}

func TestCloseWhileReading(t *testing.T) {
	r, err := Open(create(t, testContent(t, largeLayer), CreateOptions{}), AllowUnsigned{})
	if err != nil {
		t.Fatal(err)
	}
	for {
		e, contents, err := r.Next()
		if err != nil {
			t.Fatal(err)
		}
		if e.Role == RoleLayer {
			io.CopyN(io.Discard, contents, 10)
			break
		}
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	if _, _, err := r.Next(); err == nil || err == io.EOF {
		t.Errorf("Next after Close: %v", err)
	}
}

// failingReader fails at once.
type failingReader struct{ err error }

func (r failingReader) Read([]byte) (int, error) { return 0, r.err }

func assertOnly(t *testing.T, dir string, want ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string]bool)
	for _, e := range entries {
		got[e.Name()] = true
	}
	for _, name := range want {
		if !got[name] {
			t.Errorf("%s is missing", name)
		}
		delete(got, name)
	}
	if len(got) > 0 {
		t.Errorf("left behind: %v", slices.Sorted(maps.Keys(got)))
	}
}

// TestReproducible makes one bundle twenty times, with 1 to 16 blobs fetched at once from sources that take their time: the same
// bytes each time, signature and all.
func TestReproducible(t *testing.T) {
	key, _ := signer(t, siteKey)
	content := testContent(t, 3*copyBytes/2)
	for i, b := range content.Blobs {
		content.Blobs[i].Open = func(ctx context.Context) (io.ReadCloser, error) {
			time.Sleep(time.Duration(rand.IntN(3)) * time.Millisecond)
			return b.Open(ctx)
		}
	}
	var first []byte
	for build := range 20 {
		concurrency := 1 + build%16
		made := mustRead(t, create(t, content, CreateOptions{Signers: []*signing.PrivateKey{key}, Concurrency: concurrency}))
		if first == nil {
			first = made
		}
		if !bytes.Equal(made, first) {
			t.Fatalf("build %d, concurrency %d: bytes differ from %d on", build, concurrency, firstDifference(made, first))
		}
	}
}
