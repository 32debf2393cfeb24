package signing

import (
	"bytes"
	"context"
	"encoding/base64"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sigstore/cosign/v2/pkg/cosign"
	cosignbundle "github.com/sigstore/cosign/v2/pkg/cosign/bundle"
	"github.com/sigstore/cosign/v2/pkg/oci/static"
	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	protocommon "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	sigstore "github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/sign"
	"github.com/sigstore/sigstore-go/pkg/verify"
	"google.golang.org/protobuf/encoding/protojson"
)

// TestOpenSSLVerifies runs what docs/security.md tells a person without cosign to run.
func TestOpenSSLVerifies(t *testing.T) {
	openssl, err := exec.LookPath("openssl")
	if err != nil {
		t.Fatal("this test needs Debian's openssl: apt-get install openssl")
	}
	key := newKey(t)
	dir := t.TempDir()
	write := func(name string, data []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	der, err := base64.StdEncoding.Strict().DecodeString(string(mustSign(t, key, message).Detached))
	if err != nil {
		t.Fatal(err)
	}
	public, sig := write("key.pub", key.Public().PEM()), write("sig.der", der)
	for _, test := range []struct {
		name string
		path string
		want string
	}{
		{"the message", write("message", message), "Verified OK"},
		{"another message", write("other", append(bytes.Clone(message), ' ')), "Verification failure"},
	} {
		out, _ := exec.Command(openssl, "dgst", "-sha256", "-verify", public, "-signature", sig, test.path).CombinedOutput()
		if !strings.Contains(strings.ToLower(string(out)), strings.ToLower(test.want)) {
			t.Errorf("%s: openssl says %q, want %q", test.name, out, test.want)
		}
	}
	out, err := exec.Command(openssl, "pkey", "-pubin", "-in", public, "-outform", "DER").Output()
	if err != nil || !bytes.Equal(out, key.Public().der) {
		t.Errorf("openssl reads the key as %x, %v", out, err)
	}
}

// TestCosignVerifies runs the two functions that cosign verify-blob calls, with
// --new-bundle-format --bundle and with --signature.
func TestCosignVerifies(t *testing.T) {
	key := newKey(t)
	sig := mustSign(t, key, message)
	verifier, err := cosign.LoadPrivateKey(encryptedPEM(t, key), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	options := &cosign.CheckOpts{SigVerifier: verifier, IgnoreTlog: true, IgnoreSCT: true, Offline: true, TrustedMaterial: new(root.BaseTrustedMaterial)}

	entity := new(sigstore.Bundle)
	if err := entity.UnmarshalJSON(sig.Sigstore); err != nil {
		t.Fatal(err)
	}
	for name, blob := range map[string][]byte{"the message": message, "another message": message[1:]} {
		want := bytes.Equal(blob, message)
		_, err := cosign.VerifyNewBundle(context.Background(), options, verify.WithArtifact(bytes.NewReader(blob)), entity)
		if (err == nil) != want {
			t.Errorf("%s: Sigstore bundle: %v", name, err)
		}
		detached, err := static.NewSignature(blob, string(sig.Detached))
		if err != nil {
			t.Fatal(err)
		}
		_, err = cosign.VerifyBlobSignature(context.Background(), detached, options)
		if (err == nil) != want {
			t.Errorf("%s: detached: %v", name, err)
		}
	}
}

// TestCosignSigns verifies what cosign sign-blob --new-bundle-format writes: the steps are those of
// its cmd/cosign/cli/sign/sign_blob.go, with cosign's own, randomised, signer.
func TestCosignSigns(t *testing.T) {
	key := newKey(t)
	signer, err := cosign.LoadPrivateKey(encryptedPEM(t, key), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	der, err := signer.SignMessage(bytes.NewReader(message))
	if err != nil {
		t.Fatal(err)
	}
	made, err := cosignbundle.MakeProtobufBundle(key.Public().hint(), nil, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	_, digest, err := keypair{key}.SignData(context.Background(), message)
	if err != nil {
		t.Fatal(err)
	}
	(&sign.PlainData{Data: message}).Bundle(made, der, digest, protocommon.HashAlgorithm_SHA2_256)
	policy := Policy{Keys: []PublicKey{key.Public()}, Threshold: 1}
	sig := Signature{Sigstore: marshal(t, made), Detached: []byte(base64.StdEncoding.EncodeToString(der))}
	if _, err := policy.Verify(message, []Signature{sig}); err != nil {
		t.Errorf("a signature by cosign: %v", err)
	}
}

func marshal(t *testing.T, b *protobundle.Bundle) []byte {
	t.Helper()
	data, err := protojson.Marshal(b)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// encryptedPEM returns key as cosign keeps it, with an empty password.
func encryptedPEM(t *testing.T, key *PrivateKey) []byte {
	t.Helper()
	plain := filepath.Join(t.TempDir(), "plain.pem")
	if err := os.WriteFile(plain, pkcs8PEM(t, key), 0o600); err != nil {
		t.Fatal(err)
	}
	keys, err := cosign.ImportKeyPair(plain, func(bool) ([]byte, error) { return nil, nil })
	if err != nil {
		t.Fatal(err)
	}
	return keys.PrivateBytes
}
