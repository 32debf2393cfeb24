package compression_test

import (
	"bytes"
	"compress/gzip"
	"math/rand/v2"
	"testing"

	containerd "github.com/containerd/containerd/v2/pkg/archive/compression"
	"github.com/klauspost/compress/zstd"

	"airgap/internal/compression"
)

// byContainerd is the same in containerd's words.
var byContainerd = map[containerd.Compression]compression.Format{
	containerd.Uncompressed: compression.None, containerd.Gzip: compression.Gzip, containerd.Zstd: compression.Zstd,
}

func TestOf(t *testing.T) {
	var zipped bytes.Buffer
	w := gzip.NewWriter(&zipped)
	w.Close()
	encoder, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	frame := encoder.EncodeAll([]byte("x"), nil)
	skippable := append([]byte{0x5a, 0x2a, 0x4d, 0x18, 1, 0, 0, 0, 'x'}, frame...)
	for name, c := range map[string]struct {
		data []byte
		want compression.Format
	}{
		"empty":                        {nil, compression.None},
		"one byte":                     {[]byte{0x1f}, compression.None},
		"gzip":                         {zipped.Bytes(), compression.Gzip},
		"gzip of no known method":      {[]byte{0x1f, 0x8b, 7, 0, 0, 0, 0, 0}, compression.None},
		"zstd":                         {frame, compression.Zstd},
		"zstd after a skippable frame": {skippable, compression.Zstd},
		"a skippable mark alone":       {skippable[:4], compression.None},
		"a tar":                        {[]byte("etc/passwd"), compression.None},
	} {
		if got := compression.Of(c.data); got != c.want || got != byContainerd[containerd.DetectCompression(c.data)] {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
}

// TestAsContainerd compares the two on heads that are nearly those of compressed files.
func TestAsContainerd(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	marks := [][]byte{{0x1f, 0x8b, 8}, {0x28, 0xb5, 0x2f, 0xfd}, {0x50, 0x2a, 0x4d, 0x18}}
	for range 20_000 {
		head := make([]byte, random.IntN(compression.HeadBytes+3))
		copy(head, marks[random.IntN(len(marks))])
		if len(head) > 0 && random.IntN(2) == 0 {
			head[random.IntN(len(head))] ^= byte(random.IntN(256))
		}
		if got, want := compression.Of(head), byContainerd[containerd.DetectCompression(head)]; got != want {
			t.Fatalf("% x: %d, containerd says %d", head, got, want)
		}
	}
}
