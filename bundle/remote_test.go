package bundle

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"airgap/signing"
)

// folderRemote is what other machines hand over of a bundle, here in its folder form. The fields after it make it hostile.
type folderRemote struct {
	t       *testing.T
	dir     string
	shuffle func([]int)

	file  func(name string, data []byte) ([]byte, error)
	order func([]int) []int
	body  func(index int, data []byte) (io.Reader, error)

	entries []Entry
	turn    []int
	asked   []string
	open    int // contents handed over and not closed
}

func (f *folderRemote) File(_ context.Context, name string, limit int64) ([]byte, error) {
	f.asked = append(f.asked, name)
	data, err := os.ReadFile(filepath.Join(f.dir, name))
	if f.file != nil {
		return f.file(name, data)
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("%s is larger than %d bytes", name, limit)
	}
	return data, err
}

func (f *folderRemote) Expect(_ context.Context, entries []Entry, ordered int) error {
	f.entries = entries
	for i := range entries {
		f.turn = append(f.turn, i)
	}
	if f.shuffle != nil {
		f.shuffle(f.turn[ordered:])
	}
	if f.order != nil {
		f.turn = f.order(f.turn)
	}
	return nil
}

// closing counts what has not been closed.
type closing struct {
	io.Reader
	open *int
}

func (c closing) Close() error { *c.open--; return nil }

func (f *folderRemote) Next(ctx context.Context) (int, io.ReadCloser, error) {
	if f.open > 0 {
		f.t.Error("an entry is asked for while another's contents are open")
	}
	if len(f.turn) == 0 {
		return 0, nil, errors.New("nobody has more")
	}
	index := f.turn[0]
	f.turn = f.turn[1:]
	var contents io.Reader = bytes.NewReader(nil)
	if index >= 0 && index < len(f.entries) {
		data, err := os.ReadFile(filepath.Join(f.dir, f.entries[index].Path))
		if err != nil {
			return 0, nil, err
		}
		contents = bytes.NewReader(data)
		if f.body != nil {
			if contents, err = f.body(index, data); err != nil {
				return 0, nil, err
			}
		}
	}
	f.open++
	return index, closing{contents, &f.open}, nil
}

// remoteBundle writes a signed bundle as a folder and returns a way to read it from others.
func remoteBundle(t *testing.T, content Content, key *signing.PrivateKey) *folderRemote {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "site")
	if _, err := Create(context.Background(), dir, content, CreateOptions{Directory: true, Signers: []*signing.PrivateKey{key}}); err != nil {
		t.Fatal(err)
	}
	return &folderRemote{t: t, dir: dir}
}

func readRemote(f *folderRemote, trust Trust) (map[string][]byte, error) {
	r, err := NewRemoteReader(context.Background(), f, trust)
	if err != nil {
		return nil, err
	}
	contents, err := readAll(r)
	return contents, errors.Join(err, r.Close())
}

// TestRemoteEntriesComeInAnyOrder reads a bundle whose layers are longer than what is held in memory.
func TestRemoteEntriesComeInAnyOrder(t *testing.T) {
	key, policy := signer(t, siteKey)
	remote := remoteBundle(t, testContent(t, 3*chunkBytes), key)
	local, err := Open(remote.dir, policy)
	if err != nil {
		t.Fatal(err)
	}
	defer local.Close()
	want, err := readAll(local)
	if err != nil {
		t.Fatal(err)
	}
	for seed := range uint64(8) {
		random := rand.New(rand.NewPCG(seed, 0))
		remote.turn = nil
		remote.shuffle = func(turn []int) { random.Shuffle(len(turn), func(i, j int) { turn[i], turn[j] = turn[j], turn[i] }) }
		got, err := readRemote(remote, policy)
		if err != nil {
			t.Fatal(err)
		}
		if len(got) != len(want) {
			t.Errorf("%d entries, want %d", len(got), len(want))
		}
		for path, data := range want {
			if !bytes.Equal(got[path], data) {
				t.Errorf("%s has %d bytes which differ from the folder's %d", path, len(got[path]), len(data))
			}
		}
		if remote.open != 0 {
			t.Errorf("%d contents are left open", remote.open)
		}
	}
	if head := remote.asked[:4]; !slices.Equal(head, []string{ManifestPath, "airgap.json.sigstore.json", "airgap.json.sig", "airgap.json.1.sigstore.json"}) {
		t.Errorf("of the head, %q were asked for", head)
	}
}

// endless never ends.
type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

func TestHostileRemotes(t *testing.T) {
	key, policy := signer(t, siteKey)
	stranger, _ := signer(t, strangersKey)
	const last = -1 // an index: the last entry, a long layer
	change := func(at int, f func([]byte) io.Reader) func(*folderRemote) {
		return func(r *folderRemote) {
			r.body = func(index int, data []byte) (io.Reader, error) {
				if index == at || at == last && index == len(r.entries)-1 {
					return f(data), nil
				}
				return bytes.NewReader(data), nil
			}
		}
	}
	flipped := func(data []byte) io.Reader {
		data[len(data)/2] ^= 1
		return bytes.NewReader(data)
	}
	short := func(data []byte) io.Reader { return bytes.NewReader(data[:len(data)-1]) }
	long := func(data []byte) io.Reader { return io.MultiReader(bytes.NewReader(data), endless{}) }
	order := func(f func([]int) []int) func(*folderRemote) { return func(r *folderRemote) { r.order = f } }
	file := func(name string, data []byte, err error) func(*folderRemote) {
		return func(r *folderRemote) {
			r.file = func(asked string, has []byte) ([]byte, error) {
				if asked == name {
					return data, err
				}
				return os.ReadFile(filepath.Join(r.dir, asked))
			}
		}
	}
	unplugged := errors.New("network is unreachable")
	for name, test := range map[string]struct {
		key     *signing.PrivateKey
		hostile func(*folderRemote)
		want    error
		text    string
	}{
		"honest":                  {key, func(*folderRemote) {}, nil, ""},
		"signed by a stranger":    {stranger, func(*folderRemote) {}, signing.ErrUntrusted, ""},
		"no manifest":             {key, file(ManifestPath, nil, fs.ErrNotExist), ErrFormat, "airgap.json is missing"},
		"another manifest":        {key, file(ManifestPath, []byte("{}"), nil), signing.ErrInvalid, "install from a stick"},
		"an endless manifest":     {key, file(ManifestPath, make([]byte, MaxManifestBytes+1), nil), ErrFormat, "the limit is"},
		"no signature":            {key, file("airgap.json.sigstore.json", nil, fs.ErrNotExist), signing.ErrUnsigned, ""},
		"half a signature":        {key, file("airgap.json.sig", nil, fs.ErrNotExist), ErrFormat, "airgap.json.sig is missing"},
		"an endless signature":    {key, file("airgap.json.sig", make([]byte, MaxSignatureBytes+1), nil), ErrFormat, "the limit is"},
		"an unreachable manifest": {key, file(ManifestPath, nil, unplugged), unplugged, ""},
		"a bit of metadata":       {key, change(2, flipped), ErrDigest, "differs from what was signed"},
		"short metadata":          {key, change(2, short), ErrTruncated, "ends too early"},
		"endless metadata":        {key, change(2, long), ErrFormat, "goes on after its end"},
		"a bit of a layer":        {key, change(last, flipped), ErrDigest, "differs from what was signed"},
		"a short layer":           {key, change(last, short), ErrTruncated, "ends too early"},
		"an endless layer":        {key, change(last, long), ErrFormat, "goes on after its end"},
		"metadata out of order": {key, order(func(turn []int) []int {
			turn[0], turn[1] = turn[1], turn[0]
			return turn
		}), ErrFormat, "entry 1 comes where oci-layout must"},
		"a layer before metadata": {key, order(func(turn []int) []int { return append([]int{len(turn) - 1}, turn...) }), ErrFormat, "comes where oci-layout must"},
		"a layer twice":           {key, order(func(turn []int) []int { return append(slices.Clone(turn[:len(turn)-1]), turn[len(turn)-2]) }), ErrFormat, "comes again"},
		"metadata again":          {key, order(func(turn []int) []int { return append(slices.Clone(turn[:len(turn)-1]), 0) }), ErrFormat, "comes again"},
		"one too many":            {key, order(func(turn []int) []int { return append(slices.Clone(turn[:len(turn)-1]), len(turn)) }), ErrFormat, "is handed over"},
		"a negative one":          {key, order(func(turn []int) []int { return []int{-1} }), ErrFormat, "is handed over"},
		"one too few":             {key, order(func(turn []int) []int { return turn[:len(turn)-1] }), nil, "nobody has more"},
		"unplugged": {key, func(r *folderRemote) {
			r.body = func(index int, data []byte) (io.Reader, error) {
				if index > 3 {
					return nil, unplugged
				}
				return bytes.NewReader(data), nil
			}
		}, unplugged, ""},
	} {
		t.Run(name, func(t *testing.T) {
			remote := remoteBundle(t, testContent(t, 2*chunkBytes), test.key)
			test.hostile(remote)
			_, err := readRemote(remote, policy)
			if (err != nil) != (test.want != nil || test.text != "") || test.want != nil && !errors.Is(err, test.want) ||
				err != nil && !strings.Contains(err.Error(), test.text) {
				t.Errorf("error %v, want %v with %q", err, test.want, test.text)
			}
			if err != nil && strings.Contains(err.Error(), "another stick") {
				t.Errorf("%v: there is no stick", err)
			}
			if remote.open != 0 {
				t.Errorf("%d contents are left open", remote.open)
			}
		})
	}
}

func TestRemoteReaderEndsWithItsContext(t *testing.T) {
	key, policy := signer(t, siteKey)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	r, err := NewRemoteReader(ctx, remoteBundle(t, testContent(t, 2*chunkBytes), key), policy)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	cancel()
	if _, err := readAll(r); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}
