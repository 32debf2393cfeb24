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

// TestForgedTars changes the structure of a signed bundle in every way that archive/tar would let pass.
func TestForgedTars(t *testing.T) {
	data, trust := signedTiny(t, siteKey)
	other, _ := signedTiny(t, strangersKey)
	foreign, _ := split(t, other)
	// Places in the tiny bundle.
	const manifest, sigstoreFile, detachedFile, layoutFile, indexFile, imageFile, configFile, layerFile = 0, 1, 2, 3, 4, 5, 6, 7
	typed := func(flag byte) func([]part, []byte) ([]part, []byte) {
		return func(p []part, end []byte) ([]part, []byte) {
			p[layerFile].header = edited(p[layerFile].header, func(b *tarBlock) { b[typeflagAt] = flag })
			return p, end
		}
	}
	for _, test := range []struct {
		name string
		edit func(p []part, end []byte) ([]part, []byte)
		want error
		text string
	}{
		{"unchanged", func(p []part, e []byte) ([]part, []byte) { return p, e }, nil, ""},
		{"no signature", func(p []part, e []byte) ([]part, []byte) { return slices.Delete(p, sigstoreFile, layoutFile), e }, signing.ErrUnsigned, "airgap.json"},
		{"Sigstore bundle alone", func(p []part, e []byte) ([]part, []byte) { return slices.Delete(p, detachedFile, layoutFile), e }, ErrFormat, "airgap.json.sig"},
		{"detached signature alone", func(p []part, e []byte) ([]part, []byte) { return slices.Delete(p, sigstoreFile, detachedFile), e }, signing.ErrUnsigned, ""},
		{"signature under a wrong name", func(p []part, e []byte) ([]part, []byte) {
			p[sigstoreFile] = rename(p[sigstoreFile], "airgap.json.sigstore")
			return p, e
		}, signing.ErrUnsigned, ""},
		{"signature of a stranger", func(p []part, e []byte) ([]part, []byte) {
			p[sigstoreFile], p[detachedFile] = foreign[sigstoreFile], foreign[detachedFile]
			return p, e
		}, signing.ErrUntrusted, ""},
		{"signatures swapped", func(p []part, e []byte) ([]part, []byte) {
			p[sigstoreFile], p[detachedFile] = p[detachedFile], p[sigstoreFile]
			return p, e
		}, signing.ErrUnsigned, ""},
		{"first entry is another", func(p []part, e []byte) ([]part, []byte) { return p[layoutFile:], e }, ErrFormat, "airgap.json"},
		{"entry twice", func(p []part, e []byte) ([]part, []byte) { return slices.Insert(p, layerFile, p[configFile]), e }, ErrFormat, "where"},
		{"entries reordered", func(p []part, e []byte) ([]part, []byte) {
			p[configFile], p[layerFile] = p[layerFile], p[configFile]
			return p, e
		}, ErrFormat, "where"},
		{"last entry missing", func(p []part, e []byte) ([]part, []byte) { return p[:layerFile], e }, ErrFormat, "missing"},
		{"all entries missing", func(p []part, e []byte) ([]part, []byte) { return p[:layoutFile], e }, ErrFormat, "oci-layout is missing"},
		{"middle entry missing", func(p []part, e []byte) ([]part, []byte) { return slices.Delete(p, imageFile, configFile), e }, ErrFormat, "where"},
		{"unlisted entry at the end", func(p []part, e []byte) ([]part, []byte) { return append(p, rename(p[indexFile], "manifest.json")), e }, ErrFormat, "manifest.json"},
		{"unlisted entry in front", func(p []part, e []byte) ([]part, []byte) {
			return slices.Insert(p, layoutFile, rename(p[indexFile], "manifest.json")), e
		}, ErrFormat, "manifest.json"},
		{"./ before a name", func(p []part, e []byte) ([]part, []byte) {
			p[indexFile] = rename(p[indexFile], "./index.json")
			return p, e
		}, ErrFormat, "./index.json"},
		{"double slash", func(p []part, e []byte) ([]part, []byte) {
			name := string(bytes.TrimRight(p[layerFile].header[:nameEnd], "\x00"))
			p[layerFile] = rename(p[layerFile], strings.Replace(name, "/", "//", 1))
			return p, e
		}, ErrFormat, "//"},
		{"upper case", func(p []part, e []byte) ([]part, []byte) {
			p[indexFile] = rename(p[indexFile], "INDEX.json")
			return p, e
		}, ErrFormat, "INDEX.json"},
		{"name continues after its end", func(p []part, e []byte) ([]part, []byte) {
			p[indexFile] = rename(p[indexFile], "index.json\x00x")
			return p, e
		}, ErrFormat, ""},
		{"prefix", func(p []part, e []byte) ([]part, []byte) {
			p[indexFile].header = edited(p[indexFile].header, func(b *tarBlock) { copy(b[345:], "..") })
			return p, e
		}, ErrFormat, ""},
		{"executable", func(p []part, e []byte) ([]part, []byte) {
			p[layerFile].header = edited(p[layerFile].header, func(b *tarBlock) { copy(b[nameEnd:], "0000755") })
			return p, e
		}, ErrFormat, ""},
		{"another time", func(p []part, e []byte) ([]part, []byte) {
			p[layerFile].header = edited(p[layerFile].header, func(b *tarBlock) { b[mtimeEnd-2] ^= 1 })
			return p, e
		}, ErrFormat, "time"},
		{"another time in all", func(p []part, e []byte) ([]part, []byte) {
			for i := range p {
				p[i].header = edited(p[i].header, func(b *tarBlock) { b[mtimeEnd-2] ^= 1 })
			}
			return p, e
		}, ErrFormat, "issuedAt"},
		{"size in spaces", func(p []part, e []byte) ([]part, []byte) {
			p[layerFile].header = edited(p[layerFile].header, func(b *tarBlock) { copy(b[sizeStart:], "          5\x00") })
			return p, e
		}, ErrFormat, ""},
		{"size in base 256", func(p []part, e []byte) ([]part, []byte) {
			p[layerFile].header = edited(p[layerFile].header, func(b *tarBlock) { copy(b[sizeStart:], "\x80\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x05") })
			return p, e
		}, ErrFormat, ""},
		{"one byte more", func(p []part, e []byte) ([]part, []byte) {
			p[layerFile].header = edited(p[layerFile].header, func(b *tarBlock) { b[sizeEnd-2]++ })
			return p, e
		}, ErrFormat, "6 bytes, 5 were signed"},
		{"negative size", func(p []part, e []byte) ([]part, []byte) {
			p[layerFile].header = edited(p[layerFile].header, func(b *tarBlock) { copy(b[sizeStart:], bytes.Repeat([]byte{0xff}, 12)) })
			return p, e
		}, ErrFormat, ""},
		{"manifest that claims to be huge", func(p []part, e []byte) ([]part, []byte) {
			p[manifest].header = edited(p[manifest].header, func(b *tarBlock) { copy(b[sizeStart:], "77777777777") })
			return p, e
		}, ErrFormat, "limit"},
		{"PAX record", typed('x'), ErrFormat, "PAX"},
		{"global PAX record", typed('g'), ErrFormat, "PAX"},
		{"GNU long name", typed('L'), ErrFormat, "GNU"},
		{"sparse", typed('S'), ErrFormat, "sparse"},
		{"symbolic link", typed('2'), ErrFormat, "symbolic link"},
		{"hard link", typed('1'), ErrFormat, "hard link"},
		{"device", typed('3'), ErrFormat, "device"},
		{"folder", typed('5'), ErrFormat, "folder"},
		{"old regular file", typed(0), ErrFormat, ""},
		{"zero block between entries", func(p []part, e []byte) ([]part, []byte) {
			p[configFile].contents = append(slices.Clip(p[configFile].contents), make([]byte, tarBlockBytes)...)
			return p, e
		}, ErrFormat, "missing"},
		{"padding", func(p []part, e []byte) ([]part, []byte) {
			p[layerFile].contents = bytes.Clone(p[layerFile].contents)
			p[layerFile].contents[tarBlockBytes-1] = 1
			return p, e
		}, ErrFormat, "padding"},
		{"third zero block", func(p []part, e []byte) ([]part, []byte) { return p, append(e, make([]byte, tarBlockBytes)...) }, ErrFormat, "follows"},
		{"trailing byte", func(p []part, e []byte) ([]part, []byte) { return p, append(e, 0) }, ErrFormat, "follows"},
		{"trailing bundle", func(p []part, e []byte) ([]part, []byte) { return p, append(e, data...) }, ErrFormat, "follows"},
		{"one zero block", func(p []part, e []byte) ([]part, []byte) { return p, e[:tarBlockBytes] }, ErrTruncated, ""},
		{"no zero block", func(p []part, e []byte) ([]part, []byte) { return p, nil }, ErrTruncated, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			parts, end := split(t, bytes.Clone(data))
			err := verifyTar(join(test.edit(parts, end)), trust)
			if !errors.Is(err, test.want) || err != nil && !strings.Contains(err.Error(), test.text) {
				t.Errorf("error %v, want %v with %q", err, test.want, test.text)
			}
		})
	}
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
