package scrypt

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"testing"

	upstream "golang.org/x/crypto/scrypt"
)

// TestVectors are those of RFC 7914, section 12, that take little memory.
func TestVectors(t *testing.T) {
	tests := []struct {
		password, salt string
		n, r, p        int
		want           string // the first bytes
	}{
		{"", "", 16, 1, 1, "77d6576238657b203b19ca42c18a0497"},
		{"password", "NaCl", 1024, 8, 16, "fdbabe1c9d3472007856e7190d01e9fe"},
		{"pleaseletmein", "SodiumChloride", 16384, 8, 1, "7023bdcb3afd7348461c06cd81fd38eb"},
	}
	for _, test := range tests {
		key, err := Key([]byte(test.password), []byte(test.salt), test.n, test.r, test.p, 64, 1<<20)
		if got := hex.EncodeToString(key); err != nil || len(key) != 64 || got[:32] != test.want {
			t.Errorf("N=%d r=%d p=%d: %s, %v, want %s", test.n, test.r, test.p, got, err, test.want)
		}
	}
}

// TestSameInAnyMemory compares with the implementation that keeps the whole table, from one block to all of them.
func TestSameInAnyMemory(t *testing.T) {
	for _, shape := range [][3]int{{2, 1, 1}, {64, 1, 2}, {128, 8, 1}, {256, 3, 2}} {
		n, r, p := shape[0], shape[1], shape[2]
		want, err := upstream.Key([]byte("secret"), []byte("salt"), n, r, p, 32)
		if err != nil {
			t.Fatal(err)
		}
		for memory := 1; memory <= 2*n*r*128; memory *= 3 {
			got, err := Key([]byte("secret"), []byte("salt"), n, r, p, 32, memory)
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("N=%d r=%d p=%d in %d bytes: %x, %v, want %x", n, r, p, memory, got, err, want)
			}
		}
	}
}

func TestParametersOutOfRange(t *testing.T) {
	for _, shape := range [][3]int{{0, 8, 1}, {1, 8, 1}, {3, 8, 1}, {-4, 8, 1}, {16, 0, 1}, {16, 8, 0}, {1 << 30, 8, 1}, {16, 1 << 30, 1 << 30}} {
		if _, err := Key(nil, nil, shape[0], shape[1], shape[2], 32, 1<<20); err == nil {
			t.Errorf("%v was taken", shape)
		}
	}
}

// BenchmarkKey derives a key with cosign's parameters.
func BenchmarkKey(b *testing.B) {
	for _, mib := range []int{64, 32, 16, 8} {
		b.Run(fmt.Sprintf("%dMiB", mib), func(b *testing.B) {
			for b.Loop() {
				if _, err := Key([]byte("secret"), []byte("salt"), 1<<16, 8, 1, 32, mib<<20); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("upstream", func(b *testing.B) {
		for b.Loop() {
			if _, err := upstream.Key([]byte("secret"), []byte("salt"), 1<<16, 8, 1, 32); err != nil {
				b.Fatal(err)
			}
		}
	})
}
