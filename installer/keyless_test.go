package installer

import (
	"context"
	"errors"
	"slices"
	"testing"

	"airgap/bundle"
	"airgap/signing"
	"airgap/signing/signingtest"
)

// TestKeylessInstall installs a bundle that a certificate alone has signed. The first install makes that identity the machine's trust: the
// next version needs no flag, and nobody else's counts.
func TestKeylessInstall(t *testing.T) {
	const subject, issuer = "release@example.com", "https://accounts.example.com"
	s := newSite(t)
	sigstore, trustedRoot := signingtest.NewSigstore(t)
	identity := func(subject string) []*signing.Identity {
		i, err := signing.NewIdentity(signing.IdentityOptions{TrustedRoot: trustedRoot, Identity: subject, Issuer: issuer})
		if err != nil {
			t.Fatal(err)
		}
		return []*signing.Identity{i}
	}
	write := func(file, version, subject string) {
		content := s.contentOnly(t, version)
		if version == "1.0.0" {
			content = s.content(t, version)
		}
		manifest, err := bundle.Create(context.Background(), s.path(file), content, bundle.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		message, err := manifest.Encode()
		if err != nil {
			t.Fatal(err)
		}
		made, err := signing.ParseMade(signingtest.Keyless(t, sigstore, subject, issuer, message, true))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := bundle.AddSignatures(context.Background(), s.path(file), bundle.AllowUnsigned{}, []bundle.Signer{made}, nil); err != nil {
			t.Fatal(err)
		}
	}
	write("first.airgap", "1.0.0", subject)
	write("next.airgap", "1.0.1", subject)
	write("eves.airgap", "1.0.2", "eve@example.com")
	options := func(file string, identities []*signing.Identity) Options {
		o := siteOptions(s.dir, file)
		o.Identities = identities
		return o
	}
	if _, err := Run(context.Background(), options("first.airgap", identity("eve@example.com"))); !errors.Is(err, signing.ErrUntrusted) {
		t.Errorf("somebody else is wanted: %v", err)
	}
	if _, err := Run(context.Background(), options("first.airgap", nil)); !errors.Is(err, ErrUsage) {
		t.Errorf("nobody is wanted: %v", err)
	}
	report, err := Run(context.Background(), options("first.airgap", identity(subject)))
	if err != nil || !slices.Equal(report.Signers, []string{subject + " (" + issuer + ")"}) {
		t.Fatalf("signers %q, %v", report.Signers, err)
	}
	if _, err := Run(context.Background(), options("eves.airgap", nil)); !errors.Is(err, signing.ErrUntrusted) {
		t.Errorf("a bundle of somebody else: %v", err)
	}
	if _, err := Run(context.Background(), options("eves.airgap", identity("eve@example.com"))); !errors.Is(err, ErrRefused) {
		t.Errorf("a flag widens the machine's trust: %v", err)
	}
	strangers := options("next.airgap", nil)
	strangers.Keys = []signing.PublicKey{s.other.Public()}
	if _, err := Run(context.Background(), strangers); !errors.Is(err, ErrRefused) {
		t.Errorf("a key widens the machine's trust: %v", err)
	}
	if _, err := Run(context.Background(), options("next.airgap", nil)); err != nil {
		t.Errorf("the next version, by the machine's trust: %v", err)
	}
}
