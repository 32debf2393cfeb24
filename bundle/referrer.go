package bundle

import (
	"fmt"
	"strings"
)

// SignatureTags are the endings of the tags by which cosign finds what is about an image without asking for referrers.
var SignatureTags = []string{".sig", ".att"}

// SignatureTag is the tag under which cosign keeps what is about a digest: "sha256-<hex>.sig" with the ending ".sig".
func SignatureTag(of, ending string) string {
	return strings.Replace(of, ":", "-", 1) + ending
}

// ReferrersOf returns what is carried about an image: about its root, and about its platforms that are carried.
func (m *Manifest) ReferrersOf(image Image) []Referrer {
	var found []Referrer
	for _, r := range m.Referrers {
		if repositoryOf(r.Reference) == repositoryOf(image.Reference) && image.is(r.Subject) {
			found = append(found, r)
		}
	}
	return found
}

// Suffix is the end of its reference after the repository: a tag with a colon before it, or a digest with an @.
func (r Referrer) Suffix() string { return strings.TrimPrefix(r.Reference, repositoryOf(r.Reference)) }

// is says whether a digest is the image's, or that of one of its platforms.
func (i Image) is(digest string) bool {
	for _, p := range i.Platforms {
		if p.Digest == digest {
			return true
		}
	}
	return i.Digest == digest
}

// repositoryOf is a full reference without its tag or digest.
func repositoryOf(reference string) string {
	if repository, digested := cutDigest(reference); digested {
		return repository
	}
	if at := strings.LastIndexByte(reference, ':'); at > strings.LastIndexByte(reference, '/') {
		return reference[:at]
	}
	return reference
}

// cutDigest takes the digest off a reference that has one.
func cutDigest(reference string) (repository string, digested bool) {
	repository, _, digested = strings.Cut(reference, "@")
	return repository, digested
}

// referrers checks that each is about an image of the bundle, and called as its subject or its own digest says.
func (v *validator) referrers(m *Manifest) {
	subjects := make(map[string]bool) // "<repository> <digest>"
	for _, image := range m.Images {
		subjects[repositoryOf(image.Reference)+" "+image.Digest] = true
		for _, p := range image.Platforms {
			subjects[repositoryOf(image.Reference)+" "+p.Digest] = true
		}
	}
	for i, r := range m.Referrers {
		where := fmt.Sprintf("referrer %.300q", r.Reference)
		v.require(i == 0 || m.Referrers[i-1].Reference < r.Reference, "%s: not sorted by reference, or twice", where)
		v.require(isReference(r.Reference) && isReferrerName(r), "%s: want host/repository:sha256-….sig or .att after its subject, or host/repository@ and its digest", where)
		v.require(subjects[repositoryOf(r.Reference)+" "+r.Subject], "%s: it is about %.80q, which is no image of that repository here", where, r.Subject)
		v.require(mediaTypeShape.MatchString(r.MediaType) && !isIndexType(r.MediaType), "%s: media type %.130q", where, r.MediaType)
		if e, ok := v.named(where, "digest", r.Digest, RoleManifest); ok {
			v.require(e.Size == r.Size, "%s: size %d, its entry has %d", where, r.Size, e.Size)
		}
	}
}

// isReferrerName reports whether the reference is one of those by which clients look for what is about the subject.
func isReferrerName(r Referrer) bool {
	repository := repositoryOf(r.Reference)
	for _, ending := range SignatureTags {
		if r.Reference == repository+":"+SignatureTag(r.Subject, ending) {
			return true
		}
	}
	return r.Reference == repository+"@"+r.Digest
}
