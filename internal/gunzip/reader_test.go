package gunzip

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"
	"testing/iotest"

	klauspost "github.com/klauspost/compress/gzip"
)

// readAll decompresses all of source with the given size of buffer.
func readAll(source io.Reader, bufferBytes int) ([]byte, error) {
	r := NewReader(source)
	var all []byte
	buffer := make([]byte, bufferBytes)
	for {
		for n := range buffer { // what Next finds in the buffer is not the stream's
			buffer[n] = 0xee
		}
		data, err := r.Next(buffer)
		all = append(all, data...)
		if err == io.EOF {
			return all, nil
		}
		if err != nil {
			return all, err
		}
		if len(data) == 0 {
			return all, errors.New("neither data nor an error")
		}
	}
}

// contents are of the kinds that the format treats differently.
func contents() map[string][]byte {
	random := rand.New(rand.NewPCG(1, 2))
	noise := make([]byte, 300<<10)
	for n := range noise {
		noise[n] = byte(random.Uint32())
	}
	text := make([]byte, 0, 600<<10)
	for len(text) < 600<<10 {
		text = fmt.Appendf(text, "line %d of a text that repeats itself %x\n", random.IntN(1000), random.Uint32N(1<<20))
	}
	skewed := make([]byte, 400<<10) // codes of very different lengths
	for n := range skewed {
		skewed[n] = byte(random.Uint32() & random.Uint32() & random.Uint32() & random.Uint32())
		if random.IntN(3000) == 0 {
			skewed[n] = byte(random.Uint32())
		}
	}
	far := bytes.Clone(noise[:HistoryBytes])
	far = append(far, far...)
	var periods []byte
	for period := 1; period < 40; period++ {
		for range 400 / period {
			periods = append(periods, noise[:period]...)
		}
	}
	return map[string][]byte{
		"nothing": nil, "one byte": {7}, "zeros": make([]byte, 1<<20), "noise": noise, "text": text,
		"skewed": skewed, "far matches": far, "short periods": periods,
		"mixed": append(append(bytes.Clone(text[:100<<10]), noise[:100<<10]...), text[:200<<10]...),
	}
}

func pack(t testing.TB, data []byte, level int) []byte {
	var out bytes.Buffer
	w, err := gzip.NewWriterLevel(&out, level)
	if err != nil {
		t.Fatal(err)
	}
	w.Header = gzip.Header{Name: "näme", Comment: "a comment", Extra: []byte("extra")}
	for at := 0; at < len(data); at += 100 << 10 { // a flush makes an empty stored block
		w.Write(data[at:min(len(data), at+100<<10)])
		w.Flush()
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestContents(t *testing.T) {
	for name, data := range contents() {
		for _, level := range []int{flate.HuffmanOnly, flate.NoCompression, 1, 6, 9} {
			t.Run(fmt.Sprintf("%s at level %d", name, level), func(t *testing.T) {
				packed := pack(t, data, level)
				for _, bufferBytes := range []int{MinBufferBytes, MinBufferBytes + 12345, 1 << 20} {
					got, err := readAll(bytes.NewReader(packed), bufferBytes)
					if err != nil {
						t.Fatal(err)
					}
					if !bytes.Equal(got, data) {
						t.Fatalf("a buffer of %d bytes: not what was packed (%d bytes, want %d)", bufferBytes, len(got), len(data))
					}
				}
				if got, err := readAll(iotest.HalfReader(bytes.NewReader(packed)), MinBufferBytes); err != nil || !bytes.Equal(got, data) {
					t.Errorf("from half reads: %v", err)
				}
			})
		}
	}
}

func TestMembers(t *testing.T) {
	var packed, want []byte
	for _, part := range []string{"first ", "", "second ", "third"} {
		packed = append(packed, pack(t, []byte(part), 6)...)
		want = append(want, part...)
	}
	got, err := readAll(iotest.OneByteReader(bytes.NewReader(packed)), MinBufferBytes)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("got %q, %v", got, err)
	}
	if _, err := readAll(bytes.NewReader(append(packed, "garbage that is long enough"...)), MinBufferBytes); !errors.Is(err, ErrFormat) {
		t.Errorf("with garbage behind it: %v, want %v", err, ErrFormat)
	}
}

// TestHistoryEndsWithMember refers from one member to the one before.
func TestHistoryEndsWithMember(t *testing.T) {
	var second bytes.Buffer
	dictionary := bytes.Repeat([]byte("abcdefgh"), 10)
	w, err := flate.NewWriterDict(&second, 9, dictionary)
	if err != nil {
		t.Fatal(err)
	}
	w.Write(dictionary)
	w.Close()
	whole := pack(t, dictionary, 6)
	stream := append(bytes.Clone(whole), 0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0)
	stream = append(stream, second.Bytes()...)
	stream = append(stream, whole[len(whole)-8:]...)
	if _, err := readAll(bytes.NewReader(stream), MinBufferBytes); !errors.Is(err, ErrFormat) {
		t.Errorf("got %v, want %v", err, ErrFormat)
	}
}

func TestDamage(t *testing.T) {
	data := contents()["mixed"][98<<10 : 101<<10]
	packed := pack(t, data, 6)
	for length := range packed {
		if _, err := readAll(bytes.NewReader(packed[:length]), MinBufferBytes); err == nil {
			t.Fatalf("taken when cut to %d of %d bytes", length, len(packed))
		}
	}
	for bit := range len(packed) * 8 {
		damaged := bytes.Clone(packed)
		damaged[bit/8] ^= 1 << (bit % 8)
		compare(t, damaged)
	}
	broken := errors.New("broken medium")
	if _, err := readAll(io.MultiReader(bytes.NewReader(packed[:len(packed)/2]), iotest.ErrReader(broken)), MinBufferBytes); err != broken {
		t.Errorf("from a broken medium: %v", err)
	}
}

// compare fails unless this package and compress/gzip read the same out of a stream.
func compare(t *testing.T, stream []byte) {
	t.Helper()
	got, err := readAll(bytes.NewReader(stream), MinBufferBytes)
	var want []byte
	r, wantErr := gzip.NewReader(bytes.NewReader(stream))
	if wantErr == nil {
		want, wantErr = io.ReadAll(r)
	}
	if (err == nil) != (wantErr == nil) {
		t.Fatalf("%d bytes %.64x: error %v, that of compress/gzip is %v", len(stream), stream, err, wantErr)
	}
	if err == nil && !bytes.Equal(got, want) {
		t.Fatalf("%.64x: %d bytes, compress/gzip reads %d others", stream, len(got), len(want))
	}
}

func FuzzReader(f *testing.F) {
	for _, data := range contents() {
		for _, level := range []int{flate.HuffmanOnly, 0, 1, 9} {
			f.Add(pack(f, data[:min(len(data), 3000)], level))
		}
	}
	f.Fuzz(compare)
}

// FuzzBlocks gives the fuzzer the compressed data alone, and takes no note of the checksum.
func FuzzBlocks(f *testing.F) {
	for _, data := range contents() {
		var out bytes.Buffer
		w, _ := flate.NewWriter(&out, 6)
		w.Write(data[:min(len(data), 3000)])
		w.Close()
		f.Add(out.Bytes())
	}
	f.Fuzz(func(t *testing.T, blocks []byte) {
		blocks = append([]byte{0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0}, blocks...)
		got, err := readAll(bytes.NewReader(blocks), MinBufferBytes)
		want, wantErr := io.ReadAll(flate.NewReader(bytes.NewReader(blocks[10:])))
		switch {
		case wantErr != nil && err == nil:
			t.Fatalf("%x: no error, that of compress/flate is %v", blocks, wantErr)
		case wantErr == nil && err != nil && !errors.Is(err, ErrChecksum) && err != io.ErrUnexpectedEOF:
			t.Fatalf("%x: error %v, compress/flate has none", blocks, err)
		case wantErr == nil && err == nil && !bytes.Equal(got, want):
			t.Fatalf("%x: %d bytes, compress/flate reads %d others", blocks, len(got), len(want))
		}
	})
}

func BenchmarkReader(b *testing.B) {
	for name, data := range contents() {
		packed := pack(b, data, 6)
		b.Run(name+"/ours", func(b *testing.B) {
			b.SetBytes(int64(len(data)))
			buffer := make([]byte, HistoryBytes+256<<10)
			for b.Loop() {
				r := NewReader(bytes.NewReader(packed))
				for {
					if _, err := r.Next(buffer); err == io.EOF {
						break
					} else if err != nil {
						b.Fatal(err)
					}
				}
			}
		})
		b.Run(name+"/klauspost", func(b *testing.B) {
			b.SetBytes(int64(len(data)))
			for b.Loop() {
				r, _ := klauspost.NewReader(bytes.NewReader(packed))
				if _, err := io.Copy(io.Discard, r); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
