package disk

import (
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
)

func blankDisk(t *testing.T, blocks int64) *Disk {
	t.Helper()
	folder := t.TempDir()
	image := filepath.Join(folder, "image")
	if err := os.WriteFile(image, bytes.Repeat([]byte{'.'}, int(blocks*blockBytes)), 0o600); err != nil {
		t.Fatal(err)
	}
	d, err := New(image, folder, 1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	return d
}

func TestDiskReadsWhatWasWritten(t *testing.T) {
	const blocks = 64
	d := blankDisk(t, blocks)
	want := bytes.Repeat([]byte{'.'}, blocks*blockBytes)
	random := rand.New(rand.NewPCG(2, 3))
	for i := range 500 {
		at := random.IntN(len(want))
		data := bytes.Repeat([]byte{byte(i)}, 1+random.IntN(min(3*blockBytes, len(want)-at)))
		if _, err := d.WriteAt(data, int64(at)); err != nil {
			t.Fatal(err)
		}
		copy(want[at:], data)
		if i%50 == 0 {
			if err := d.Flush(); err != nil {
				t.Fatal(err)
			}
		}
		got := make([]byte, len(want))
		if _, err := d.ReadAt(got, 0); err != nil || !bytes.Equal(got, want) {
			t.Fatalf("after write %d: other bytes, %v", i, err)
		}
	}
	if _, err := d.WriteAt(make([]byte, 2), int64(len(want)-1)); err == nil {
		t.Error("a write beyond the end was accepted")
	}
}

// What was flushed is there after a cut. What was not is there or is as it was before, block by block.
func TestDiskLosesOnlyWhatWasNotFlushed(t *testing.T) {
	const blocks = 400
	d := blankDisk(t, blocks)
	write := func(c byte) {
		t.Helper()
		if _, err := d.WriteAt(bytes.Repeat([]byte{c}, blocks*blockBytes), 0); err != nil {
			t.Fatal(err)
		}
	}
	write('a')
	if err := d.Flush(); err != nil {
		t.Fatal(err)
	}
	write('b')
	cached, lost, err := d.Cut()
	if err != nil || cached != blocks || lost < blocks/4 || lost > blocks*3/4 {
		t.Fatalf("%d of %d blocks lost, %v; want about half of %d", lost, cached, err, blocks)
	}
	got := make([]byte, blocks*blockBytes)
	if _, err := d.ReadAt(got, 0); err != nil {
		t.Fatal(err)
	}
	old := 0
	for n := range blocks {
		switch b := got[n*blockBytes : (n+1)*blockBytes]; {
		case bytes.Equal(b, bytes.Repeat([]byte{'a'}, blockBytes)):
			old++
		case !bytes.Equal(b, bytes.Repeat([]byte{'b'}, blockBytes)):
			t.Fatalf("block %d is neither as it was nor as it was written", n)
		}
	}
	if old != lost {
		t.Errorf("%d blocks are as before, want the %d that were lost", old, lost)
	}
}

func TestDiskCacheIsBounded(t *testing.T) {
	d := blankDisk(t, cacheBlocks+100)
	if _, err := d.WriteAt(bytes.Repeat([]byte{'x'}, (cacheBlocks+100)*blockBytes), 0); err != nil {
		t.Fatal(err)
	}
	if len(d.cache) != cacheBlocks {
		t.Errorf("%d blocks in the cache, want %d", len(d.cache), cacheBlocks)
	}
}
