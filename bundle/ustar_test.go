package bundle

import (
	"archive/tar"
	"bytes"
	"io"
	"strings"
	"testing"
	"time"
)

// TestHeaderIsGos compares with the header that archive/tar writes for the same file.
func TestHeaderIsGos(t *testing.T) {
	long := blobFolder + strings.Repeat("a", 64)
	for _, size := range []int64{0, 1, 511, 512, 1 << 20, maxOctalSize} {
		var buf bytes.Buffer
		w := tar.NewWriter(&buf)
		err := w.WriteHeader(&tar.Header{Name: long, Size: size, Mode: 0o644, Typeflag: tar.TypeReg, ModTime: time.Unix(1795338000, 0), Format: tar.FormatUSTAR})
		if err != nil {
			t.Fatal(err)
		}
		if got := encodeHeader(long, size, 1795338000); !bytes.Equal(got[:], buf.Bytes()) {
			t.Errorf("size %d:\n%q\nwant\n%q", size, got[:], buf.Bytes())
		}
	}
}

// TestLargeSizes reads headers beyond what octal digits can say, by our parser and by archive/tar.
func TestLargeSizes(t *testing.T) {
	for _, size := range []int64{maxOctalSize + 1, 100 << 30, MaxEntryBytes} {
		block := encodeHeader("large", size, 0)
		name, got, _, err := decodeHeader(&block)
		if err != nil || name != "large" || got != size {
			t.Errorf("size %d comes back as %q, %d, %v", size, name, got, err)
		}
		header, err := tar.NewReader(io.MultiReader(bytes.NewReader(block[:]))).Next()
		if err != nil || header.Size != size {
			t.Errorf("size %d: archive/tar reads %v, %v", size, header, err)
		}
	}
}
