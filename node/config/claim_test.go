package config

import (
	"errors"
	"strings"
	"testing"
)

func TestOneNodeClaimsANetworkNamespace(t *testing.T) {
	dir := t.TempDir()
	release, err := ClaimNetwork(dir, 7, "/srv/one")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ClaimNetwork(dir, 7, "/srv/two"); !errors.Is(err, ErrClaimed) || !strings.Contains(err.Error(), "/srv/one") {
		t.Errorf("a second claim gave %v", err)
	}
	elsewhere, err := ClaimNetwork(dir, 8, "/srv/two")
	if err != nil {
		t.Errorf("another namespace: %v", err)
	} else {
		elsewhere()
	}
	release()
	if owner, err := NetworkClaimant(dir, 7); owner != "/srv/one" || err != nil {
		t.Errorf("after its end the namespace is of %q, %v", owner, err)
	}
	if release, err = ClaimNetwork(dir, 7, "/2"); err != nil {
		t.Fatalf("a claim that nobody holds is kept: %v", err)
	}
	defer release()
	if owner, _ := NetworkClaimant(dir, 7); owner != "/2" {
		t.Errorf("the namespace is of %q", owner)
	}
}
