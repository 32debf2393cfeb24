package signing

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"

	"airgap/signing/signingtest"
)

// TestTrustOfIdentities keeps whose keyless signatures count in a machine's trust, beside a key.
func TestTrustOfIdentities(t *testing.T) {
	virtual, trustedRoot := signingtest.NewSigstore(t)
	key, dir := newKey(t), t.TempDir()
	policy := Policy{Keys: publics(key), Identities: []*Identity{mustIdentity(t, IdentityOptions{TrustedRoot: trustedRoot, Identity: subject, Issuer: issuer})}, Threshold: 2}
	if err := mustOpenTrustStore(t, dir).Init(policy); err != nil {
		t.Fatal(err)
	}
	sigs := []Signature{mustSign(t, key, message), mustMade(t, signingtest.Keyless(t, virtual, subject, issuer, message, true))}
	store := mustOpenTrustStore(t, dir)
	want := []string{key.Public().ID(), subject + " (" + issuer + ")"}
	if signers, err := store.Policy().Verify(message, sigs); err != nil || !slices.Equal(signers, want) {
		t.Errorf("signers %q, %v", signers, err)
	}
	if _, err := store.Policy().Verify(message, sigs[:1]); !errors.Is(err, ErrUntrusted) {
		t.Errorf("without the identity: %v", err)
	}
	if err := store.Init(policy); err != nil { // an install that is run again
		t.Error(err)
	}
	_, otherRoot := signingtest.NewSigstore(t)
	for name, other := range map[string]Policy{
		"without it":        {Keys: policy.Keys, Threshold: 1},
		"of somebody else":  {Keys: policy.Keys, Identities: []*Identity{mustIdentity(t, IdentityOptions{TrustedRoot: trustedRoot, Identity: "eve@example.com", Issuer: issuer})}, Threshold: 2},
		"by another root":   {Keys: policy.Keys, Identities: []*Identity{mustIdentity(t, IdentityOptions{TrustedRoot: otherRoot, Identity: subject, Issuer: issuer})}, Threshold: 2},
		"with fewer needed": {Keys: policy.Keys, Identities: policy.Identities, Threshold: 1},
	} {
		if err := store.Init(other); !errors.Is(err, ErrTrustSet) {
			t.Errorf("%s: %v, want ErrTrustSet", name, err)
		}
	}
	// A statement that changes the keys keeps the identities.
	next, err := store.Statement().Next(Change{Add: publics(newKey(t))})
	if err != nil || !slices.Equal(next.Identities, store.Statement().Identities) {
		t.Errorf("the next statement has the identities %v, %v", next, err)
	}
	// The same identity by another root, which takes the place of the first.
	renewed := []*Identity{mustIdentity(t, IdentityOptions{TrustedRoot: otherRoot, Identity: subject, Issuer: issuer})}
	name := store.Statement().Identities[0].String()
	next, err = store.Statement().Next(Change{AddIdentities: renewed, DropIdentities: []string{name}})
	if err != nil || len(next.Identities) != 1 || next.Identities[0] != renewed[0].Stated() {
		t.Errorf("renewed: %v, %v", next, err)
	}
	if _, err := store.Statement().Next(Change{DropIdentities: []string{"eve@example.com (" + issuer + ")"}}); err == nil {
		t.Error("an identity was dropped that is not trusted")
	}
	if _, err := store.Statement().Next(Change{DropIdentities: []string{name}}); err == nil { // two are asked for, and one would be left
		t.Error("a trust came of it that nothing satisfies")
	}
}

func TestStatementRefusesIdentities(t *testing.T) {
	_, trustedRoot := signingtest.NewSigstore(t)
	first, err := FirstStatement(Policy{Identities: []*Identity{mustIdentity(t, IdentityOptions{TrustedRoot: trustedRoot, Identity: subject, Issuer: issuer})}, Threshold: 1})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ParseStatement(first.Envelope()); err != nil {
		t.Fatal(err)
	}
	for name, edit := range map[string]func(s *Statement){
		"twice":             func(s *Statement) { s.Identities = append(s.Identities, s.Identities[0]) },
		"none":              func(s *Statement) { s.Identities = nil },
		"without a subject": func(s *Statement) { s.Identities[0].Identity = "" },
		"without a root":    func(s *Statement) { s.Identities[0].TrustedRoot = "" },
		"a root with white space": func(s *Statement) {
			s.Identities[0].TrustedRoot = string(bytes.Replace([]byte(s.Identities[0].TrustedRoot), []byte(":"), []byte(": "), 1))
		},
		"an expression that is none": func(s *Statement) { s.Identities[0].Identity, s.Identities[0].IdentityRegexp = "", "(" },
	} {
		s := *first
		s.Identities = slices.Clone(first.Identities)
		edit(&s)
		if _, err := ParseStatement(s.Envelope()); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v, want ErrInvalid", name, err)
		}
	}
	if text := first.Identities[0].String(); !strings.Contains(text, subject) || !strings.Contains(text, issuer) {
		t.Errorf("written as %q", text)
	}
}
