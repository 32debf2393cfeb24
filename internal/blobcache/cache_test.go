package blobcache_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"airgap/internal/blobcache"
)

// registry gives one blob and counts the bytes that it gave; it hangs up after limit of them, unless that is 0.
type registry struct {
	data  []byte
	limit int
	given int
}

var errHungUp = errors.New("hung up")

func (r *registry) fetch(_ context.Context, offset int64) (io.ReadCloser, error) {
	rest := r.data[offset:]
	if r.limit > 0 && len(rest) > r.limit {
		return io.NopCloser(io.MultiReader(&counted{r, bytes.NewReader(rest[:r.limit])}, failing{})), nil
	}
	return io.NopCloser(&counted{r, bytes.NewReader(rest)}), nil
}

type counted struct {
	registry *registry
	io.Reader
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.registry.given += n
	return n, err
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errHungUp }

func digestOf(data []byte) string {
	sum := sha256.Sum256(data)
	return "sha256:" + hex.EncodeToString(sum[:])
}

func read(t *testing.T, c *blobcache.Cache, r *registry, of []byte) ([]byte, error) {
	t.Helper()
	blob, err := c.Blob(t.Context(), digestOf(of), int64(len(of)), r.fetch)
	if err != nil {
		t.Fatal(err)
	}
	defer blob.Close()
	return io.ReadAll(blob)
}

func open(t *testing.T) (*blobcache.Cache, string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "cache")
	c, err := blobcache.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return c, dir
}

func wholePath(dir string, data []byte) string {
	return filepath.Join(dir, "sha256", digestOf(data)[len("sha256:"):])
}

func TestFetchedOnce(t *testing.T) {
	c, _ := open(t)
	data := bytes.Repeat([]byte("layer "), 100_000)
	from := &registry{data: data}
	for range 3 {
		if got, err := read(t, c, from, data); err != nil || !bytes.Equal(got, data) {
			t.Fatalf("%d bytes, %v", len(got), err)
		}
	}
	if from.given != len(data) {
		t.Errorf("%d bytes were fetched, want %d", from.given, len(data))
	}
	if got := c.Bytes(digestOf(data)); !bytes.Equal(got, data) {
		t.Errorf("Bytes gave %d bytes", len(got))
	}
}

func TestBrokenFetchGoesOn(t *testing.T) {
	c, _ := open(t)
	data := bytes.Repeat([]byte("layer "), 100_000)
	from := &registry{data: data, limit: 250_000}
	breaks := 0
	for {
		got, err := read(t, c, from, data)
		if err == nil {
			if !bytes.Equal(got, data) {
				t.Fatal("other bytes came out")
			}
			break
		}
		if breaks++; !errors.Is(err, errHungUp) || breaks > 2 {
			t.Fatalf("break %d: %v", breaks, err)
		}
	}
	if breaks != 2 || from.given != len(data) {
		t.Errorf("%d breaks and %d bytes fetched, want 2 and %d", breaks, from.given, len(data))
	}
}

func TestRotIsFetchedAgain(t *testing.T) {
	c, dir := open(t)
	data := []byte("a layer")
	from := &registry{data: data}
	if _, err := read(t, c, from, data); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(wholePath(dir, data), []byte("a l4yer"), 0o644); err != nil {
		t.Fatal(err)
	}
	if got, err := read(t, c, from, data); err != nil || !bytes.Equal(got, data) {
		t.Fatalf("%q, %v", got, err)
	}
	if from.given != 2*len(data) {
		t.Errorf("%d bytes were fetched, want the blob twice", from.given)
	}
}

// TestRottenBeginning wants a beginning that rotted to spoil one fetch, which whoever reads it sees by the digest, and no second.
func TestRottenBeginning(t *testing.T) {
	c, dir := open(t)
	data := bytes.Repeat([]byte("layer "), 10_000)
	from := &registry{data: data, limit: 30_000}
	if _, err := read(t, c, from, data); !errors.Is(err, errHungUp) {
		t.Fatal(err)
	}
	partial := filepath.Join(dir, "partial", filepath.Base(wholePath(dir, data)))
	file, err := os.OpenFile(partial, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := file.WriteAt([]byte("X"), 17); err != nil {
		t.Fatal(err)
	}
	file.Close()
	from.limit = 0
	if got, err := read(t, c, from, data); err != nil || bytes.Equal(got, data) {
		t.Fatalf("the rot was not handed out: %v", err)
	}
	if got, err := read(t, c, from, data); err != nil || !bytes.Equal(got, data) {
		t.Errorf("the second fetch gave other bytes, %v", err)
	}
}

// TestTwoAtOnce wants the second to fetch for itself instead of waiting or writing into the first one's file.
func TestTwoAtOnce(t *testing.T) {
	c, _ := open(t)
	data := bytes.Repeat([]byte("layer "), 10_000)
	from := &registry{data: data}
	first, err := c.Blob(t.Context(), digestOf(data), int64(len(data)), from.fetch)
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	if _, err := io.CopyN(io.Discard, first, 1000); err != nil {
		t.Fatal(err)
	}
	if got, err := read(t, c, from, data); err != nil || !bytes.Equal(got, data) {
		t.Errorf("the second: %v", err)
	}
	if rest, err := io.ReadAll(first); err != nil || !bytes.Equal(rest, data[1000:]) {
		t.Errorf("the first: %v", err)
	}
}

func TestPrune(t *testing.T) {
	c, dir := open(t)
	var blobs [][]byte
	now := time.Now()
	for i := range 4 {
		data := bytes.Repeat([]byte{byte(i)}, 1000)
		blobs = append(blobs, data)
		if _, err := read(t, c, &registry{data: data}, data); err != nil {
			t.Fatal(err)
		}
		used := now.Add(-time.Duration(i) * time.Hour)
		if err := os.Chtimes(wholePath(dir, data), used, used); err != nil {
			t.Fatal(err)
		}
	}
	under := bytes.Repeat([]byte("under way"), 1000)
	going, err := c.Blob(t.Context(), digestOf(under), int64(len(under)), (&registry{data: under}).fetch)
	if err != nil {
		t.Fatal(err)
	}
	defer going.Close()
	if _, err := io.CopyN(io.Discard, going, 10); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		bounds blobcache.Bounds
		stay   int // of blobs, from the first
	}{
		{blobcache.Bounds{Bytes: -1}, 4},
		{blobcache.Bounds{Bytes: -1, UsedSince: now.Add(-150 * time.Minute)}, 3},
		{blobcache.Bounds{Bytes: 2100}, 2},
		{blobcache.Bounds{Bytes: 0}, 0},
	} {
		p, err := c.Prune(step.bounds)
		if err != nil {
			t.Fatal(err)
		}
		if p.Left != step.stay+1 {
			t.Errorf("%+v: %d left, want %d and the one under way", step.bounds, p.Left, step.stay)
		}
		for i, data := range blobs {
			if _, err := os.Stat(wholePath(dir, data)); (err == nil) != (i < step.stay) {
				t.Errorf("%+v: blob %d: %v", step.bounds, i, err)
			}
		}
	}
	if rest, err := io.ReadAll(going); err != nil || !bytes.Equal(rest, under[10:]) {
		t.Errorf("what was being fetched: %v", err)
	}
}

func TestOtherFolderIsRefused(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "thesis.txt"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := blobcache.Open(dir); err == nil {
		t.Error("a folder with somebody's files became a cache")
	}
}
