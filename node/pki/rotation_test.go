package pki

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	certutil "k8s.io/client-go/util/cert"
	"k8s.io/kubernetes/cmd/kubeadm/app/util/pkiutil"

	"crypto/x509"

	"airgap/node/config"
)

// trusts says whether the leaf at one place verifies by the bundle at another.
func trusts(t *testing.T, bundle, leaf string) bool {
	t.Helper()
	roots, err := certutil.NewPool(bundle)
	if err != nil {
		t.Fatal(err)
	}
	certs, err := certutil.CertsFromFile(leaf)
	if err != nil {
		t.Fatal(err)
	}
	_, err = certs[0].Verify(x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
	return err == nil
}

// Whoever is one stage behind, or ahead, verifies the others and is verified by them.
func TestRotationKeepsTrustFromStageToStage(t *testing.T) {
	cfg, paths := newServer(t)
	i := Issuer{}
	if err := i.Prepare(cfg); err != nil {
		t.Fatal(err)
	}
	tls := folder(paths.TLS())
	snapshot := func() (bundle, leaf string) {
		t.Helper()
		dir := folder(t.TempDir())
		for from, to := range map[string]string{tls.cert(ClusterCABundle): dir.cert("bundle"), tls.cert(APIServer): dir.cert("leaf")} {
			data, err := os.ReadFile(from)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(to, data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		return dir.cert("bundle"), dir.cert("leaf")
	}
	first, _, _ := tls.load(ClusterCA)
	oldBundle, oldLeaf := snapshot()
	firstLeaf := oldLeaf
	for _, want := range []Stage{StageTrust, StageReissue, StageFinish} {
		var err error
		if want == StageTrust {
			err = i.StartRotation(paths, "", false)
		} else {
			var stage Stage
			if stage, err = AdvanceRotation(paths); stage != want {
				t.Fatalf("stage is %q, want %q", stage, want)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := i.Prepare(cfg); err != nil { // the restart
			t.Fatal(err)
		}
		bundle, leaf := snapshot()
		if !trusts(t, oldBundle, leaf) || !trusts(t, bundle, oldLeaf) || !trusts(t, bundle, leaf) {
			t.Errorf("stage %s breaks with the one before", want)
		}
		oldBundle, oldLeaf = bundle, leaf
	}
	if trusts(t, tls.cert(ClusterCABundle), firstLeaf) {
		t.Error("the old authority is still trusted after the end")
	}
	if now, _, err := tls.load(ClusterCA); err != nil || now.Equal(first) {
		t.Errorf("the authority is the old one: %v", err)
	}
	if stage, err := RotationStage(paths); err != nil || stage != StageNone {
		t.Errorf("after the end the stage is %q, %v", stage, err)
	}
	for _, c := range mustList(t, i, paths, cfg.Kubeconfig) {
		if c.Status != StateGood {
			t.Errorf("%s is %s", c.File, c.Status)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(paths.TLS(), "rotation*")); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

func mustList(t *testing.T, i Issuer, paths config.Paths, kubeconfig string) []Certificate {
	t.Helper()
	list, err := i.List(paths, kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// A power cut between the key and the certificate, or before the bundle, is repaired by the next start.
func TestRotationSurvivesAPowerCut(t *testing.T) {
	cfg, paths := newServer(t)
	i := Issuer{}
	if err := i.Prepare(cfg); err != nil {
		t.Fatal(err)
	}
	tls := folder(paths.TLS())
	old := files(t, paths.TLS())
	restore := func(names ...string) {
		t.Helper()
		for _, name := range names {
			if err := os.WriteFile(name, []byte(old[name]), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := i.StartRotation(paths, "", false); err != nil {
		t.Fatal(err)
	}
	restore(tls.cert(ClusterCABundle)) // as if the cut came before it was written
	if err := i.Prepare(cfg); err != nil {
		t.Fatal(err)
	}
	if certs, err := certutil.CertsFromFile(tls.cert(ClusterCABundle)); err != nil || len(certs) != 2 {
		t.Fatalf("the bundle has %d authorities, want both: %v", len(certs), err)
	}
	if _, err := AdvanceRotation(paths); err != nil {
		t.Fatal(err)
	}
	restore(tls.cert(ClusterCA), tls.key(FrontProxyCA), tls.cert(FrontProxyCA), tls.cert(FrontProxyCABundle))
	if err := i.Prepare(cfg); err != nil {
		t.Fatalf("a half copied authority is not repaired: %v", err)
	}
	for name := range authorities {
		if _, _, err := tls.load(name); err != nil {
			t.Error(err)
		}
	}
	if !trusts(t, tls.cert(FrontProxyCABundle), tls.cert(FrontProxyClient)) {
		t.Error("the front proxy's certificate is not trusted")
	}
	// And one while the next rotation was being put together.
	if _, err := AdvanceRotation(paths); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(rotationDir(paths)+".new", "new"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := i.Prepare(cfg); err != nil {
		t.Fatal(err)
	}
	if stage, err := RotationStage(paths); err != nil || stage != StageNone {
		t.Errorf("stage is %q, %v", stage, err)
	}
}

func TestForeignAuthorities(t *testing.T) {
	cfg, paths := newServer(t)
	i := Issuer{}
	if err := i.Prepare(cfg); err != nil {
		t.Fatal(err)
	}
	own := folder(t.TempDir())
	foreign := func() {
		t.Helper()
		for name := range authorities {
			cert, key, err := i.newAuthority("foreign")
			if err != nil {
				t.Fatal(err)
			}
			if err := own.save(name, cert, key); err != nil {
				t.Fatal(err)
			}
		}
	}
	refused := func(force, forceable bool) {
		t.Helper()
		var refusal *AuthorityError
		if err := i.StartRotation(paths, string(own), force); !errors.As(err, &refusal) || refusal.Forceable != forceable {
			t.Fatalf("got %v (forceable %v), want a refusal", err, refusal != nil && refusal.Forceable)
		}
		if stage, _ := RotationStage(paths); stage != StageNone {
			t.Fatalf("a refused rotation is in stage %q", stage)
		}
	}
	foreign()
	refused(false, true)
	// The old authority signs the new one: then who trusts the old trusts the new.
	for name := range authorities {
		caCert, caKey, err := folder(paths.TLS()).load(name)
		if err != nil {
			t.Fatal(err)
		}
		_, key, err := own.load(name)
		if err != nil {
			t.Fatal(err)
		}
		config := &pkiutil.CertConfig{Config: certutil.Config{CommonName: "signed", Usages: clientAuth}, NotAfter: caCert.NotAfter}
		cert, err := pkiutil.NewSignedCert(config, key, caCert, caKey, true)
		if err != nil {
			t.Fatal(err)
		}
		if err := own.save(name, cert, key); err != nil {
			t.Fatal(err)
		}
	}
	if err := i.StartRotation(paths, string(own), false); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := AdvanceRotation(paths); err != nil {
			t.Fatal(err)
		}
	}
	foreign()
	if err := os.Remove(own.key(ClusterCA)); err != nil {
		t.Fatal(err)
	}
	refused(true, false)
	foreign()
	if err := os.Rename(own.key(FrontProxyCA), own.key(ClusterCA)); err != nil {
		t.Fatal(err)
	}
	refused(true, false)
	foreign()
	if err := i.StartRotation(paths, string(own), true); err != nil {
		t.Fatalf("--force does not help: %v", err)
	}
	if err := i.StartRotation(paths, "", false); err == nil {
		t.Error("a second rotation began in the middle of the first")
	}
}
