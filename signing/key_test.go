package signing

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"strings"
	"testing"

	"github.com/sigstore/cosign/v2/pkg/cosign"
	"github.com/sigstore/sigstore/pkg/cryptoutils"
)

// newKey makes a key without the cost of its encryption.
func newKey(t testing.TB) *PrivateKey {
	t.Helper()
	raw, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	key, err := newPrivateKey(raw)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func TestGeneratedKeyIsCosigns(t *testing.T) {
	private, public, err := GenerateKey([]byte("pw"))
	if err != nil {
		t.Fatal(err)
	}
	key, err := ParsePrivateKey(private, []byte("pw"))
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := ParsePublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	if parsed.ID() != key.Public().ID() || !bytes.Equal(parsed.PEM(), public) {
		t.Errorf("public key %s does not belong to private key %s", parsed.ID(), key.Public().ID())
	}
	theirs, err := cosign.LoadPrivateKey(private, []byte("pw"), nil)
	if err != nil {
		t.Fatalf("cosign cannot read the key: %v", err)
	}
	theirPublic, err := theirs.PublicKey()
	if err != nil || !key.Public().key.Equal(theirPublic) {
		t.Errorf("cosign reads another key: %v", err)
	}
	if _, err := ParsePrivateKey(private, []byte("wrong")); err == nil || !strings.Contains(err.Error(), "COSIGN_PASSWORD") {
		t.Errorf("wrong password: %v", err)
	}
}

func TestParseRefusesOtherKeys(t *testing.T) {
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p384PEM, err := cryptoutils.MarshalPublicKeyToPEM(&p384.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	valid := newKey(t).Public().PEM()
	for name, data := range map[string][]byte{
		"empty":       nil,
		"garbage":     []byte("-----BEGIN"),
		"two keys":    append(bytes.Clone(valid), valid...),
		"trailing":    append(bytes.Clone(valid), "x"...),
		"P-384":       p384PEM,
		"certificate": bytes.ReplaceAll(valid, []byte("PUBLIC KEY"), []byte("CERTIFICATE")),
	} {
		if _, err := ParsePublicKey(data); err == nil {
			t.Errorf("%s: accepted as a public key", name)
		}
		if _, err := ParsePrivateKey(data, nil); err == nil {
			t.Errorf("%s: accepted as a private key", name)
		}
	}
}

// TestRFC6979 holds the nonce to the RFC's own example, appendix A.2.5: P-256, SHA-256, "sample".
func TestRFC6979(t *testing.T) {
	secret, err := hex.DecodeString("C9AFA9D845BA75166B5C215767B1D6934E50C3DB36E89B127B8A622B120F6721")
	if err != nil {
		t.Fatal(err)
	}
	raw, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), secret)
	if err != nil {
		t.Fatal(err)
	}
	key, err := newPrivateKey(raw)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256([]byte("sample"))
	got, err := key.signRFC6979(sum[:])
	if err != nil {
		t.Fatal(err)
	}
	const want = "3046022100efd48b2aacb6a8fd1140dd9cd45e81d69d2c877b56aaf991c34d0ea84eaf3716" +
		"022100f7cb1c942d657c41d436c7a1b6e29f65f3e900dbb9aff4064dc4ab2f843acda8"
	if hex.EncodeToString(got) != want {
		t.Errorf("signature %x, want %s", got, want)
	}
}

// pkcs8PEM returns key unencrypted, as openssl would write it.
func pkcs8PEM(t *testing.T, key *PrivateKey) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key.key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: cosign.PrivateKeyPemType, Bytes: der})
}
