package signing

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"slices"
	"testing"

	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	protocommon "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	protorekor "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/testing/ca"
	"github.com/sigstore/sigstore-go/pkg/tlog"
	"github.com/sigstore/sigstore-go/pkg/verify"
)

const (
	subject = "release@example.com"
	issuer  = "https://accounts.example.com"
)

// newSigstore makes authorities and logs of its own, and their trusted root as a file has it. It issues no certificate timestamps.
func newSigstore(t *testing.T) (*ca.VirtualSigstore, []byte) {
	t.Helper()
	virtual, err := ca.NewVirtualSigstore()
	if err != nil {
		t.Fatal(err)
	}
	logs := virtual.RekorLogs()
	for id, log := range logs {
		if log.ID, err = hex.DecodeString(id); err != nil { // where it has the hex itself, which a file cannot
			t.Fatal(err)
		}
	}
	trusted, err := root.NewTrustedRoot(root.TrustedRootMediaType01, virtual.FulcioCertificateAuthorities(), nil,
		virtual.TimestampingAuthorities(), logs)
	if err != nil {
		t.Fatal(err)
	}
	data, err := trusted.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	return virtual, data
}

// keyless signs message as cosign does without a key. withLog adds an entry in the transparency log, else a timestamp proves the time.
func keyless(t *testing.T, virtual *ca.VirtualSigstore, subject, issuer string, message []byte, withLog bool) []byte {
	t.Helper()
	entity, err := virtual.Sign(subject, issuer, message)
	if err != nil {
		t.Fatal(err)
	}
	verification, err := entity.VerificationContent()
	if err != nil {
		t.Fatal(err)
	}
	content, err := entity.SignatureContent()
	if err != nil {
		t.Fatal(err)
	}
	signed := content.MessageSignatureContent()
	material := &protobundle.VerificationMaterial{
		Content:                   &protobundle.VerificationMaterial_Certificate{Certificate: &protocommon.X509Certificate{RawBytes: verification.Certificate().Raw}},
		TimestampVerificationData: &protobundle.TimestampVerificationData{},
	}
	if withLog {
		material.TlogEntries = []*protorekor.TransparencyLogEntry{logged(t, virtual, entity)}
	} else {
		timestamps, err := entity.Timestamps()
		if err != nil {
			t.Fatal(err)
		}
		material.TimestampVerificationData.Rfc3161Timestamps = []*protocommon.RFC3161SignedTimestamp{{SignedTimestamp: timestamps[0]}}
	}
	return marshal(t, &protobundle.Bundle{
		MediaType: sigstoreMediaType, VerificationMaterial: material,
		Content: &protobundle.Bundle_MessageSignature{MessageSignature: &protocommon.MessageSignature{
			MessageDigest: &protocommon.HashOutput{Algorithm: protocommon.HashAlgorithm_SHA2_256, Digest: signed.Digest()},
			Signature:     content.Signature(),
		}},
	})
}

// logged is the log's entry for entity, the first there is, with the proof that it is in the log and the log's promise of the time.
func logged(t *testing.T, virtual *ca.VirtualSigstore, entity verify.SignedEntity) *protorekor.TransparencyLogEntry {
	t.Helper()
	entries, err := entity.TlogEntries()
	if err != nil {
		t.Fatal(err)
	}
	entry := entries[0].TransparencyLogEntry()
	proof, err := virtual.GetInclusionProof(entry.CanonicalizedBody)
	if err != nil {
		t.Fatal(err)
	}
	rootHash, err := hex.DecodeString(*proof.RootHash)
	if err != nil {
		t.Fatal(err)
	}
	entry.LogIndex = *proof.LogIndex
	promise, err := virtual.RekorSignPayload(tlog.RekorPayload{
		Body: entries[0].Body(), IntegratedTime: entry.IntegratedTime, LogIndex: entry.LogIndex, LogID: hex.EncodeToString(entry.LogId.KeyId),
	})
	if err != nil {
		t.Fatal(err)
	}
	entry.KindVersion = &protorekor.KindVersion{Kind: "hashedrekord", Version: "0.0.1"}
	entry.InclusionPromise = &protorekor.InclusionPromise{SignedEntryTimestamp: promise}
	entry.InclusionProof = &protorekor.InclusionProof{
		LogIndex: *proof.LogIndex, TreeSize: *proof.TreeSize, RootHash: rootHash, Checkpoint: &protorekor.Checkpoint{Envelope: *proof.Checkpoint},
	}
	return entry
}

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
	virtual, trustedRoot := newSigstore(t)
	_, otherRoot := newSigstore(t)
	wanted := IdentityOptions{TrustedRoot: trustedRoot, Identity: subject, Issuer: issuer}
	key := newKey(t)
	for _, withLog := range []bool{false, true} {
		sig := mustMade(t, keyless(t, virtual, subject, issuer, message, withLog))
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
	virtual, trustedRoot := newSigstore(t)
	policy := Policy{Identities: []*Identity{mustIdentity(t, IdentityOptions{TrustedRoot: trustedRoot, Identity: subject, Issuer: issuer})}, Threshold: 1}
	sig := mustMade(t, keyless(t, virtual, subject, issuer, message, false))
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
