package signing

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	"github.com/sigstore/sigstore-go/pkg/sign"
	"github.com/sigstore/sigstore-go/pkg/testing/ca"
	"github.com/sigstore/sigstore/pkg/cryptoutils"
	"github.com/sigstore/sigstore/pkg/signature"

	"airgap/signing/signingtest"
)

func TestVerifyAttachedByKeysOfAllKinds(t *testing.T) {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	_, edwards, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	other := imageKey(t, &newKey(t).key.PublicKey)
	for name, private := range map[string]crypto.Signer{"P-256": newKey(t).key, "P-384": p384, "RSA": rsaKey, "Ed25519": edwards} {
		signer, err := signature.LoadSigner(private, crypto.SHA256)
		if err != nil {
			t.Fatal(err)
		}
		der, err := signer.SignMessage(strings.NewReader("payload"))
		if err != nil {
			t.Fatal(err)
		}
		a := Attached{Payload: []byte("payload"), Signature: base64.StdEncoding.EncodeToString(der)}
		key := imageKey(t, private.Public())
		if by, err := (ImagePolicy{Keys: []ImageKey{other, key}}).VerifyAttached(a); err != nil || by != key.id {
			t.Errorf("%s: signer %q, %v", name, by, err)
		}
		if _, err := (ImagePolicy{Keys: []ImageKey{other}}).VerifyAttached(a); !errors.Is(err, ErrUntrusted) {
			t.Errorf("%s by another key: %v", name, err)
		}
		a.Payload = []byte("payloaD")
		if _, err := (ImagePolicy{Keys: []ImageKey{key}}).VerifyAttached(a); !errors.Is(err, ErrUntrusted) {
			t.Errorf("%s over another payload: %v", name, err)
		}
	}
	if _, err := (ImagePolicy{}).VerifyAttached(Attached{Payload: []byte("payload"), Signature: "AAAA"}); !errors.Is(err, ErrUntrusted) {
		t.Errorf("an empty policy: %v", err)
	}
}

func imageKey(t *testing.T, public crypto.PublicKey) ImageKey {
	t.Helper()
	encoded, err := cryptoutils.MarshalPublicKeyToPEM(public)
	if err != nil {
		t.Fatal(err)
	}
	key, err := ParseImageKey(encoded)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// attachKeyless signs a payload as cosign does without a key, and writes what it attaches to an image.
func attachKeyless(t *testing.T, virtual *ca.VirtualSigstore, payload []byte, withLog bool) Attached {
	t.Helper()
	entity, err := virtual.Sign(subject, issuer, payload)
	if err != nil {
		t.Fatal(err)
	}
	content, err := entity.SignatureContent()
	if err != nil {
		t.Fatal(err)
	}
	verification, err := entity.VerificationContent()
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := cryptoutils.MarshalCertificateToPEM(verification.Certificate())
	if err != nil {
		t.Fatal(err)
	}
	a := Attached{Payload: payload, Signature: base64.StdEncoding.EncodeToString(content.Signature()), Certificate: string(certificate)}
	if withLog {
		entry := signingtest.Logged(t, virtual, entity)
		a.Log = string(mustJSON(t, map[string]any{
			"SignedEntryTimestamp": entry.InclusionPromise.SignedEntryTimestamp,
			"Payload": map[string]any{
				"body": entry.CanonicalizedBody, "integratedTime": entry.IntegratedTime, "logIndex": entry.LogIndex, "logID": hex.EncodeToString(entry.LogId.KeyId),
			},
		}))
		return a
	}
	timestamps, err := entity.Timestamps()
	if err != nil {
		t.Fatal(err)
	}
	a.Timestamp = string(mustJSON(t, map[string]any{"SignedRFC3161Timestamp": timestamps[0]}))
	return a
}

func mustJSON(t *testing.T, v any) []byte {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestVerifyAttachedKeyless(t *testing.T) {
	virtual, trustedRoot := signingtest.NewSigstore(t)
	_, otherRoot := signingtest.NewSigstore(t)
	policy := func(root []byte, who string) ImagePolicy {
		return ImagePolicy{Identities: []*Identity{mustIdentity(t, IdentityOptions{TrustedRoot: root, Identity: who, Issuer: issuer})}}
	}
	for _, withLog := range []bool{false, true} {
		good := attachKeyless(t, virtual, []byte("payload"), withLog)
		if by, err := policy(trustedRoot, subject).VerifyAttached(good); err != nil || by != subject+" ("+issuer+")" {
			t.Errorf("log %v: signer %q, %v", withLog, by, err)
		}
		timeless, otherPayload, noCertificate := good, good, good
		timeless.Log, timeless.Timestamp = "", ""
		otherPayload.Payload = []byte("payloaD")
		noCertificate.Certificate = ""
		for name, test := range map[string]struct {
			policy ImagePolicy
			a      Attached
		}{
			"somebody else":       {policy(trustedRoot, "eve@example.com"), good},
			"other authorities":   {policy(otherRoot, subject), good},
			"nothing proves when": {policy(trustedRoot, subject), timeless},
			"another payload":     {policy(trustedRoot, subject), otherPayload},
			"no certificate":      {policy(trustedRoot, subject), noCertificate},
			"a key alone":         {ImagePolicy{Keys: []ImageKey{imageKey(t, &newKey(t).key.PublicKey)}}, good},
		} {
			if by, err := test.policy.VerifyAttached(test.a); !errors.Is(err, ErrUntrusted) {
				t.Errorf("log %v, %s: signer %q, %v", withLog, name, by, err)
			}
		}
		// What strangers write must be refused, not crash.
		for _, text := range []string{"{", "null", "[]", `{"Payload":{"body":7}}`, `{"Payload":{"body":"e30=","logID":"zz"}}`, `{"Payload":{"body":"bm8=","logID":"00"}}`, `{"SignedRFC3161Timestamp":7}`} {
			bad := good
			bad.Log, bad.Timestamp = text, text
			if _, err := policy(trustedRoot, subject).VerifyAttached(bad); !errors.Is(err, ErrInvalid) && !errors.Is(err, ErrUntrusted) {
				t.Errorf("log %v, %s: %v", withLog, text, err)
			}
		}
	}
}

// statementBundle is a signed statement about the image with a digest, as cosign writes it.
func statementBundle(t *testing.T, key *PrivateKey, imageSHA256 []byte, predicateType string) []byte {
	t.Helper()
	statement := mustJSON(t, map[string]any{
		"_type": "https://in-toto.io/Statement/v1", "predicateType": predicateType, "predicate": map[string]any{},
		"subject": []any{map[string]any{"name": "app", "digest": map[string]string{"sha256": hex.EncodeToString(imageSHA256)}}},
	})
	made, err := sign.Bundle(&sign.DSSEData{Data: statement, PayloadType: "application/vnd.in-toto+json"}, keypair{key}, sign.BundleOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return marshal(t, (*protobundle.Bundle)(made))
}

func TestVerifyBundle(t *testing.T) {
	const signs = "https://sigstore.dev/cosign/sign/v1"
	key, image, other := newKey(t), sha256.Sum256([]byte("image")), sha256.Sum256([]byte("another"))
	policy := ImagePolicy{Keys: []ImageKey{imageKey(t, &key.key.PublicKey)}}
	for name, test := range map[string]struct {
		policy ImagePolicy
		bundle []byte
		want   error
	}{
		"signed":                    {policy, statementBundle(t, key, image[:], signs), nil},
		"the digest itself":         {policy, mustSign(t, key, []byte("image")).Sigstore, nil},
		"another image":             {policy, statementBundle(t, key, other[:], signs), ErrUntrusted},
		"another image's digest":    {policy, mustSign(t, key, []byte("another")).Sigstore, ErrUntrusted},
		"another key":               {policy, statementBundle(t, newKey(t), image[:], signs), ErrUntrusted},
		"nobody is wanted":          {ImagePolicy{}, statementBundle(t, key, image[:], signs), ErrUntrusted},
		"a statement of a scan":     {policy, statementBundle(t, key, image[:], "https://cosign.sigstore.dev/attestation/vuln/v1"), ErrOtherStatement},
		"a statement of no type":    {policy, statementBundle(t, key, image[:], ""), ErrOtherStatement},
		"not a Sigstore bundle":     {policy, []byte("{}"), ErrInvalid},
		"neither JSON nor anything": {policy, nil, ErrInvalid},
	} {
		by, err := test.policy.VerifyBundle(test.bundle, image[:])
		if !errors.Is(err, test.want) || err == nil && by != key.Public().ID() {
			t.Errorf("%s: signer %q, error %v, want %v", name, by, err, test.want)
		}
	}
	virtual, trustedRoot := signingtest.NewSigstore(t)
	wanted := ImagePolicy{Identities: []*Identity{mustIdentity(t, IdentityOptions{TrustedRoot: trustedRoot, Identity: subject, Issuer: issuer})}}
	for _, withLog := range []bool{false, true} {
		if by, err := wanted.VerifyBundle(signingtest.Keyless(t, virtual, subject, issuer, []byte("image"), withLog), image[:]); err != nil || by != subject+" ("+issuer+")" {
			t.Errorf("keyless, log %v: signer %q, %v", withLog, by, err)
		}
		if _, err := wanted.VerifyBundle(signingtest.Keyless(t, virtual, "eve@example.com", issuer, []byte("image"), withLog), image[:]); !errors.Is(err, ErrUntrusted) {
			t.Errorf("keyless by somebody else, log %v: %v", withLog, err)
		}
	}
}
