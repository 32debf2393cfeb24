package installer

import (
	"context"
	"errors"
	"testing"

	"airgap/signing"
)

// A stolen key's high version keeps the machine from the next good one only until the key is revoked.
func TestRevokedKeyLocksNothingOut(t *testing.T) {
	s := newSite(t)
	install := func(file string, change func(*Options)) error {
		o := s.options(file)
		o.Keys = nil
		if change != nil {
			change(&o)
		}
		_, err := Run(context.Background(), o)
		return err
	}
	s.build(t, "1.airgap", s.content(t, "1.0.0"), s.key, s.other)
	both := []signing.PublicKey{s.key.Public(), s.other.Public()}
	if err := install("1.airgap", func(o *Options) { o.Keys, o.Threshold = both[:1], 2 }); !errors.Is(err, ErrUsage) {
		t.Errorf("two of one key: %v, want ErrUsage", err)
	}
	if err := install("1.airgap", func(o *Options) { o.Keys = both }); err != nil {
		t.Fatal(err)
	}
	stolen := s.contentOnly(t, "99.0.0")
	stolen.Manifest.VersionFloor = "99.0.0"
	s.build(t, "99.airgap", stolen, s.other)
	if err := install("99.airgap", func(o *Options) { o.Threshold = 2 }); !errors.Is(err, signing.ErrUntrusted) {
		t.Errorf("--threshold 2 on a machine that asks for one: %v, want ErrUntrusted", err)
	}
	if err := install("99.airgap", nil); err != nil {
		t.Fatal(err)
	}
	s.build(t, "2.airgap", s.contentOnly(t, "2.0.0"), s.key)
	if err := install("2.airgap", nil); !errors.Is(err, ErrRefused) {
		t.Errorf("2.0.0 after 99.0.0: %v, want ErrRefused", err)
	}

	s.changeTrust(t, signing.Change{Revoke: []string{s.other.Public().ID()}, Floors: map[string]string{"site-a": "1.5.0"}})
	if err := install("99.airgap", nil); !errors.Is(err, signing.ErrUntrusted) {
		t.Errorf("signed by the revoked key alone: %v, want ErrUntrusted", err)
	}
	if err := install("1.airgap", func(o *Options) { o.AllowDowngrade = true }); !errors.Is(err, ErrRefused) {
		t.Errorf("below the floor of the statement: %v, want ErrRefused", err)
	}
	if err := install("2.airgap", nil); err != nil {
		t.Fatalf("2.0.0 once the key is revoked: %v", err)
	}
	s.build(t, "1.9.airgap", s.contentOnly(t, "1.9.0"), s.key)
	if err := install("1.9.airgap", nil); !errors.Is(err, ErrRefused) {
		t.Errorf("1.9.0 after 2.0.0: %v, want ErrRefused", err)
	}
}

// changeTrust puts a statement in force that the site's key signs.
func (s *testSite) changeTrust(t *testing.T, c signing.Change) {
	t.Helper()
	store, err := signing.OpenTrustStore(s.paths().Trust())
	if err != nil {
		t.Fatal(err)
	}
	next, err := store.Statement().Next(c)
	if err != nil {
		t.Fatal(err)
	}
	envelope := next.Envelope()
	if err := errors.Join(envelope.Sign(s.key), store.Apply(envelope)); err != nil {
		t.Fatal(err)
	}
}
