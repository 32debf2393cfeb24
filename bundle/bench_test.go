package bundle

import (
	"context"
	"crypto/sha256"
	"io"
	"os"
	"testing"

	"airgap/signing"
)

// benchBytes is the size of each of the two layers that the benchmarks read.
const benchBytes = 128 << 20

// BenchmarkVerify compares reading a bundle through with plain SHA-256 of the same file, cached in memory:
// verify may take 1.25 times as long.
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
			if _, err := io.CopyBuffer(struct{ io.Writer }{sha256.New()}, struct{ io.Reader }{file}, make([]byte, chunkBytes)); err != nil {
				b.Fatal(err)
			}
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
