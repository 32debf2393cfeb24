package pki

import (
	"crypto/x509"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	certutil "k8s.io/client-go/util/cert"

	"airgap/node/config"
)

// newServer is a server's configuration with a data folder of its own.
func newServer(t *testing.T) (*config.Server, config.Paths) {
	t.Helper()
	cfg := config.NewServer()
	cfg.DataDir = t.TempDir()
	if len(cfg.DataDir) > 60 {
		dir, err := os.MkdirTemp("/tmp", "ag-pki-")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.RemoveAll(dir) })
		cfg.DataDir = dir
	}
	cfg.NodeName, cfg.NodeIP, cfg.AdvertiseAddress = "n1", "10.0.0.1", "10.0.0.1"
	if err := cfg.Complete(); err != nil {
		t.Fatal(err)
	}
	return cfg, config.PathsOf(cfg.DataDir)
}

func TestEnsureRenewsOnlyWhatMustBe(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	i := Issuer{Now: func() time.Time { return now }}
	f := folder(t.TempDir())
	if err := i.authority(f, ClusterCA, "test"); err != nil {
		t.Fatal(err)
	}
	l := leaf{name: "server", authority: ClusterCA, commonName: "server", usages: serverAuth, dnsNames: []string{"a"}, addresses: []net.IP{net.IPv4(10, 0, 0, 1)}}
	serial := func() string {
		t.Helper()
		if err := i.ensure(f, f, l); err != nil {
			t.Fatal(err)
		}
		cert, _, err := f.load(l.name)
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
	fourth := serial()
	if fourth == third {
		t.Error("a certificate from the future was kept")
	}
	// A power cut between the two files of a pair leaves a key that is not the certificate's.
	other := leaf{name: "other", authority: ClusterCA, commonName: "other", usages: clientAuth}
	if err := i.issue(f, f, other); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(f.key("other"), f.key("server")); err != nil {
		t.Fatal(err)
	}
	if serial() == fourth {
		t.Error("a certificate was kept whose key is another's")
	}
}

func TestAuthorityIsKept(t *testing.T) {
	f := folder(t.TempDir())
	if err := (Issuer{}).authority(f, ClusterCA, "test"); err != nil {
		t.Fatal(err)
	}
	first, _, err := f.load(ClusterCA)
	if err != nil {
		t.Fatal(err)
	}
	if err := (Issuer{}).authority(f, ClusterCA, "test"); err != nil {
		t.Fatal(err)
	}
	if again, _, err := f.load(ClusterCA); err != nil || !again.Equal(first) {
		t.Fatalf("the authority changed: %v", err)
	}
	// A damaged authority is an error, never a reason for a new one: every node trusts the old.
	if err := os.WriteFile(f.cert(ClusterCA), []byte("garbage"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := (Issuer{}).authority(f, ClusterCA, "test"); err == nil {
		t.Fatal("a damaged authority was replaced")
	}
}

// files reads all regular files of a server's folder.
func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		all[path] = string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestPrepareIsIdempotent(t *testing.T) {
	cfg, paths := newServer(t)
	cfg.TLSSANs = []string{"ship.local", "192.168.7.7"}
	if err := (Issuer{}).Prepare(cfg); err != nil {
		t.Fatal(err)
	}
	before := files(t, cfg.DataDir)
	if err := (Issuer{}).Prepare(cfg); err != nil {
		t.Fatal(err)
	}
	after := files(t, cfg.DataDir)
	if len(before) != len(after) {
		t.Errorf("%d files, then %d", len(before), len(after))
	}
	for path, content := range before {
		if after[path] != content {
			t.Errorf("%s was written anew", path)
		}
	}
	cert, _, err := folder(paths.TLS()).load(APIServer)
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

func TestListKnowsEveryCertificate(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	i := Issuer{Now: func() time.Time { return now }}
	cfg, paths := newServer(t)
	if err := i.Prepare(cfg); err != nil {
		t.Fatal(err)
	}
	list := func() map[string]Certificate {
		t.Helper()
		all, err := i.List(paths, cfg.Kubeconfig)
		if err != nil {
			t.Fatal(err)
		}
		byFile := map[string]Certificate{}
		for _, c := range all {
			byFile[c.File] = c
		}
		return byFile
	}
	certificates := list()
	for path, content := range files(t, cfg.DataDir) {
		certs, err := certutil.ParseCertsPEM([]byte(content))
		name := filepath.Base(path)
		if err != nil || len(certs) == 0 || name == "ca-bundle.crt" || name == "front-proxy-ca-bundle.crt" || path == folder(paths.AgentPKI()).cert(agentCA) {
			continue
		}
		if filepath.Ext(path) == ".pem" {
			path = filepath.Join(paths.AgentPKI(), kubeletCurrent)
		}
		if _, ok := certificates[path]; !ok {
			t.Errorf("%s is not listed", path)
		}
	}
	if _, ok := certificates[cfg.Kubeconfig]; !ok {
		t.Error("the administrator's kubeconfig is not listed")
	}
	for _, step := range []struct {
		days         int
		state        string
		daysLeft     int
		authorityToo bool
	}{{0, StateGood, 365, true}, {300, StateDue, 65, false}, {366, StateExpired, -1, false}, {-2, StateNotYetValid, 367, true}} {
		now = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC).AddDate(0, 0, step.days)
		for file, c := range list() {
			if c.Service == "authority" && !step.authorityToo {
				continue
			}
			if c.Status != step.state || c.Service != "authority" && c.DaysLeft != step.daysLeft {
				t.Errorf("after %d days %s is %q with %d days left, want %q with %d", step.days, file, c.Status, c.DaysLeft, step.state, step.daysLeft)
			}
		}
	}
	if err := os.WriteFile(folder(paths.TLS()).cert(scheduler), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if c := list()[folder(paths.TLS()).cert(scheduler)]; c.Status != StateUnreadable || c.Problem == "" {
		t.Errorf("an empty certificate is %q: %s", c.Status, c.Problem)
	}
}

func TestRotateMakesNewOnesWithTheSameNames(t *testing.T) {
	cfg, paths := newServer(t)
	cfg.TLSSANs = []string{"ship.local"}
	if err := (Issuer{}).Prepare(cfg); err != nil {
		t.Fatal(err)
	}
	before := files(t, cfg.DataDir)
	rotated, err := (Issuer{}).Rotate(paths, cfg.Kubeconfig, []string{"api-server", "admin"})
	if err != nil || len(rotated) != 3 {
		t.Fatalf("rotated %d, %v", len(rotated), err)
	}
	after := files(t, cfg.DataDir)
	for path, content := range before {
		changed := after[path] != content
		name := filepath.Base(path)
		want := path == cfg.Kubeconfig || name == "apiserver.crt" || name == "apiserver.key" ||
			name == "apiserver-kubelet-client.crt" || name == "apiserver-kubelet-client.key"
		if changed != want {
			t.Errorf("%s changed: %v, want %v", path, changed, want)
		}
	}
	if cert, _, err := folder(paths.TLS()).load(APIServer); err != nil || cert.VerifyHostname("ship.local") != nil {
		t.Errorf("the new certificate lost a name: %v", err)
	}
	if _, err := (Issuer{}).Rotate(paths, cfg.Kubeconfig, nil); err != nil {
		t.Fatal(err)
	}
	all := files(t, cfg.DataDir)
	if err := (Issuer{}).Prepare(cfg); err != nil {
		t.Fatal(err)
	}
	for path, content := range files(t, cfg.DataDir) {
		if all[path] != content {
			t.Errorf("the start after a rotation made %s anew", path)
		}
	}
	if _, err := (Issuer{}).Rotate(paths, cfg.Kubeconfig, []string{"etcd"}); err == nil {
		t.Error("a service that there is not was rotated")
	}
}
