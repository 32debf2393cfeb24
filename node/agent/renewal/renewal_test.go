package renewal

import (
	"bytes"
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"airgap/internal/site"
	"airgap/internal/testca"
)

// node is one that has joined, and its server.
type node struct {
	*Keeper
	t       *testing.T
	ca      *testca.Authority // that signs
	trusted string            // what the server says its authorities are
	refusal *site.Error
	asked   []site.PublicKeys
}

const year = 365 * 24 * time.Hour

func newNode(t *testing.T) *node {
	n := &node{t: t, ca: testca.New(t, "first"), Keeper: &Keeper{
		Dir: filepath.Join(t.TempDir(), "pki"), Addresses: []netip.Addr{netip.MustParseAddr("10.0.0.2")},
	}}
	n.trusted = string(n.ca.PEM)
	keys, err := site.NewKeys()
	if err != nil {
		t.Fatal(err)
	}
	credentials := site.Credentials{Keys: keys, Password: "p", Issued: site.Issued{
		Authorities: n.trusted, Kubelet: n.sign("system:node:n1", keys.Kubelet.Public()),
		Serving: n.sign("n1", keys.Serving.Public(), "127.0.0.1", "10.0.0.2"),
		Proxy:   n.sign("proxy", keys.Proxy.Public()), NetworkPolicy: n.sign("policy", keys.NetworkPolicy.Public()),
	}}
	if err := credentials.Save(n.Dir); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(http.HandlerFunc(n.serve))
	clients := x509.NewCertPool()
	clients.AddCert(n.ca.Certificate)
	server.TLS = &tls.Config{
		Certificates: []tls.Certificate{*n.ca.Issue(testca.Leaf{Name: "server", Hosts: []string{"127.0.0.1"}})}, ClientAuth: tls.RequireAnyClientCert,
	}
	server.StartTLS()
	t.Cleanup(server.Close)
	n.Server = server.URL
	return n
}

// sign certifies a key for a year.
func (n *node) sign(name string, key crypto.PublicKey, addresses ...string) string {
	return string(n.ca.Sign(key, testca.Leaf{
		Name: name, Hosts: addresses, NotBefore: time.Now().Add(-backdate), NotAfter: time.Now().Add(year),
	}))
}

func (n *node) serve(w http.ResponseWriter, r *http.Request) {
	if name := r.TLS.PeerCertificates[0].Subject.CommonName; name != "system:node:n1" || r.URL.Path != site.PathRenew {
		n.t.Errorf("%s asks for %s", name, r.URL.Path)
	}
	if n.refusal != nil {
		w.WriteHeader(n.refusal.Status)
		_ = json.NewEncoder(w).Encode(n.refusal)
		return
	}
	var request site.RenewRequest
	if err := json.NewDecoder(r.Body).Decode(&request); err != nil {
		n.t.Error(err)
	}
	n.asked = append(n.asked, request.PublicKeys)
	sign := func(name, text string, addresses ...string) string {
		if text == "" {
			return ""
		}
		key, err := site.ParsePublicKey(text)
		if err != nil {
			n.t.Error(err)
		}
		return n.sign(name, key, addresses...)
	}
	_ = json.NewEncoder(w).Encode(site.Issued{
		Authorities: n.trusted, Kubelet: sign("system:node:n1", request.PublicKeys.Kubelet), Serving: sign("n1", request.PublicKeys.Serving, request.Addresses...),
		Proxy: sign("proxy", request.PublicKeys.Proxy), NetworkPolicy: sign("policy", request.PublicKeys.NetworkPolicy),
	})
}

func (n *node) look() error { return n.Look(context.Background()) }

func (n *node) read(name string) []byte {
	n.t.Helper()
	data, err := os.ReadFile(filepath.Join(n.Dir, name))
	if err != nil {
		n.t.Fatal(err)
	}
	return data
}

func TestNothingIsDue(t *testing.T) {
	n := newNode(t)
	before := n.read("kubelet.crt")
	if err := n.look(); err != nil {
		t.Fatal(err)
	}
	if len(n.asked) != 1 || n.asked[0] != (site.PublicKeys{}) || !bytes.Equal(before, n.read("kubelet.crt")) {
		t.Errorf("asked for %+v", n.asked)
	}
}

func TestThirdOfLifeLeft(t *testing.T) {
	n := newNode(t)
	n.Now = func() time.Time { return time.Now().Add(year * 64 / 100) }
	if err := n.look(); err != nil || n.asked[0] != (site.PublicKeys{}) {
		t.Fatalf("with 36 %% of life left asked for %+v, %v", n.asked, err)
	}
	key, cert := n.read("kube-proxy.key"), n.read("kube-proxy.crt")
	n.Now = func() time.Time { return time.Now().Add(year * 68 / 100) }
	if err := n.look(); err != nil {
		t.Fatal(err)
	}
	if asked := n.asked[1]; asked.Kubelet != "" || asked.Serving == "" || asked.Proxy == "" || asked.NetworkPolicy == "" {
		t.Errorf("asked for %+v, want all but the kubelet's own", asked)
	}
	if !bytes.Equal(key, n.read("kube-proxy.key")) || bytes.Equal(cert, n.read("kube-proxy.crt")) {
		t.Error("want a new certificate for the old key")
	}
}

func TestNewAddress(t *testing.T) {
	n := newNode(t)
	n.Addresses = append(n.Addresses, netip.MustParseAddr("fd00::2"))
	if err := n.look(); err != nil {
		t.Fatal(err)
	}
	if asked := n.asked[0]; asked.Serving == "" || asked.Proxy != "" {
		t.Errorf("asked for %+v, want the listener's alone", asked)
	}
	cert, err := site.ParseCertificate(n.read("kubelet.crt"))
	if err != nil || cert.VerifyHostname("fd00::2") != nil {
		t.Errorf("the certificate is not good for the new address: %v", err)
	}
}

func TestBrokenPair(t *testing.T) {
	n := newNode(t)
	if err := os.WriteFile(filepath.Join(n.Dir, "network-policy.key"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := n.look(); err != nil {
		t.Fatal(err)
	}
	if _, err := tls.X509KeyPair(n.read("network-policy.crt"), n.read("network-policy.key")); err != nil {
		t.Error(err)
	}
}

func TestNewAuthorities(t *testing.T) {
	n := newNode(t)
	second := testca.New(t, "second")
	n.trusted, n.ca = string(second.PEM)+string(n.ca.PEM), second
	if err := n.look(); !errors.Is(err, ErrAuthorities) {
		t.Fatalf("got %v, want to be told that the authorities have changed", err)
	}
	if string(n.read(site.FileAuthorities)) != n.trusted {
		t.Error("the new authorities are not written")
	}
	for _, name := range []string{"kubelet.crt", "kube-proxy.crt", "network-policy.crt", site.FileKubelet} {
		cert, err := site.ParseCertificate(n.read(name))
		if err != nil || cert.CheckSignatureFrom(second.Certificate) != nil {
			t.Errorf("%s is not signed by the new authority: %v", name, err)
		}
	}
	if err := n.look(); err != nil {
		t.Errorf("once they are there: %v", err)
	}
}

func TestDeletedAndEnded(t *testing.T) {
	n := newNode(t)
	n.refusal = &site.Error{Status: http.StatusForbidden, Code: site.CodeName, Message: "there is no node n1: join it again"}
	if err := n.look(); !errors.Is(err, ErrDeleted) || !strings.Contains(err.Error(), "join it again") {
		t.Errorf("a deleted node is told %v", err)
	}
	n.refusal = &site.Error{Status: http.StatusServiceUnavailable, Code: site.CodeBusy, Message: "starting"}
	if err := n.look(); err == nil || errors.Is(err, ErrDeleted) || !site.Temporary(err) {
		t.Errorf("while the server starts: %v", err)
	}
	n.Now = func() time.Time { return time.Now().Add(2 * year) }
	if err := n.look(); err == nil || !strings.Contains(err.Error(), "join again") {
		t.Errorf("with a certificate that has ended: %v", err)
	}
}
