package signing

import (
	"bytes"
	"context"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/sigstore/cosign/v2/pkg/cosign"
	cosigntypes "github.com/sigstore/cosign/v2/pkg/types"
	sigstore "github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/verify"
	"github.com/sigstore/sigstore/pkg/cryptoutils"
	"github.com/sigstore/sigstore/pkg/signature"
)

// ImageKey is a public key that signs images. Unlike a [PublicKey] it may be of any kind that cosign knows: ECDSA, RSA (PKCS #1 v1.5)
// or Ed25519, with SHA-256.
type ImageKey struct {
	verifier signature.Verifier
	id       string // the SHA-256 of its DER SubjectPublicKeyInfo, in hex
}

// ParseImageKey reads a public key in PKIX PEM.
func ParseImageKey(pemBytes []byte) (ImageKey, error) {
	key, err := cryptoutils.UnmarshalPEMToPublicKey(pemBytes)
	if err != nil {
		return ImageKey{}, fmt.Errorf("public key: %w", err)
	}
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return ImageKey{}, fmt.Errorf("public key: %w", err)
	}
	verifier, err := signature.LoadVerifier(key, crypto.SHA256)
	if err != nil {
		return ImageKey{}, fmt.Errorf("public key: %w", err)
	}
	sum := sha256.Sum256(der)
	return ImageKey{verifier, hex.EncodeToString(sum[:])}, nil
}

// ImagePolicy says whose signatures make an image good: those of any of Keys and Identities. An empty one accepts nothing.
type ImagePolicy struct {
	Keys       []ImageKey
	Identities []*Identity
}

// VerifyAttached checks a signature as cosign attaches it to an image: over the bytes of a payload, which the caller holds against the
// image. It names who signed: the ID of a key, or subject and issuer. The error is an [ErrInvalid] or [ErrUntrusted].
func (p ImagePolicy) VerifyAttached(a Attached) (signer string, err error) {
	der, err := base64.StdEncoding.DecodeString(a.Signature)
	if err != nil || len(der) == 0 {
		return "", fmt.Errorf("%w: the signature is not in base64", ErrInvalid)
	}
	for _, key := range p.Keys {
		if key.verifier.VerifySignature(bytes.NewReader(der), bytes.NewReader(a.Payload)) == nil {
			return key.id, nil
		}
	}
	if a.Certificate == "" {
		return "", fmt.Errorf("%w: it is made by another key than those wanted", ErrUntrusted)
	}
	entity, err := a.bundle(der)
	if err != nil {
		return "", fmt.Errorf("%w: %v", ErrInvalid, err)
	}
	why := errors.New("it is made by a certificate, and no identity is wanted")
	for _, identity := range p.Identities {
		if signer, _, why = identity.check(entity, verify.WithArtifact(bytes.NewReader(a.Payload))); why == nil {
			return signer, nil
		}
	}
	return "", fmt.Errorf("%w: %v", ErrUntrusted, why)
}

// VerifyBundle checks a Sigstore bundle of an image with the given SHA-256: a signature over the digest, or one of cosign's
// signed statements that the image is signed. A statement that says something else is an [ErrOtherStatement].
// Else it is like [ImagePolicy.VerifyAttached].
func (p ImagePolicy) VerifyBundle(sigstoreJSON, imageSHA256 []byte) (signer string, err error) {
	entity := new(sigstore.Bundle)
	if err := entity.UnmarshalJSON(sigstoreJSON); err != nil {
		return "", fmt.Errorf("%w: the Sigstore bundle: %v", ErrInvalid, err)
	}
	artifact := verify.WithArtifactDigest("sha256", imageSHA256)
	why := errors.New("it is made by another key than those wanted")
	for _, key := range p.Keys {
		options := &cosign.CheckOpts{SigVerifier: key.verifier, IgnoreTlog: true, TrustedMaterial: new(root.BaseTrustedMaterial)}
		result, err := cosign.VerifyNewBundle(context.Background(), options, artifact, entity)
		if err == nil {
			return key.id, requireSignature(result)
		}
	}
	for _, identity := range p.Identities {
		signer, result, err := identity.check(entity, artifact)
		if err == nil {
			return signer, requireSignature(result)
		}
		why = err
	}
	return "", fmt.Errorf("%w: %v", ErrUntrusted, why)
}

// ErrOtherStatement says that a statement is well signed, and does not say that the image is.
var ErrOtherStatement = errors.New("not a signature of the image")

// requireSignature refuses statements about an image by which nobody says that it is good, such as what a scan has found in it.
func requireSignature(result *verify.VerificationResult) error {
	// Without a statement it is a signature over the digest itself.
	if kind := result.Statement.GetPredicateType(); result.Statement != nil && kind != cosigntypes.CosignSignPredicateType {
		return fmt.Errorf("%w: a statement of the type %.200q", ErrOtherStatement, kind)
	}
	return nil
}
