package signing

import (
	"bytes"
	"encoding/base64"
	"errors"
	"slices"
	"testing"

	"airgap/signing/signingtest"
)

const (
	subject = "release@example.com"
	issuer  = "https://accounts.example.com"
)

func mustIdentity(t *testing.T, o IdentityOptions) *Identity {
	t.Helper()
	identity, err := NewIdentity(o)
	if err != nil {
		t.Fatal(err)
	}
	return identity
}

func mustMade(t *testing.T, data []byte) Signature {
	t.Helper()
	made, err := ParseMade(data)
	if err != nil {
		t.Fatal(err)
	}
	sig, err := made.Sign(message)
	if err != nil {
		t.Fatal(err)
	}
	return sig
}

func TestKeyless(t *testing.T) {
	virtual, trustedRoot := signingtest.NewSigstore(t)
	_, otherRoot := signingtest.NewSigstore(t)
	wanted := IdentityOptions{TrustedRoot: trustedRoot, Identity: subject, Issuer: issuer}
	key := newKey(t)
	for _, withLog := range []bool{false, true} {
		sig := mustMade(t, signingtest.Keyless(t, virtual, subject, issuer, message, withLog))
		for _, test := range []struct {
			name   string
			policy func(IdentityOptions) IdentityOptions
			want   error
		}{
			{"whom it names", func(o IdentityOptions) IdentityOptions { return o }, nil},
			{"by expressions", func(o IdentityOptions) IdentityOptions {
				return IdentityOptions{TrustedRoot: o.TrustedRoot, IdentityRegexp: `@example\.com$`, IssuerRegexp: `^https://accounts\.`}
			}, nil},
			{"another subject", func(o IdentityOptions) IdentityOptions { o.Identity = "eve@example.com"; return o }, ErrUntrusted},
			{"another issuer", func(o IdentityOptions) IdentityOptions { o.Issuer = "https://evil.example.com"; return o }, ErrUntrusted},
			{"other authorities", func(o IdentityOptions) IdentityOptions { o.TrustedRoot = otherRoot; return o }, ErrUntrusted},
		} {
			t.Run(test.name, func(t *testing.T) {
				policy := Policy{Identities: []*Identity{mustIdentity(t, test.policy(wanted))}, Threshold: 1}
				signers, err := policy.Verify(message, []Signature{sig})
				if !errors.Is(err, test.want) || err == nil && !slices.Equal(signers, []string{subject + " (" + issuer + ")"}) {
					t.Errorf("log %v: signers %q, error %v, want %v", withLog, signers, err, test.want)
				}
				if _, err := policy.Verify(append(bytes.Clone(message), ' '), []Signature{sig}); !errors.Is(err, ErrUntrusted) {
					t.Errorf("log %v: another message: %v", withLog, err)
				}
			})
		}
		both := Policy{Keys: []PublicKey{key.Public()}, Identities: []*Identity{mustIdentity(t, wanted)}, Threshold: 2}
		if signers, err := both.Verify(message, []Signature{sig, mustSign(t, key, message)}); err != nil || len(signers) != 2 {
			t.Errorf("two of a key and an identity: %q, %v", signers, err)
		}
		if _, err := both.Verify(message, []Signature{sig, sig}); !errors.Is(err, ErrUntrusted) {
			t.Errorf("the identity twice: %v, want ErrUntrusted", err)
		}
		if _, err := (Policy{Keys: []PublicKey{key.Public()}, Threshold: 1}).Verify(message, []Signature{sig}); !errors.Is(err, ErrUntrusted) {
			t.Errorf("a policy without identities: %v, want ErrUntrusted", err)
		}
	}
}

// TestKeylessNeedsATime takes away what proves the time of signing: a certificate is good for minutes.
func TestKeylessNeedsATime(t *testing.T) {
	virtual, trustedRoot := signingtest.NewSigstore(t)
	policy := Policy{Identities: []*Identity{mustIdentity(t, IdentityOptions{TrustedRoot: trustedRoot, Identity: subject, Issuer: issuer})}, Threshold: 1}
	sig := mustMade(t, signingtest.Keyless(t, virtual, subject, issuer, message, false))
	parsed, err := sig.parse()
	if err != nil {
		t.Fatal(err)
	}
	parsed.entity.VerificationMaterial.TimestampVerificationData.Rfc3161Timestamps = nil
	timeless := Signature{Sigstore: marshal(t, parsed.entity.Bundle), Detached: sig.Detached}
	if _, err := policy.Verify(message, []Signature{timeless}); !errors.Is(err, ErrUntrusted) {
		t.Errorf("error %v, want ErrUntrusted", err)
	}
}

func TestParseMade(t *testing.T) {
	key := newKey(t)
	sig := mustSign(t, key, message)
	made, err := ParseMade(append(bytes.Clone(sig.Sigstore), '\n'))
	if err != nil {
		t.Fatal(err)
	}
	if again, err := made.Sign(message); err != nil || !bytes.Equal(again.Detached, sig.Detached) {
		t.Errorf("signature %s, error %v", again.Detached, err)
	}
	if _, err := made.Sign(message[1:]); !errors.Is(err, ErrInvalid) {
		t.Errorf("over another message: %v, want ErrInvalid", err)
	}
	for name, data := range map[string][]byte{
		"empty":      nil,
		"no JSON":    []byte(base64.StdEncoding.EncodeToString(sig.Sigstore)),
		"an old one": bytes.Replace(sig.Sigstore, []byte("v0.3"), []byte("v0.2"), 1),
	} {
		if _, err := ParseMade(data); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v, want ErrInvalid", name, err)
		}
	}
}
