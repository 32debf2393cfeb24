package controlplane

import (
	"crypto/x509"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"airgap/node/config"
)

func newPKI(t *testing.T, now *time.Time) pki {
	t.Helper()
	p := pki{dir: t.TempDir(), now: func() time.Time { return *now }}
	if _, _, err := p.authority(clusterCA, "test"); err != nil {
		t.Fatal(err)
	}
	return p
}

func TestEnsureRenewsOnlyWhatMustBe(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	p := newPKI(t, &now)
	l := leaf{name: "server", authority: clusterCA, commonName: "server", usages: serverAuth, dnsNames: []string{"a"}, addresses: []net.IP{net.IPv4(10, 0, 0, 1)}}
	serial := func() string {
		t.Helper()
		if err := p.ensure(l); err != nil {
			t.Fatal(err)
		}
		cert, _, err := p.load(l.name)
		if err != nil {
			t.Fatal(err)
		}
		return cert.SerialNumber.String()
	}
	first := serial()
	if serial() != first {
		t.Error("a good certificate was made anew")
	}
	now = now.Add(200 * 24 * time.Hour)
	if serial() != first {
		t.Error("renewed with 165 days left")
	}
	now = now.Add(100 * 24 * time.Hour)
	second := serial()
	if second == first {
		t.Error("not renewed with 65 days left")
	}
	l.addresses = append(l.addresses, net.IPv4(10, 0, 0, 2))
	third := serial()
	if third == second {
		t.Error("a further address did not make a new certificate")
	}
	// The clock of a machine without a battery may go back: the certificate was not valid then.
	now = now.Add(-10 * 365 * 24 * time.Hour)
	if serial() == third {
		t.Error("a certificate from the future was kept")
	}
}

func TestAuthorityIsKept(t *testing.T) {
	now := time.Now()
	p := newPKI(t, &now)
	first, _, err := p.load(clusterCA)
	if err != nil {
		t.Fatal(err)
	}
	again, _, err := p.authority(clusterCA, "test")
	if err != nil || !again.Equal(first) {
		t.Fatalf("the authority changed: %v", err)
	}
	// A damaged authority is an error, never a reason for a new one: every node trusts the old.
	if err := os.WriteFile(filepath.Join(p.dir, clusterCA+".crt"), []byte("garbage"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, _, err := p.authority(clusterCA, "test"); err == nil {
		t.Fatal("a damaged authority was replaced")
	}
}

func TestPrepareIsIdempotent(t *testing.T) {
	cfg := config.NewServer()
	cfg.DataDir = t.TempDir()
	cfg.NodeName, cfg.NodeIP, cfg.AdvertiseAddress = "n1", "10.0.0.1", "10.0.0.1"
	cfg.TLSSANs = []string{"ship.local", "192.168.7.7"}
	if err := cfg.Complete(); err != nil {
		t.Fatal(err)
	}
	if err := Prepare(cfg); err != nil {
		t.Fatal(err)
	}
	read := func() map[string]string {
		files := map[string]string{}
		err := filepath.WalkDir(cfg.DataDir, func(path string, entry os.DirEntry, err error) error {
			if err != nil || !entry.Type().IsRegular() {
				return err
			}
			data, err := os.ReadFile(path)
			files[path] = string(data)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return files
	}
	before := read()
	if err := Prepare(cfg); err != nil {
		t.Fatal(err)
	}
	after := read()
	if len(before) != len(after) {
		t.Errorf("%d files, then %d", len(before), len(after))
	}
	for path, content := range before {
		if after[path] != content {
			t.Errorf("%s was written anew", path)
		}
	}
	cert, _, err := pki{dir: config.PathsOf(cfg.DataDir).TLS()}.load(apiServerCert)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"localhost", "n1", "kubernetes.default.svc.cluster.local", "ship.local", "10.43.0.1", "10.0.0.1", "192.168.7.7", "127.0.0.1"} {
		if err := cert.VerifyHostname(name); err != nil {
			t.Error(err)
		}
	}
	if cert.PublicKeyAlgorithm != x509.ECDSA {
		t.Errorf("key is %s", cert.PublicKeyAlgorithm)
	}
}
