// Package scrypt derives keys as golang.org/x/crypto/scrypt does, in less memory.
//
// scrypt (RFC 7914) fills a table of N blocks of 128·r bytes and then reads N of them in an order that nobody can foresee: 64 MiB
// for a key of cosign's. Every block follows from the one before it. This package keeps one block of several and makes
// those between anew when they are read, a trade of memory for time that is as old as the function: in half of the memory it takes 1.25
// times as long, in a quarter 1.75 times. What comes out is the same.
package scrypt

import (
	"crypto/pbkdf2"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"fmt"

	//lint:ignore SA1019 scrypt is made of Salsa20's bare core, which no other package gives away
	"golang.org/x/crypto/salsa20/salsa"
	"golang.org/x/sys/unix"
)

const (
	partBytes = 64 // what Salsa20 works on
	maxBytes  = 1 << 30
)

// Key derives keyBytes bytes from password and salt. n, r and p are scrypt's N, r and p: n is a power of two, and the table of n·r·128 bytes
// at most 1 GiB. memoryBytes bounds what is kept of that table; at least one block is.
func Key(password, salt []byte, n, r, p, keyBytes, memoryBytes int) ([]byte, error) {
	if n < 2 || n&(n-1) != 0 || r < 1 || p < 1 || r > maxBytes/128/n || p > maxBytes/128/r {
		return nil, errors.New("scrypt: parameters out of range")
	}
	blockBytes := 2 * partBytes * r
	stride := 1
	for stride < n && n/stride*blockBytes > memoryBytes {
		stride *= 2
	}
	blocks, err := pbkdf2.Key(sha256.New, string(password), salt, 1, p*blockBytes)
	if err != nil {
		return nil, err
	}
	// Not on the heap, where it would stay until a collection, and let the next come that much later.
	kept, err := unix.Mmap(-1, 0, n/stride*blockBytes, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return nil, fmt.Errorf("scrypt: %d bytes of memory: %w", n/stride*blockBytes, err)
	}
	t := table{stride: stride, blockBytes: blockBytes, kept: kept, made: make([]byte, blockBytes), spare: make([]byte, blockBytes)}
	for i := range p {
		t.mix(blocks[i*blockBytes:][:blockBytes], uint64(n))
	}
	if err := unix.Munmap(kept); err != nil {
		return nil, fmt.Errorf("scrypt: give memory back: %w", err)
	}
	return pbkdf2.Key(sha256.New, string(password), blocks, 1, keyBytes)
}

// table is scrypt's V, of which every stride-th block is kept.
type table struct {
	stride, blockBytes int
	kept               []byte
	made, spare        []byte // blocks on their way
}

// mix is scryptROMix of RFC 7914, section 5, in place.
func (t *table) mix(x []byte, n uint64) {
	y := make([]byte, len(x))
	for i := range n {
		if i%uint64(t.stride) == 0 {
			copy(t.keep(i), x)
		}
		blockMix(y, x)
		copy(x, y)
	}
	for range n {
		j := binary.LittleEndian.Uint64(x[t.blockBytes-partBytes:]) & (n - 1)
		subtle.XORBytes(x, x, t.block(j))
		blockMix(y, x)
		copy(x, y)
	}
}

// keep is where block i is kept; i is a multiple of the stride.
func (t *table) keep(i uint64) []byte {
	return t.kept[int(i)/t.stride*t.blockBytes:][:t.blockBytes]
}

// block returns block i, which is good until the next call.
func (t *table) block(i uint64) []byte {
	from := i - i%uint64(t.stride)
	b := t.keep(from)
	for ; from < i; from++ {
		blockMix(t.spare, b)
		t.made, t.spare = t.spare, t.made
		b = t.made
	}
	return b
}

// blockMix is scryptBlockMix of RFC 7914, section 4. out and in do not overlap.
func blockMix(out, in []byte) {
	parts := len(in) / partBytes
	var x [partBytes]byte
	copy(x[:], in[(parts-1)*partBytes:])
	for i := range parts {
		subtle.XORBytes(x[:], x[:], in[i*partBytes:][:partBytes])
		salsa.Core208(&x, &x)
		to := i / 2
		if i%2 == 1 {
			to += parts / 2
		}
		copy(out[to*partBytes:], x[:])
	}
}
