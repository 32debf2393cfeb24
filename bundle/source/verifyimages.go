package source

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"airgap/signing"
)

// What cosign calls the parts of a signature that it attaches to an image
// (https://github.com/sigstore/cosign/blob/main/specs/SIGNATURE_SPEC.md).
const (
	simpleSigning         = "application/vnd.dev.cosign.simplesigning.v1+json"
	simpleSigningType     = "cosign container image signature"
	annotationSignature   = "dev.cosignproject.cosign/signature"
	annotationCertificate = "dev.sigstore.cosign/certificate"
	annotationLog         = "dev.sigstore.cosign/bundle"
	annotationTimestamp   = "dev.sigstore.cosign/rfc3161timestamp"
)

// sigstoreBundle begins the media type of a Sigstore bundle of any version.
const sigstoreBundle = "application/vnd.dev.sigstore.bundle"

const (
	// maxSignatureBytes bounds a signature, which is held in memory: a payload, or a Sigstore bundle with certificates and proofs.
	maxSignatureBytes = 1 << 20
	// maxSignatures bounds how many signatures of one image are tried.
	maxSignatures = 64
)

// ErrNotSigned says that images are not signed as spec.verifyImages wants.
var ErrNotSigned = errors.New("refused by spec.verifyImages")

// NotSignedError says which images, and by which rules. It is an [ErrNotSigned].
type NotSignedError struct{ Problems []string }

func (e *NotSignedError) Error() string {
	return ErrNotSigned.Error() + ":\n" + strings.Join(e.Problems, "\n")
}

// Is makes errors.Is(err, ErrNotSigned) true.
func (e *NotSignedError) Is(target error) bool { return target == ErrNotSigned }

// rule is an [ImageRule] with what its files say.
type rule struct {
	ImageRule
	node   string // "spec.verifyImages[0]"
	policy signing.ImagePolicy
}

// imageRules reads the files that the rules name.
func (g *gatherer) imageRules() ([]rule, error) {
	var rules []rule
	for i, wanted := range g.spec.Spec.VerifyImages {
		r := rule{ImageRule: wanted, node: fmt.Sprintf("spec.verifyImages[%d]", i)}
		fail := func(what string, err error) error {
			return asError(g.spec.path, []problem{{g.spec.line(r.node), fmt.Sprintf("%s: %s: %v", r.node, what, err)}})
		}
		for _, file := range wanted.Keys {
			data, err := os.ReadFile(g.spec.file(file))
			if err != nil {
				return nil, fail(file, err)
			}
			key, err := signing.ParseImageKey(data)
			if err != nil {
				return nil, fail(file, err)
			}
			r.policy.Keys = append(r.policy.Keys, key)
		}
		for _, who := range wanted.Identities {
			data, err := os.ReadFile(g.spec.file(wanted.TrustedRoot))
			if err != nil {
				return nil, fail(wanted.TrustedRoot, err)
			}
			identity, err := signing.NewIdentity(signing.IdentityOptions{
				TrustedRoot: data, Identity: who.Subject, IdentityRegexp: who.SubjectRegexp, Issuer: who.Issuer, IssuerRegexp: who.IssuerRegexp,
			})
			if err != nil {
				return nil, fail(wanted.TrustedRoot, err)
			}
			r.policy.Identities = append(r.policy.Identities, identity)
		}
		rules = append(rules, r)
	}
	return rules, nil
}

// verifyImages holds each image against the rules that are about it, and reports all that fail. Images of the distribution are left
// to the signature of the bundle that they come in: it covers their bytes.
func (g *gatherer) verifyImages(ctx context.Context) error {
	rules, err := g.imageRules()
	if err != nil || len(rules) == 0 {
		return err
	}
	refused := &NotSignedError{}
	for _, image := range g.sortedImages() {
		for _, r := range rules {
			if image.base != nil && image.system || !r.isAbout(image) {
				continue
			}
			signer, err := r.check(ctx, image)
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if err != nil {
				refused.Problems = append(refused.Problems, fmt.Sprintf("image %s, named by %s, against %s (%s): %v",
					image.reference, image.why[0].Where, r.node, g.spec.place(r.node), err))
				continue
			}
			g.verified = append(g.verified, VerifiedImage{image.reference, r.node, signer})
		}
	}
	if len(refused.Problems) > 0 {
		return refused
	}
	return nil
}

// isAbout says whether the rule is about an image: by what it is called at the site, or by where it comes from.
func (r rule) isAbout(image *wantedImage) bool {
	return matchesAny(r.Images, image.reference) || image.source.Repository != "" &&
		(matchesAny(r.Images, image.source.String()) || matchesAny(r.Images, image.source.Tagged()))
}

// check finds one signature of an image that the rule accepts, and names its signer. Others may be by anybody.
func (r rule) check(ctx context.Context, image *wantedImage) (signer string, err error) {
	wanted := image.content.root.Digest
	tried, why := 0, error(nil)
	for _, about := range image.referrers {
		if about.subject != wanted {
			continue
		}
		for _, layer := range about.manifest.Layers {
			if layer.MediaType != simpleSigning && !strings.HasPrefix(layer.MediaType, sigstoreBundle) {
				continue
			}
			if tried++; tried > maxSignatures {
				return "", fmt.Errorf("none of its first %d signatures is by whom the rule wants: %w", maxSignatures, why)
			}
			data, err := readSignature(ctx, about.store, layer)
			if err == nil {
				signer, err = r.verify(layer, data, wanted)
			}
			if err == nil {
				return signer, nil
			}
			if why == nil || !errors.Is(err, signing.ErrOtherStatement) {
				why = err
			}
		}
	}
	switch {
	case tried == 0 && image.source.Repository == "" && image.base == nil:
		return "", errors.New("it comes from no registry, and has no signature with it")
	case tried == 0:
		return "", fmt.Errorf("%s has no signature; if it was signed after airgap.lock was written, `airgap build --update` finds it", wanted)
	}
	return "", fmt.Errorf("none of its signatures is by whom the rule wants; the last: %w", why)
}

// verify checks one signature of the image with the digest wanted.
func (r rule) verify(layer ocispec.Descriptor, data []byte, wanted digest.Digest) (signer string, err error) {
	if layer.MediaType != simpleSigning {
		sum, err := hex.DecodeString(wanted.Encoded())
		if err != nil {
			return "", err
		}
		return r.policy.VerifyBundle(data, sum)
	}
	signer, err = r.policy.VerifyAttached(signing.Attached{
		Payload: data, Signature: layer.Annotations[annotationSignature], Certificate: layer.Annotations[annotationCertificate],
		Log: layer.Annotations[annotationLog], Timestamp: layer.Annotations[annotationTimestamp],
	})
	if err != nil {
		return "", err
	}
	return signer, checkClaim(data, wanted)
}

// checkClaim holds what was signed against an image: a signature that is good for another says nothing.
func checkClaim(payload []byte, wanted digest.Digest) error {
	var claim struct {
		Critical struct {
			Image struct {
				Digest string `json:"docker-manifest-digest"`
			} `json:"image"`
			Type string `json:"type"`
		} `json:"critical"`
	}
	if err := json.Unmarshal(payload, &claim); err != nil {
		return fmt.Errorf("what is signed is no claim about an image: %w", err)
	}
	if claim.Critical.Type != simpleSigningType || claim.Critical.Image.Digest != wanted.String() {
		return fmt.Errorf("what is signed is about %.100q, a %.100q", claim.Critical.Image.Digest, claim.Critical.Type)
	}
	return nil
}

// readSignature reads a signature and holds it against its descriptor.
func readSignature(ctx context.Context, from store, layer ocispec.Descriptor) ([]byte, error) {
	if layer.Size > maxSignatureBytes {
		return nil, fmt.Errorf("a signature of %d bytes, the limit is %d", layer.Size, maxSignatureBytes)
	}
	reader, err := from.blob(ctx, layer)
	if err != nil {
		return nil, err
	}
	defer reader.Close()
	data, err := io.ReadAll(io.LimitReader(reader, maxSignatureBytes+1))
	if err != nil {
		return nil, err
	}
	return data, matches(layer, data)
}
