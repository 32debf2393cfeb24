package signing

import (
	"bytes"
	"context"
	"crypto"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"

	protocommon "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	sigstore "github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore-go/pkg/sign"
	"google.golang.org/protobuf/encoding/protojson"
)

// sigstoreMediaType is the only version of the Sigstore bundle that is written and accepted.
const sigstoreMediaType = "application/vnd.dev.sigstore.bundle.v0.3+json"

// Signature is the contents of the two files that one signer leaves. Both are required.
type Signature struct {
	Sigstore []byte // Sigstore bundle v0.3, JSON
	Detached []byte // base64 of the ASN.1 DER signature
}

// Sign signs message. The same key and message give the same bytes, with any build of the program, unless the key is kept elsewhere.
func (k *PrivateKey) Sign(message []byte) (Signature, error) {
	// sigstore-go makes the bundle; it has nothing to ask a network for.
	made, err := sign.Bundle(&sign.PlainData{Data: message}, keypair{k}, sign.BundleOptions{})
	if err != nil {
		return Signature{}, fmt.Errorf("sign: %w", err)
	}
	loose, err := protojson.Marshal(made)
	if err != nil {
		return Signature{}, fmt.Errorf("sign: %w", err)
	}
	compact, err := compactJSON(loose)
	if err != nil {
		return Signature{}, fmt.Errorf("sign: %w", err)
	}
	return Signature{Sigstore: compact, Detached: detached(made.GetMessageSignature().GetSignature())}, nil
}

// detached is the detached form of a signature in DER.
func detached(der []byte) []byte { return []byte(base64.StdEncoding.EncodeToString(der)) }

// compactJSON removes the white space that protojson varies from build to build on purpose.
func compactJSON(data []byte) ([]byte, error) {
	var compact bytes.Buffer
	if err := json.Compact(&compact, data); err != nil {
		return nil, err
	}
	return compact.Bytes(), nil
}

// parsed is a Signature whose form has been checked and whose two files agree. Nothing
// in it is authenticated.
type parsed struct {
	entity *sigstore.Bundle
	hint   string // names the key that is said to have signed; empty if it was one that a certificate has
	der    []byte // the signature, ASN.1 DER
}

// parse reads s strictly: unknown fields, another version, sloppy base64 and files that disagree are
// errors. White space in the JSON is not, so that bundles made by stock cosign are read.
func (s Signature) parse() (parsed, error) {
	if len(s.Sigstore) == 0 || len(s.Detached) == 0 {
		return parsed{}, errors.New("one of its two files is missing or empty")
	}
	entity, err := parseSigstore(s.Sigstore)
	if err != nil {
		return parsed{}, fmt.Errorf("the Sigstore bundle: %w", err)
	}
	der := entity.GetMessageSignature().GetSignature()
	if !bytes.Equal(detached(der), bytes.TrimSuffix(s.Detached, []byte("\n"))) {
		return parsed{}, errors.New("the detached signature is not the one in the Sigstore bundle")
	}
	return parsed{entity: entity, hint: entity.GetVerificationMaterial().GetPublicKey().GetHint(), der: der}, nil
}

// parseSigstore reads a Sigstore bundle that has a signature over a message, and names a key or has a certificate.
func parseSigstore(data []byte) (*sigstore.Bundle, error) {
	entity := new(sigstore.Bundle)
	if err := entity.UnmarshalJSON(data); err != nil {
		return nil, err
	}
	if entity.GetMediaType() != sigstoreMediaType {
		return nil, fmt.Errorf("media type %q, want %q", entity.GetMediaType(), sigstoreMediaType)
	}
	if err := requireCanonical(entity, data); err != nil {
		return nil, err
	}
	material := entity.GetVerificationMaterial()
	named := material.GetPublicKey().GetHint() != "" || len(material.GetCertificate().GetRawBytes()) > 0
	if len(entity.GetMessageSignature().GetSignature()) == 0 || !named {
		return nil, errors.New("want a messageSignature made with a public key that is named by its hint, or with a certificate")
	}
	return entity, nil
}

// requireCanonical refuses JSON that says the same as entity in another spelling: other
// names of fields, or base64 whose unused bits are set.
func requireCanonical(entity *sigstore.Bundle, data []byte) error {
	loose, err := protojson.Marshal(entity.Bundle)
	if err != nil {
		return err
	}
	want, err := compactJSON(loose)
	if err != nil {
		return err
	}
	got, err := compactJSON(data)
	if err != nil {
		return err
	}
	if !bytes.Equal(got, want) {
		return errors.New("not in the canonical encoding")
	}
	return nil
}

// keypair presents a PrivateKey to sigstore-go.
type keypair struct{ *PrivateKey }

func (keypair) GetHashAlgorithm() protocommon.HashAlgorithm {
	return protocommon.HashAlgorithm_SHA2_256
}

func (keypair) GetSigningAlgorithm() protocommon.PublicKeyDetails {
	return protocommon.PublicKeyDetails_PKIX_ECDSA_P256_SHA_256
}

func (k keypair) GetHint() []byte                  { return []byte(k.public.hint()) }
func (keypair) GetKeyAlgorithm() string            { return "ECDSA" }
func (k keypair) GetPublicKey() crypto.PublicKey   { return k.public.key }
func (k keypair) GetPublicKeyPem() (string, error) { return string(k.public.PEM()), nil }

// SignData returns the signature over data and the digest that was signed.
func (k keypair) SignData(_ context.Context, data []byte) (signature, digest []byte, err error) {
	sum := sha256.Sum256(data)
	signature, err = k.signMessage(data)
	return signature, sum[:], err
}
