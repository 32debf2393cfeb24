package bundle

import (
	"bytes"
	"io"
	"slices"
	"testing"
)

// FuzzDecodeManifest looks for panics, and for documents that are read but not as they stand.
func FuzzDecodeManifest(f *testing.F) {
	f.Add([]byte(validEncoded(f)))
	f.Add([]byte(`{"apiVersion":"airgap/v1","entries":[{"path":"a","size":-1}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := DecodeManifest(data)
		if err != nil {
			return
		}
		again, err := m.Encode()
		if err != nil || !bytes.Equal(again, data) {
			t.Errorf("read from other bytes than it is written as, %v", err)
		}
		if m.Validate() == nil && m.Size() < 0 {
			t.Error("valid, and of a negative size")
		}
	})
}

// FuzzReader looks for panics, and for tars that are read but are not the one tar that their contents make.
func FuzzReader(f *testing.F) {
	tiny := mustRead(f, create(f, tinyContent(f), CreateOptions{}))
	f.Add(tiny)
	// The same with a pair of signatures, which AllowUnsigned does not look at. Making a key takes seconds under a fuzzer.
	parts, end := split(f, tiny)
	_, _, mtime, err := decodeHeader(&parts[0].header)
	if err != nil {
		f.Fatal(err)
	}
	for i, name := range []string{"airgap.json.sigstore.json", "airgap.json.sig"} {
		parts = slices.Insert(parts, i+1, part{encodeHeader(name, 1, mtime), append([]byte("x"), make([]byte, tarBlockBytes-1)...)})
	}
	f.Add(join(parts, end))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := NewReader(bytes.NewReader(data), AllowUnsigned{})
		if err != nil {
			return
		}
		defer r.Close()
		for {
			_, contents, err := r.Next()
			if err == io.EOF {
				break
			}
			if err != nil {
				return
			}
			if _, err := io.Copy(io.Discard, contents); err != nil {
				return
			}
		}
		if !bytes.Equal(rebuilt(t, r.Manifest(), data), data) {
			t.Error("accepted, but not the tar that its manifest describes")
		}
	})
}

// rebuilt lays the tar of m anew around the contents in data. Signatures, which are
// not in the manifest, are taken from data.
func rebuilt(t *testing.T, m *Manifest, data []byte) []byte {
	issued, err := parseIssuedAt(m.IssuedAt)
	if err != nil {
		t.Fatal(err)
	}
	parts, _ := split(t, data)
	front := len(parts) - len(m.Entries)
	for i := range parts {
		var name string
		_, size, _, _ := decodeHeader(&parts[i].header)
		switch {
		case i == 0:
			name = ManifestPath
		case i < front && i%2 == 1:
			name, _ = signaturePaths(i / 2)
		case i < front:
			_, name = signaturePaths(i/2 - 1)
		default:
			name, size = m.Entries[i-front].Path, m.Entries[i-front].Size
		}
		parts[i].header = encodeHeader(name, size, issued.Unix())
		clear(parts[i].contents[size:])
	}
	return join(parts, make([]byte, 2*tarBlockBytes))
}
