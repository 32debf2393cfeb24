package gunzip

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"
	"testing/iotest"
)

func TestStream(t *testing.T) {
	plain := make([]byte, 3*streamBytes+5)
	random := rand.New(rand.NewPCG(3, 4))
	for i := range plain {
		plain[i] = "etaoin shrdlu"[random.IntN(13)]
	}
	packed := pack(t, plain, gzip.BestSpeed)
	if err := iotest.TestReader(struct{ io.Reader }{NewStream(bytes.NewReader(packed))}, plain); err != nil {
		t.Error(err)
	}
	// Passed over in steps of any length, what is read is what stands there.
	s := NewStream(iotest.HalfReader(bytes.NewReader(packed)))
	for at := 0; at < len(plain); {
		skip := min(random.IntN(2*streamBytes), len(plain)-at)
		if got, err := s.Seek(int64(skip), io.SeekCurrent); err != nil || got != int64(at+skip) {
			t.Fatalf("%d, %v: want %d", got, err, at+skip)
		}
		at += skip
		got := make([]byte, min(100, len(plain)-at))
		if _, err := io.ReadFull(s, got); err != nil || !bytes.Equal(got, plain[at:at+len(got)]) {
			t.Fatalf("at %d: %q, %v", at, got, err)
		}
		at += len(got)
	}
	if _, err := s.Seek(1, io.SeekCurrent); err != io.ErrUnexpectedEOF {
		t.Errorf("beyond the end: %v", err)
	}
	if _, err := s.Seek(0, io.SeekStart); !errors.Is(err, errSeek) {
		t.Errorf("back: %v", err)
	}
	// What is damaged is found although nobody reads it.
	packed[len(packed)/2] ^= 1
	if _, err := NewStream(bytes.NewReader(packed)).Seek(int64(len(plain)), io.SeekCurrent); !errors.Is(err, ErrFormat) && !errors.Is(err, ErrChecksum) {
		t.Errorf("damaged: %v", err)
	}
}

// TestStreamOfTar has archive/tar pass over contents.
func TestStreamOfTar(t *testing.T) {
	var plain bytes.Buffer
	w := tar.NewWriter(&plain)
	for i := range 20 {
		content := bytes.Repeat([]byte{byte(i)}, i*30_000)
		if err := w.WriteHeader(&tar.Header{Name: fmt.Sprint(i), Size: int64(len(content)), Mode: 0o644}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(content); err != nil {
			t.Fatal(err)
		}
	}
	w.Close()
	r := tar.NewReader(NewStream(bytes.NewReader(pack(t, plain.Bytes(), gzip.BestSpeed))))
	for i := range 20 {
		header, err := r.Next()
		if err != nil || header.Name != fmt.Sprint(i) {
			t.Fatalf("entry %d: %v, %v", i, header, err)
		}
		if i%3 == 0 {
			if content, err := io.ReadAll(r); err != nil || len(content) != i*30_000 || bytes.Count(content, []byte{byte(i)}) != len(content) {
				t.Fatalf("entry %d: %d bytes, %v", i, len(content), err)
			}
		}
	}
	if _, err := r.Next(); err != io.EOF {
		t.Error(err)
	}
}
