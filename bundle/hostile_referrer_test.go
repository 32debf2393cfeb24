package bundle

import (
	"encoding/json"
	"slices"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// hostileReferrers are signed bundles that say of something that it is about an image of theirs, and it cannot be, or that carry it wrongly.
func hostileReferrers() []hostile {
	var cases []hostile
	add := func(name string, rule Rule, text string, edit func(h *hostileMaker, c *Content)) {
		cases = append(cases, hostile{"referrer", name, func(h *hostileMaker) []byte {
			c := signedContent(h.t)
			edit(h, &c)
			return h.assembled(c.Manifest, c.Blobs)
		}, ErrFormat, rule, text})
	}
	// listed changes what the manifest says of the one by a tag.
	listed := func(name, text string, edit func(r *Referrer)) {
		add(name, RuleManifest, text, func(_ *hostileMaker, c *Content) { edit(&c.Manifest.Referrers[0]) })
	}
	zeros := "sha256:" + strings.Repeat("0", 64)
	listed("of no image", "no image of that repository", func(r *Referrer) {
		r.Subject, r.Reference = zeros, "docker.io/library/a:"+SignatureTag(zeros, ".sig")
	})
	listed("of an image of another repository", "no image of that repository", func(r *Referrer) { r.Reference = strings.Replace(r.Reference, "/a:", "/b:", 1) })
	listed("with a tag of another image", "after its subject", func(r *Referrer) { r.Reference = "docker.io/library/a:" + SignatureTag(zeros, ".sig") })
	listed("with the tag of an image", "after its subject", func(r *Referrer) { r.Reference = "docker.io/library/a:1" })
	listed("with a tag of another ending", "after its subject", func(r *Referrer) { r.Reference = strings.Replace(r.Reference, ".sig", ".exe", 1) })
	listed("by a digest that is another", "and its digest", func(r *Referrer) { r.Reference = "docker.io/library/a@" + zeros })
	listed("by a short name", "after its subject", func(r *Referrer) { r.Reference = strings.TrimPrefix(r.Reference, "docker.io/library/") })
	listed("that is not there", "not among the entries", func(r *Referrer) { r.Digest = zeros })
	listed("of another size", "its entry has", func(r *Referrer) { r.Size++ })
	listed("that is an index", "media type", func(r *Referrer) { r.MediaType = ocispec.MediaTypeImageIndex })
	listed("of no media type", "media type", func(r *Referrer) { r.MediaType = "" })
	add("twice", RuleManifest, "or twice", func(_ *hostileMaker, c *Content) {
		c.Manifest.Referrers = append(c.Manifest.Referrers, c.Manifest.Referrers[0])
	})
	add("that is a signature", RuleManifest, "has the role", func(_ *hostileMaker, c *Content) {
		at := slices.IndexFunc(c.Blobs, func(b Blob) bool { return b.Role == RoleSignature })
		c.Manifest.Referrers[0].Digest, c.Manifest.Referrers[0].Size = c.Blobs[at].Digest, c.Blobs[at].Size
	})
	add("whose signature is not carried", RuleGraph, "is not carried", func(_ *hostileMaker, c *Content) {
		c.Blobs = slices.DeleteFunc(c.Blobs, func(b Blob) bool { return b.Role == RoleSignature })
	})
	add("with a signature that belongs to nothing", RuleGraph, "belongs to nothing", func(_ *hostileMaker, c *Content) {
		c.Blobs = append(c.Blobs, NewBlob(RoleSignature, []byte("smuggled")))
	})
	add("that names another subject", RuleGraph, "it is not about", func(h *hostileMaker, c *Content) {
		h.rewriteReferrer(c, func(m *ocispec.Manifest) { m.Subject.Digest = ocispec.DescriptorEmptyJSON.Digest })
	})
	add("that names no subject", RuleGraph, "it is not about", func(h *hostileMaker, c *Content) {
		h.rewriteReferrer(c, func(m *ocispec.Manifest) { m.Subject = nil })
	})
	return cases
}

// rewriteReferrer changes the manifest of the referrer that is known by its digest.
func (h *hostileMaker) rewriteReferrer(c *Content, edit func(m *ocispec.Manifest)) {
	r := &c.Manifest.Referrers[1]
	at := slices.IndexFunc(c.Blobs, func(b Blob) bool { return b.Digest == r.Digest })
	manifest := decodeManifest(h, c.Blobs[at])
	edit(&manifest)
	encoded, err := json.Marshal(manifest)
	if err != nil {
		h.t.Fatal(err)
	}
	c.Blobs[at] = NewBlob(RoleManifest, encoded)
	r.Digest, r.Size = c.Blobs[at].Digest, c.Blobs[at].Size
	r.Reference = "docker.io/library/a@" + r.Digest
}
