package source

import (
	"bytes"
	"strings"
	"testing"
)

// FuzzParseLock looks for panics, and for locks that are read but not as they would be written.
func FuzzParseLock(f *testing.F) {
	lock := Lock{APIVersion: APIVersion, Kind: LockKind, IssuedAt: "2026-11-22T09:00:00Z", Content: "sha256:" + strings.Repeat("0", 64),
		Images: []Locked{{"docker.io/library/nginx:1.29", "sha256:" + strings.Repeat("9f", 32)}}}
	encoded, err := lock.encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(encoded)
	f.Add(append(bytes.Clone(encoded), "---\n{}\n"...))
	f.Add([]byte("apiVersion: &a airgap/v1\nkind: *a"))
	f.Add([]byte("images: [{source: a, source: b}]"))
	f.Fuzz(func(t *testing.T, data []byte) {
		lock, err := ParseLock("airgap.lock", data)
		if err != nil {
			return
		}
		encoded, err := lock.encode()
		if err != nil {
			t.Fatal(err)
		}
		again, err := ParseLock("airgap.lock", encoded)
		if err != nil {
			t.Fatalf("what it is written as is refused: %v\n%s", err, encoded)
		}
		twice, err := again.encode()
		if err != nil || !bytes.Equal(twice, encoded) {
			t.Errorf("written as\n%s\nand then as\n%s\n%v", encoded, twice, err)
		}
	})
}

// FuzzNormalize looks for panics, and for image references whose normal spelling means something else.
func FuzzNormalize(f *testing.F) {
	for _, text := range []string{
		"nginx", "nginx:1.29", "docker.io/library/nginx", "localhost:5000/a:b", "a.b/c@sha256:" + strings.Repeat("0", 64), "a:b@sha256:" + strings.Repeat("9f", 32),
		"a@sha512:" + strings.Repeat("0", 128), "[::1]:5000/a", "A/b", "a//b", strings.Repeat("0", 64), "docker://nginx", "oci:./out:latest", "docker-archive:a.tar",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		splitSource(text)
		r, err := Normalize(text)
		if err != nil {
			return
		}
		again, err := Normalize(r.String())
		if err != nil || again.String() != r.String() || again.Repository != r.Repository {
			t.Errorf("%q is %q, which is %q, %v", text, r, again, err)
		}
	})
}
