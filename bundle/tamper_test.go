package bundle

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"airgap/signing"
)

// remembered is a Trust that does not check again what it has accepted.
type remembered struct {
	Trust
	accepted sync.Map
}

func (r *remembered) Verify(message []byte, sigs []signing.Signature) ([]string, error) {
	hash := sha256.New()
	hash.Write(message)
	for _, sig := range sigs {
		fmt.Fprintf(hash, "%d,%d,", len(sig.Sigstore), len(sig.Detached))
		hash.Write(sig.Sigstore)
		hash.Write(sig.Detached)
	}
	key := string(hash.Sum(nil))
	if signers, ok := r.accepted.Load(key); ok {
		return signers.([]string), nil
	}
	signers, err := r.Trust.Verify(message, sigs)
	if err == nil {
		r.accepted.Store(key, signers)
	}
	return signers, err
}

// signedTiny returns the tar of a tiny bundle and the trust that accepts it.
func signedTiny(t testing.TB, of func() (*signing.PrivateKey, error)) ([]byte, Trust) {
	t.Helper()
	key, policy := signer(t, of)
	data := mustRead(t, create(t, tinyContent(t), CreateOptions{Signers: []*signing.PrivateKey{key}}))
	if err := verifyTar(data, policy); err != nil {
		t.Fatalf("the bundle as it was made: %v", err)
	}
	return data, &remembered{Trust: policy}
}

// onAllCores calls f for 0 … n-1.
func onAllCores(n int, f func(i int)) {
	var group sync.WaitGroup
	workers := runtime.GOMAXPROCS(0)
	for w := range workers {
		group.Go(func() {
			for i := w; i < n; i += workers {
				f(i)
			}
		})
	}
	group.Wait()
}

// TestEveryBitFlipIsRefused flips each bit of a bundle in turn: headers, manifest, signatures, blobs, padding, end.
func TestEveryBitFlipIsRefused(t *testing.T) {
	data, trust := signedTiny(t, siteKey)
	onAllCores(len(data), func(at int) {
		damaged := bytes.Clone(data)
		for bit := range 8 {
			damaged[at] = data[at] ^ 1<<bit
			err := verifyTar(damaged, trust)
			if !isRefusal(err) {
				t.Errorf("byte %d, bit %d: %v", at, bit, err)
			}
		}
	})
}

// TestEveryTruncationIsRefused cuts a bundle at each length.
func TestEveryTruncationIsRefused(t *testing.T) {
	data, trust := signedTiny(t, siteKey)
	onAllCores(len(data), func(length int) {
		err := verifyTar(data[:length], trust)
		if !errors.Is(err, ErrTruncated) || !strings.Contains(err.Error(), recopy) {
			t.Errorf("%d of %d bytes: %v, want ErrTruncated with its remedy", length, len(data), err)
		}
	})
}

// isRefusal reports whether err is one that a caller takes for a refusal, exit code 3, and that says why and where.
func isRefusal(err error) bool {
	var refusal *Refusal
	return errors.As(err, &refusal) && refusal.Rule != "" && refusal.Offset >= nowhere &&
		slices.ContainsFunc([]error{ErrFormat, ErrDigest, ErrTruncated, signing.ErrInvalid, signing.ErrUnsigned, signing.ErrUntrusted},
			func(kind error) bool { return errors.Is(err, kind) })
}

// part is one entry of a tar: its header, and its contents with their padding.
type part struct {
	header   tarBlock
	contents []byte
}

// split takes a tar apart; end is what follows the last entry.
func split(t testing.TB, data []byte) (parts []part, end []byte) {
	t.Helper()
	for rest := data; ; {
		block := tarBlock(rest)
		if block == (tarBlock{}) {
			return parts, rest
		}
		_, size, _, err := decodeHeader(&block)
		if err != nil {
			t.Fatal(err)
		}
		next := tarBlockBytes + paddedSize(size)
		parts = append(parts, part{block, rest[tarBlockBytes:next]})
		rest = rest[next:]
	}
}

func join(parts []part, end []byte) []byte {
	var data []byte
	for _, p := range parts {
		data = append(append(data, p.header[:]...), p.contents...)
	}
	return append(data, end...)
}

// edited returns the header with f applied and its checksum made right again.
func edited(header tarBlock, f func(*tarBlock)) tarBlock {
	f(&header)
	copy(header[sumStart:sumEnd], fmt.Sprintf("%06o\x00 ", header.sum()))
	return header
}

// rename returns p under another name.
func rename(p part, name string) part {
	p.header = edited(p.header, func(b *tarBlock) { copy(b[:nameEnd], append([]byte(name), make([]byte, nameEnd)...)) })
	return p
}

func TestNotABundle(t *testing.T) {
	for name, data := range map[string][]byte{
		"empty":   nil,
		"text":    bytes.Repeat([]byte("PK\x03\x04"), 1000),
		"zeros":   make([]byte, 10240),
		"gzipped": append([]byte{0x1f, 0x8b}, make([]byte, 1000)...),
	} {
		err := verifyTar(data, AllowUnsigned{})
		if !isRefusal(err) || !strings.Contains(err.Error(), "not a bundle") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
