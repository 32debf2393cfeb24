package signing

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"

	"github.com/sigstore/cosign/v2/pkg/cosign"
)

// publicKeyPEMType is the PEM type of a PKIX public key, the only one accepted.
const publicKeyPEMType = "PUBLIC KEY"

// GenerateKey makes a key pair in cosign's format. The private key is encrypted with password,
// which may be empty, as with cosign.
func GenerateKey(password []byte) (privatePEM, publicPEM []byte, err error) {
	keys, err := cosign.GenerateKeyPair(func(bool) ([]byte, error) { return password, nil })
	if err != nil {
		return nil, nil, fmt.Errorf("generate key: %w", err)
	}
	return keys.PrivateBytes, keys.PublicBytes, nil
}

// PrivateKey signs messages.
type PrivateKey struct {
	key    *ecdsa.PrivateKey // nil: remote has it
	remote func(message []byte) (der []byte, err error)
	public PublicKey

	placeholder bool // it signs nothing: see [PublicKey.Placeholder]
}

// ParsePrivateKey decrypts a private key in cosign's format.
//
// It does what cosign.LoadPrivateKey does, but keeps the key itself: the signer that cosign
// returns cannot sign deterministically.
func ParsePrivateKey(pemBytes, password []byte) (*PrivateKey, error) {
	block, rest := pem.Decode(pemBytes)
	if block == nil || len(rest) > 0 {
		return nil, errors.New("private key: want exactly one PEM block; make a key with airgap keygen or cosign generate-key-pair")
	}
	if block.Type != cosign.SigstorePrivateKeyPemType && block.Type != cosign.CosignPrivateKeyPemType {
		return nil, fmt.Errorf("private key: PEM type %q, want %q; cosign import-key-pair converts a plain key", block.Type, cosign.SigstorePrivateKeyPemType)
	}
	der, err := decrypt(block.Bytes, password)
	if err != nil {
		return nil, fmt.Errorf("private key: %w; is COSIGN_PASSWORD the password it was made with?", err)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, fmt.Errorf("private key: %w", err)
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("private key: %T, want ECDSA on P-256", parsed)
	}
	return newPrivateKey(key)
}

func newPrivateKey(key *ecdsa.PrivateKey) (*PrivateKey, error) {
	public, err := newPublicKey(&key.PublicKey)
	if err != nil {
		return nil, err
	}
	return &PrivateKey{key: key, public: public}, nil
}

// Placeholder returns a key in the name of k whose signatures are none, but as long as those of k usually are (DER varies by some bytes): for
// whoever must know how long something will be before it is signed.
func (k PublicKey) Placeholder() *PrivateKey { return &PrivateKey{public: k, placeholder: true} }

// usualDERBytes is how long most signatures of ECDSA on P-256 are: two integers of 32 bytes, one of them with a zero before its
// highest bit, and three headers.
const usualDERBytes = 71

// Public returns the key that verifies what k signs.
func (k *PrivateKey) Public() PublicKey { return k.public }

// PublicKey verifies signatures. The zero value verifies nothing.
type PublicKey struct {
	key *ecdsa.PublicKey
	der []byte // SubjectPublicKeyInfo
}

// ParsePublicKey reads a public key in PKIX PEM, as cosign and openssl write it.
func ParsePublicKey(pemBytes []byte) (PublicKey, error) {
	block, rest := pem.Decode(pemBytes)
	if block == nil || len(rest) > 0 || block.Type != publicKeyPEMType {
		return PublicKey{}, fmt.Errorf("public key: want exactly one PEM block of type %q", publicKeyPEMType)
	}
	key, err := cosign.PemToECDSAKey(pemBytes)
	if err != nil {
		return PublicKey{}, fmt.Errorf("public key: %w", err)
	}
	return newPublicKey(key)
}

func newPublicKey(key *ecdsa.PublicKey) (PublicKey, error) {
	if key.Curve != elliptic.P256() {
		return PublicKey{}, fmt.Errorf("ECDSA key on %s, want P-256", key.Params().Name)
	}
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return PublicKey{}, fmt.Errorf("public key: %w", err)
	}
	return PublicKey{key: key, der: der}, nil
}

// ID names the key: the SHA-256 of its DER SubjectPublicKeyInfo, 64 hex digits.
func (k PublicKey) ID() string {
	sum := sha256.Sum256(k.der)
	return hex.EncodeToString(sum[:])
}

// PEM returns the key in PKIX PEM.
func (k PublicKey) PEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: publicKeyPEMType, Bytes: k.der})
}

// isKeyID reports whether s can be a [PublicKey.ID].
func isKeyID(s string) bool {
	sum, err := hex.DecodeString(s)
	return err == nil && len(sum) == sha256.Size && hex.EncodeToString(sum) == s
}

// hint is how a Sigstore bundle names the key: cosign writes the same bytes as ID, in base64.
func (k PublicKey) hint() string {
	sum := sha256.Sum256(k.der)
	return base64.StdEncoding.EncodeToString(sum[:])
}

// hintToID returns the ID of the key that a hint names, or the hint, quoted, if it is no hint of cosign's.
func hintToID(hint string) string {
	sum, err := base64.StdEncoding.DecodeString(hint)
	if err != nil || len(sum) != sha256.Size || base64.StdEncoding.EncodeToString(sum) != hint {
		return fmt.Sprintf("%.80q", hint)
	}
	return hex.EncodeToString(sum)
}

// verifies reports whether der is an ASN.1 DER signature of k over message.
func (k PublicKey) verifies(message, der []byte) bool {
	sum := sha256.Sum256(message)
	return k.key != nil && ecdsa.VerifyASN1(k.key, sum[:], der)
}

// signMessage returns the signature over message in ASN.1 DER, which is deterministic unless the key is kept elsewhere.
func (k *PrivateKey) signMessage(message []byte) ([]byte, error) {
	switch {
	case k.placeholder:
		return make([]byte, usualDERBytes), nil
	case k.remote != nil:
		return k.signRemotely(message)
	}
	sum := sha256.Sum256(message)
	return k.signRFC6979(sum[:])
}

// signRFC6979 returns the deterministic signature over digest, the SHA-256 of a message, in ASN.1 DER.
func (k *PrivateKey) signRFC6979(digest []byte) ([]byte, error) {
	return k.key.Sign(nil, digest, crypto.SHA256) // a nil source of randomness selects RFC 6979
}
