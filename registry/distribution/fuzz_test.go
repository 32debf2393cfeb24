package distribution

import (
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// FuzzParseManifest looks for a manifest that is taken and refers to what containerd could not verify.
func FuzzParseManifest(f *testing.F) {
	f.Add([]byte(`{"schemaVersion":2,"config":{"digest":"`+absent+`","size":2},"layers":[]}`), ocispec.MediaTypeImageManifest)
	f.Add([]byte(`{"schemaVersion":2,"manifests":[{"digest":"`+absent+`","size":2}]}`), ocispec.MediaTypeImageIndex)
	f.Add([]byte(`{"manifests":[],"config":{}}`), "")
	f.Fuzz(func(t *testing.T, data []byte, contentType string) {
		target, doc, err := parseManifest(data, contentType)
		if err != nil {
			return
		}
		if !isManifest(target) || target.Size != int64(len(data)) || len(doc.children()) > maxReferences {
			t.Errorf("%+v with %d references", target, len(doc.children()))
		}
		for _, child := range doc.children() {
			if _, err := parseBlobDigest(child.Digest.String()); err != nil || child.Size < 0 {
				t.Errorf("it refers to %+v", child)
			}
		}
	})
}

// FuzzParseRecordName looks for a name from another node that no client could have pushed.
func FuzzParseRecordName(f *testing.F) {
	f.Add("team/app:1")
	f.Add("app@" + absent)
	f.Add("a:b:c")
	f.Fuzz(func(t *testing.T, name string) {
		if ParseRecordName(name) != nil {
			return
		}
		record := Record{Name: name}
		if !namePattern.MatchString(record.Repository()) || len(record.Repository()) >= len(name) {
			t.Errorf("%q is of %q", name, record.Repository())
		}
	})
}
