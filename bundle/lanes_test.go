package bundle

import (
	"bytes"
	"context"
	"errors"
	"io"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"airgap/signing"
)

// watchedTar is the tar of a bundle that can be read at several places, and that keeps count of what is read.
type watchedTar struct {
	data   []byte
	at     int64 // of Read
	reads  []int // how often each byte has been read
	order  []int64
	before func(offset int64)
	lies   bool // whatever is read again has changed
}

func watch(data []byte) *watchedTar { return &watchedTar{data: data, reads: make([]int, len(data))} }

func (w *watchedTar) Expect(int64) error         { return nil }
func (w *watchedTar) Remedy(int64, int64) string { return recopy }
func (w *watchedTar) Close() error               { return nil }
func (w *watchedTar) Whole() io.ReaderAt         { return w }

func (w *watchedTar) Read(p []byte) (int, error) {
	n, err := w.ReadAt(p, w.at)
	w.at += int64(n)
	if n > 0 {
		err = nil
	}
	return n, err
}

// ReadAt is called from one goroutine at a time, or the race detector tells.
func (w *watchedTar) ReadAt(p []byte, offset int64) (int, error) {
	if w.before != nil {
		w.before(offset)
	}
	w.order = append(w.order, offset)
	if offset >= int64(len(w.data)) {
		return 0, io.EOF
	}
	n := copy(p, w.data[offset:])
	for i := range n {
		if w.lies && w.reads[offset+int64(i)] > 0 {
			p[i] ^= 0xff
		}
		w.reads[offset+int64(i)]++
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// verifyWatched verifies a tar that can be read at several places.
func verifyWatched(w *watchedTar, trust Trust) error {
	r, err := OpenTar(w, trust)
	if err != nil {
		return err
	}
	defer r.Close()
	return r.Verify(context.Background(), nil)
}

// signedTar returns the tar of a bundle with layers of the given size, and who accepts it.
func signedTar(t *testing.T, layerBytes int) ([]byte, Trust) {
	t.Helper()
	key, policy := signer(t, siteKey)
	return mustRead(t, create(t, testContent(t, layerBytes), CreateOptions{Signers: []*signing.PrivateKey{key}})), policy
}

// onCores runs the test as on a machine with so many cores.
func onCores(t *testing.T, cores int) {
	before := runtime.GOMAXPROCS(cores)
	t.Cleanup(func() { runtime.GOMAXPROCS(before) })
}

func TestVerifyReadsEachByteOnce(t *testing.T) {
	for _, cores := range []int{1, 2, 16} {
		onCores(t, cores)
		for _, layerBytes := range []int{0, 100, chunkBytes - 2000, 9*chunkBytes + 100} {
			data, trust := signedTar(t, layerBytes)
			w := watch(data)
			if err := verifyWatched(w, trust); err != nil {
				t.Fatalf("%d cores, layers of %d bytes: %v", cores, layerBytes, err)
			}
			if at := slices.IndexFunc(w.reads, func(n int) bool { return n != 1 }); at >= 0 {
				t.Errorf("%d cores, layers of %d bytes: byte %d of %d has been read %d times", cores, layerBytes, at, len(data), w.reads[at])
			}
		}
	}
}

// TestAMediumThatLiesAtTheSecondReadGainsNothing has firmware that serves other bytes once it has served the right ones: what is verified
// and what is handed on are the same bytes, read once.
func TestAMediumThatLiesAtTheSecondReadGainsNothing(t *testing.T) {
	data, trust := signedTar(t, 3*chunkBytes)
	for _, damaged := range []bool{false, true} {
		served := bytes.Clone(data)
		if damaged {
			served[len(served)-4*tarBlockBytes] ^= 0xff // what a second read would put right
		}
		verified, handedOn := watch(served), watch(served)
		verified.lies, handedOn.lies = true, true
		err := verifyWatched(verified, trust)
		r, openErr := OpenTar(handedOn, trust)
		if openErr != nil {
			t.Fatal(openErr)
		}
		contents, readErr := readAll(r)
		if damaged {
			if !errors.Is(err, ErrDigest) || !errors.Is(readErr, ErrDigest) {
				t.Errorf("damaged at the first read: %v, %v, want ErrDigest", err, readErr)
			}
			continue
		}
		if err != nil || readErr != nil {
			t.Fatal(err, readErr)
		}
		for _, e := range r.Manifest().Entries {
			if !e.isBlob() {
				continue
			}
			if got := digestOf(contents[e.Path]); got != e.Digest() {
				t.Errorf("%s was handed on as %s", e.Path, got)
			}
		}
		if most := slices.Max(handedOn.reads); most != 1 {
			t.Errorf("a byte was read %d times", most)
		}
	}
}

// TestVerifyReadsASlowMediumInOrder has a medium that is slower than any hash: going to and fro would make it slower still.
func TestVerifyReadsASlowMediumInOrder(t *testing.T) {
	onCores(t, 2)
	data, trust := signedTar(t, 6*chunkBytes)
	w := watch(data)
	w.before = func(int64) { time.Sleep(20 * time.Millisecond) }
	if err := verifyWatched(w, trust); err != nil {
		t.Fatal(err)
	}
	jumps := 0
	for i := range w.order[1:] {
		if w.order[i+1] < w.order[i] {
			jumps++
		}
	}
	if jumps > len(w.order)/8 { // a machine that is busy elsewhere lets a hash fall behind
		t.Errorf("%d of %d reads went back: %v", jumps, len(w.order), w.order)
	}
}

// TestVerifyRefusesAsTheReaderDoes damages a bundle with long and short entries at many places, and wants the same refusal from
// the reader that goes from entry to entry and from the one that hashes on all cores.
func TestVerifyRefusesAsTheReaderDoes(t *testing.T) {
	onCores(t, 4)
	data, policy := signedTar(t, 3*chunkBytes)
	trust := &remembered{Trust: policy}
	damage := map[string]func([]byte) []byte{
		"nothing":         func(d []byte) []byte { return d },
		"a third block":   func(d []byte) []byte { return append(d, make([]byte, tarBlockBytes)...) },
		"no second block": func(d []byte) []byte { return d[:len(d)-tarBlockBytes] },
	}
	parts, _ := split(t, data)
	offset := 0
	for i, p := range parts {
		start := offset
		name := strings.TrimRight(string(p.header[:nameEnd]), "\x00")
		for what, at := range map[string]int{"header": start + 3, "first byte": start + tarBlockBytes, "last byte": start + tarBlockBytes + len(p.contents) - 1} {
			damage[name+": "+what] = func(d []byte) []byte { d[at] ^= 4; return d }
		}
		damage[name+": cut"] = func(d []byte) []byte { return d[:start+tarBlockBytes+len(p.contents)/2] }
		if i == len(parts)-1 {
			damage[name+": and the one before"] = func(d []byte) []byte {
				d[start+tarBlockBytes] ^= 1
				d[start-tarBlockBytes] ^= 1
				return d
			}
		}
		offset += tarBlockBytes + len(p.contents)
	}
	for what, f := range damage {
		damaged := f(bytes.Clone(data))
		one, all := verifyTar(damaged, trust), verifyWatched(watch(damaged), trust)
		if (one == nil) != (what == "nothing") || (one == nil) != (all == nil) || one != nil && one.Error() != all.Error() {
			t.Errorf("%s:\nin order %v\non all cores %v", what, one, all)
		}
	}
}

func TestVerifyEndsWithItsContext(t *testing.T) {
	data, trust := signedTar(t, 8*chunkBytes)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	r, err := OpenTar(watch(data), trust)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	err = r.Verify(ctx, func(done, total int64) {
		if done > total/2 {
			cancel()
		}
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if _, _, err := r.Next(); !errors.Is(err, context.Canceled) {
		t.Errorf("then Next returns %v", err)
	}
}

// TestVerifyNeedsLittleMemory reads a bundle of 256 MB.
func TestVerifyNeedsLittleMemory(t *testing.T) {
	key, policy := signer(t, siteKey)
	path := filepath.Join(t.TempDir(), "site.airgap")
	if _, err := Create(context.Background(), path, testContent(t, 128<<20), CreateOptions{Signers: []*signing.PrivateKey{key}}); err != nil {
		t.Fatal(err)
	}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	if _, _, err := Verify(context.Background(), path, policy, nil); err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	const most = (maxLanes*(laneChunks+1)+1)*chunkBytes + 4<<20
	if allocated := after.TotalAlloc - before.TotalAlloc; allocated > most {
		t.Errorf("%d bytes were allocated, at most %d are wanted", allocated, most)
	}
}
