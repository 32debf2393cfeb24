package signing

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"

	protocommon "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	sigstore "github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/verify"
)

// IdentityOptions say whose keyless signatures are accepted. The names are those of cosign's flags.
type IdentityOptions struct {
	TrustedRoot []byte // Sigstore trusted root, JSON: the authorities and logs that are believed

	Identity, IdentityRegexp string // the certificate's subject, or a regular expression for it
	Issuer, IssuerRegexp     string // who vouched for the subject, or a regular expression
}

// Identity accepts signatures by certificate: those of whoever an authority of the trusted root has certified to be the
// wanted subject at the time of signing. That time is proven by an entry in a transparency log or by an RFC 3161 timestamp, of a log or authority of
// the trusted root. Nothing is asked of a network, and no clock is looked at.
type Identity struct {
	stated   StatedIdentity
	material root.TrustedMaterial
	matcher  verify.CertificateIdentity
}

// NewIdentity checks options and reads the trusted root.
func NewIdentity(o IdentityOptions) (*Identity, error) {
	material, err := root.NewTrustedRootFromJSON(o.TrustedRoot)
	if err != nil {
		return nil, fmt.Errorf("trusted root: %w", err)
	}
	matcher, err := verify.NewShortCertificateIdentity(o.Issuer, o.IssuerRegexp, o.Identity, o.IdentityRegexp)
	if err != nil {
		return nil, fmt.Errorf("certificate identity: %w", err)
	}
	compact, err := compactJSON(o.TrustedRoot)
	if err != nil {
		return nil, fmt.Errorf("trusted root: %w", err)
	}
	stated := StatedIdentity{Identity: o.Identity, IdentityRegexp: o.IdentityRegexp, Issuer: o.Issuer, IssuerRegexp: o.IssuerRegexp, TrustedRoot: string(compact)}
	return &Identity{stated, material, matcher}, nil
}

// verify checks sig over message and names who signed: subject and issuer.
func (i *Identity) verify(message []byte, sig parsed) (signer string, err error) {
	signer, _, err = i.check(sig.entity, verify.WithArtifact(bytes.NewReader(message)))
	return signer, err
}

// check verifies a signature over an artifact, or over a statement about it, and names who signed.
func (i *Identity) check(entity *sigstore.Bundle, artifact verify.ArtifactPolicyOption) (signer string, result *verify.VerificationResult, err error) {
	options := []verify.VerifierOption{verify.WithObserverTimestamps(1)}
	entries, err := entity.TlogEntries()
	if err != nil {
		return "", nil, err
	}
	if len(entries) > 0 {
		options = append(options, verify.WithTransparencyLog(1))
	}
	if len(i.material.CTLogs()) > 0 {
		options = append(options, verify.WithSignedCertificateTimestamps(1))
	}
	verifier, err := verify.NewVerifier(i.material, options...)
	if err != nil {
		return "", nil, err
	}
	result, err = verifier.Verify(entity, verify.NewPolicy(artifact, verify.WithCertificateIdentity(i.matcher)))
	if err != nil {
		return "", nil, err
	}
	if result.Signature == nil || result.Signature.Certificate == nil {
		return "", nil, errors.New("not signed by a certificate")
	}
	certificate := result.Signature.Certificate
	return certificate.SubjectAlternativeName + " (" + certificate.Issuer + ")", result, nil
}

// requireDigest checks the digest that a Sigstore bundle states, which the library leaves alone when it is given the message.
func (p parsed) requireDigest(message []byte) error {
	sum := sha256.Sum256(message)
	stated := p.entity.GetMessageSignature().GetMessageDigest()
	if stated.GetAlgorithm() != protocommon.HashAlgorithm_SHA2_256 || !bytes.Equal(stated.GetDigest(), sum[:]) {
		return errors.New("the digest in the Sigstore bundle is another message's")
	}
	return nil
}

// MadeSignature is a signature that was made elsewhere, by cosign for instance.
type MadeSignature struct {
	signature Signature
	parsed    parsed
}

// ParseMade reads a Sigstore bundle v0.3, made with a key or with a certificate. Nothing in it is authenticated.
func ParseMade(sigstoreJSON []byte) (*MadeSignature, error) {
	entity, err := parseSigstore(sigstoreJSON)
	if err != nil {
		return nil, fmt.Errorf("%w: %v", ErrInvalid, err)
	}
	made := &MadeSignature{signature: Signature{Sigstore: bytes.TrimSpace(sigstoreJSON), Detached: detached(entity.GetMessageSignature().GetSignature())}}
	if made.parsed, err = made.signature.parse(); err != nil {
		return nil, fmt.Errorf("%w: %v", ErrInvalid, err)
	}
	return made, nil
}

// Sign returns the signature if it is over message.
func (m *MadeSignature) Sign(message []byte) (Signature, error) {
	if err := m.parsed.requireDigest(message); err != nil {
		return Signature{}, fmt.Errorf("%w: %v", ErrInvalid, err)
	}
	return m.signature, nil
}
