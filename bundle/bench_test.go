package bundle

import (
	"context"
	"crypto/sha256"
	"io"
	"os"
	"runtime"
	"sync"
	"testing"

	"airgap/signing"
)

// benchBytes is the size of each of the two layers that the benchmarks read.
const benchBytes = 128 << 20

// BenchmarkVerify compares reading a bundle through with plain SHA-256 of the same file on all cores, cached in memory:
// verify may take 1.1 times as long.
func BenchmarkVerify(b *testing.B) {
	key, policy := signer(b, siteKey)
	path := create(b, testContent(b, benchBytes), CreateOptions{Signers: []*signing.PrivateKey{key}})
	info, err := os.Stat(path)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("sha256", func(b *testing.B) {
		b.SetBytes(info.Size())
		for b.Loop() {
			file, err := os.Open(path)
			if err != nil {
				b.Fatal(err)
			}
			cores := int64(runtime.GOMAXPROCS(0))
			var group sync.WaitGroup
			for i := range cores {
				from, to := info.Size()*i/cores, info.Size()*(i+1)/cores
				group.Go(func() {
					io.CopyBuffer(struct{ io.Writer }{sha256.New()}, struct{ io.Reader }{io.NewSectionReader(file, from, to-from)}, make([]byte, chunkBytes))
				})
			}
			group.Wait()
			file.Close()
		}
	})
	b.Run("verify", func(b *testing.B) {
		b.SetBytes(info.Size())
		for b.Loop() {
			if _, _, err := Verify(context.Background(), path, policy, nil); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkCreate writes the same bundle from memory, fsync included.
func BenchmarkCreate(b *testing.B) {
	key, _ := signer(b, siteKey)
	content := testContent(b, benchBytes)
	b.SetBytes(2 * benchBytes)
	for b.Loop() {
		create(b, content, CreateOptions{Signers: []*signing.PrivateKey{key}})
	}
}
