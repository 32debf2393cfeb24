package bundle

import (
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"airgap/signing"
)

// signedContent is [tinyContent] with what is said about its image: a signature under cosign's tag, and one that names its subject.
func signedContent(t testing.TB) Content {
	t.Helper()
	c := tinyContent(t)
	image := c.Manifest.Images[0]
	for _, byTag := range []bool{true, false} {
		signature := NewBlob(RoleSignature, []byte(map[bool]string{true: "payload", false: "Sigstore bundle"}[byTag]))
		config := NewBlob(RoleConfig, []byte("{}"))
		manifest := ocispec.Manifest{
			Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest,
			Config: descriptorOf(ocispec.MediaTypeImageConfig, config), Layers: []ocispec.Descriptor{descriptorOf("application/vnd.dev.cosign.simplesigning.v1+json", signature)},
		}
		if !byTag {
			subject := descriptorOf(image.MediaType, Blob{Digest: image.Digest, Size: image.Size})
			manifest.Subject = &subject
		}
		root := NewBlob(RoleManifest, mustJSON(t, manifest))
		reference := "docker.io/library/a@" + root.Digest
		if byTag {
			reference = "docker.io/library/a:" + SignatureTag(image.Digest, ".sig")
		}
		c.Blobs = append(c.Blobs, root, config, signature)
		c.Manifest.Referrers = append(c.Manifest.Referrers, Referrer{
			Reference: reference, Subject: image.Digest, Digest: root.Digest, MediaType: ocispec.MediaTypeImageManifest, Size: root.Size,
		})
	}
	return c
}

func TestReferrers(t *testing.T) {
	key, policy := signer(t, siteKey)
	c := signedContent(t)
	again := c.Manifest.Images[0] // the same image in another repository, about which nothing is said
	again.Reference = "docker.io/library/b:1"
	c.Manifest.Images = append(c.Manifest.Images, again)
	r, err := Open(create(t, c, CreateOptions{Signers: []*signing.PrivateKey{key}}), policy)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	contents, err := readAll(r)
	if err != nil {
		t.Fatal(err)
	}
	m := r.Manifest()
	for i, want := range []int{2, 0} {
		if got := m.ReferrersOf(m.Images[i]); len(got) != want {
			t.Errorf("%s: %d referrers, want %d", m.Images[i].Reference, len(got), want)
		}
	}
	if index := string(contents[indexPath]); strings.Count(index, `"mediaType":"application/vnd.oci.image.manifest`) != 4 || strings.Count(index, imageNameAnnotation) != 2 {
		t.Errorf("a tool that knows no referrers must find them, and make no images of them: %s", index)
	}
	var order []Role
	for _, e := range m.Entries {
		order = append(order, e.Role)
	}
	if order = slices.Compact(order); !slices.Equal(order, []Role{RoleLayout, RoleManifest, RoleConfig, RoleSignature, RoleLayer}) {
		t.Errorf("roles %v", order)
	}
}
