package join

import (
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	certutil "k8s.io/client-go/util/cert"

	"airgap/internal/site"
	"airgap/node/config"
	"airgap/node/pki"
	"airgap/node/token"
)

func TestJoin(t *testing.T) {
	s := newServer(t, nil)
	m := s.machine("n1", "10.0.0.2")
	joined := s.join(m)
	c := joined.Cluster
	if len(c.Servers) != 1 || c.Servers[0] != "https://10.0.0.1:6443" || len(c.Peers) != 1 || c.Peers[0] != "10.0.0.1:6446" ||
		c.ClusterCIDR != config.DefaultClusterCIDR || c.ClusterDNS != "10.43.0.10" || c.Kubernetes != "v1.37.1+airgap1" || len(joined.Warnings) != 0 {
		t.Errorf("joined %+v", joined)
	}
	kubelet := certificate(t, filepath.Join(m.PKI, site.FileKubelet))
	if kubelet.Subject.CommonName != "system:node:n1" || kubelet.Subject.Organization[0] != "system:nodes" || len(kubelet.DNSNames) != 0 {
		t.Errorf("the kubelet is %v", kubelet.Subject)
	}
	serving := certificate(t, filepath.Join(m.PKI, "kubelet.crt"))
	if err := serving.VerifyHostname("10.0.0.2"); err != nil || serving.ExtKeyUsage[0] != x509.ExtKeyUsageServerAuth || len(serving.ExtKeyUsage) != 1 {
		t.Errorf("the serving certificate: %v, %v", err, serving.ExtKeyUsage)
	}
	if policy := certificate(t, filepath.Join(m.PKI, "network-policy.crt")); policy.Subject.CommonName != pki.NetworkPolicyUser {
		t.Errorf("network policy is %v", policy.Subject)
	}
	s.register("n1", "10.0.0.2")
	s.join(m) // the same machine again: it has the password

	// The password is in the cluster as a salted hash alone.
	password, err := site.LoadPassword(m.PKI)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := s.api.CoreV1().Secrets("kube-system").Get(t.Context(), "n1.node-password.airgap", metav1.GetOptions{})
	if err != nil || strings.Contains(fmt.Sprint(secret), password) || !opens(secret, password) || opens(secret, password+"0") {
		t.Errorf("the Secret: %v, %v", secret, err)
	}
	if log := s.log.String(); strings.Contains(log, password) || strings.Contains(log, s.agent.Secret) || !strings.Contains(log, "node=n1") {
		t.Errorf("the log: %s", log)
	}
}

func certificate(t *testing.T, file string) *x509.Certificate {
	t.Helper()
	certs, err := certutil.CertsFromFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return certs[0]
}

func TestTokens(t *testing.T) {
	s := newServer(t, nil)
	bootstrap := func(o token.Options) site.Token {
		t.Helper()
		made, err := token.Create(t.Context(), s.api, s.clock.Now(), o)
		if err != nil {
			t.Fatal(err)
		}
		// The API server moves stringData to data.
		name := "bootstrap-token-" + made.User
		secret, err := s.api.CoreV1().Secrets("kube-system").Get(t.Context(), name, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		secret.Data = map[string][]byte{}
		for key, value := range secret.StringData {
			secret.Data[key] = []byte(value)
		}
		if _, err := s.api.CoreV1().Secrets("kube-system").Update(t.Context(), secret, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
		return made
	}
	serverToken, err := token.ReadFile(token.ServerFile(s.paths))
	if err != nil {
		t.Fatal(err)
	}
	short := bootstrap(token.Options{TTL: time.Hour, Usages: token.DefaultUsages})
	signing := bootstrap(token.Options{TTL: time.Hour, Usages: []string{"signing"}})
	for i, test := range []struct {
		name  string
		token site.Token
		want  string // empty: it opens
	}{
		{"agent", s.agent, ""},
		{"server", serverToken, ""},
		{"bootstrap", short, ""},
		{"secret alone", site.Token{Secret: s.agent.Secret}, ""},
		{"not for this", signing, "does not know this token"},
		{"wrong secret", site.Token{User: site.UserNode, Secret: "guess"}, "does not know this token"},
		{"another user", site.Token{User: site.UserServer, Secret: s.agent.Secret}, "does not know this token"},
		{"unknown bootstrap", site.Token{User: "zzzzzz", Secret: "0123456789abcdef"}, "does not know this token"},
		{"wrong bootstrap", site.Token{User: short.User, Secret: "0123456789abcdef"}, "does not know this token"},
		{"none", site.Token{}, "does not know this token"},
	} {
		s.clock.advance(2 * time.Minute) // past the delay for a wrong one
		_, err := s.joiner(test.token).Join(t.Context(), s.request(fmt.Sprintf("n%d", i), fmt.Sprintf("10.0.0.%d", 10+i)))
		if test.want == "" {
			if err != nil {
				t.Errorf("%s: %v", test.name, err)
			}
			continue
		}
		wantRefusal(t, err, http.StatusUnauthorized, site.CodeToken, test.want)
	}
	s.clock.advance(2 * time.Hour)
	_, err = s.joiner(short).Join(t.Context(), s.request("late", "10.0.0.90"))
	wantRefusal(t, err, http.StatusUnauthorized, site.CodeToken, "has ended")

	old := serverToken
	if _, err := token.Rotate(s.paths, old.Text(), ""); err != nil {
		t.Fatal(err)
	}
	_, err = s.joiner(old).Join(t.Context(), s.request("late", "10.0.0.90"))
	wantRefusal(t, err, http.StatusUnauthorized, site.CodeToken, "does not know this token")
	for _, secret := range []string{old.Secret, short.Secret, s.agent.Secret, "guess"} {
		if strings.Contains(s.log.String(), secret) {
			t.Errorf("the log tells a secret: %s", s.log)
		}
	}
}

func TestWrongTokensCostTime(t *testing.T) {
	s := newServer(t, nil)
	wrong := site.Token{User: site.UserNode, Secret: "guess"}
	for range 3 {
		_, err := s.joiner(wrong).Join(t.Context(), s.request("n1", "10.0.0.2"))
		wantRefusal(t, err, http.StatusUnauthorized, site.CodeToken, "")
		// While the door is closed the right one does not help, or each refusal would say that a guess was wrong.
		_, err = s.joiner(s.agent).Join(t.Context(), s.request("n1", "10.0.0.2"))
		wantRefusal(t, err, http.StatusTooManyRequests, site.CodeBusy, "the next is looked at in")
		s.clock.advance(5 * time.Second)
	}
	if got := strings.Count(s.log.String(), "not this cluster's"); got != 3 {
		t.Errorf("the log tells of wrong tokens %d times: %s", got, s.log)
	}
	if _, err := s.joiner(s.agent).Join(t.Context(), s.request("n1", "10.0.0.2")); err != nil {
		t.Error(err)
	}
}

func TestJoinRefused(t *testing.T) {
	p384 := newKey(t, elliptic.P384())
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	public := func(key any) string {
		der, err := x509.MarshalPKIXPublicKey(key)
		if err != nil {
			t.Fatal(err)
		}
		return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
	}
	s := newServer(t, nil)
	s.register("other", "10.0.0.7")
	for name, test := range map[string]struct {
		spoil  func(*site.JoinRequest)
		status int
		code   string
		want   string
	}{
		"no name":          {func(r *site.JoinRequest) { r.NodeName = "" }, 400, site.CodeRequest, "want a lower-case DNS name"},
		"name with a path": {func(r *site.JoinRequest) { r.NodeName = "../n1" }, 400, site.CodeRequest, "want a lower-case DNS name"},
		"long name":        {func(r *site.JoinRequest) { r.NodeName = strings.Repeat("a", 64) }, 400, site.CodeRequest, "at most 63"},
		"short password":   {func(r *site.JoinRequest) { r.Password = "abcd" }, 400, site.CodeRequest, "hex digits"},
		"password no hex":  {func(r *site.JoinRequest) { r.Password = strings.Repeat("z", 32) }, 400, site.CodeRequest, "hex digits"},
		"no address":       {func(r *site.JoinRequest) { r.Addresses = nil }, 400, site.CodeRequest, "want 1 to 16"},
		"loopback":         {func(r *site.JoinRequest) { r.Addresses = []string{"127.0.0.1"} }, 400, site.CodeRequest, "--node-ip"},
		"no address at all": {func(r *site.JoinRequest) { r.Addresses = []string{"n1.example"} },
			400, site.CodeRequest, "is no IP address"},
		"IPv4 in IPv6":        {func(r *site.JoinRequest) { r.Addresses = []string{"::ffff:10.0.0.1"} }, 409, site.CodeRequest, "an address of the server"},
		"no port":             {func(r *site.JoinRequest) { r.PeerPort = 0 }, 400, site.CodeRequest, "is no port"},
		"address of a node":   {func(r *site.JoinRequest) { r.Addresses = []string{"10.0.0.7"} }, 409, site.CodeRequest, "the address of node other"},
		"server's address":    {func(r *site.JoinRequest) { r.Addresses = []string{"10.0.0.1"} }, 409, site.CodeRequest, "an address of the server"},
		"API server's VIP":    {func(r *site.JoinRequest) { r.Addresses = []string{"10.43.0.1"} }, 409, site.CodeRequest, "an address of the server"},
		"a service's address": {func(r *site.JoinRequest) { r.Addresses = []string{"10.43.0.10"} }, 409, site.CodeRequest, "10.43.0.0/16"},
		"a pod's address":     {func(r *site.JoinRequest) { r.Addresses = []string{"10.42.0.10"} }, 409, site.CodeRequest, "10.42.0.0/16"},
		"API server's name":   {func(r *site.JoinRequest) { r.NodeName = "kubernetes" }, 403, site.CodeName, "a name of the API server"},
		"given name":          {func(r *site.JoinRequest) { r.NodeName = "site.example" }, 403, site.CodeName, "a name of the API server"},
		"localhost":           {func(r *site.JoinRequest) { r.NodeName = "localhost" }, 403, site.CodeName, "a name of the API server"},
		"the server's node":   {func(r *site.JoinRequest) { r.NodeName = "first" }, 403, site.CodeName, "delete node first"},
		"a Node of old":       {func(r *site.JoinRequest) { r.NodeName = "other" }, 403, site.CodeName, "delete node other"},
		"newer":               {func(r *site.JoinRequest) { r.Kubernetes = "v1.38.0" }, 409, site.CodeVersion, "upgrade the server first"},
		"too old":             {func(r *site.JoinRequest) { r.Kubernetes = "v1.33.9" }, 409, site.CodeVersion, "three minor versions"},
		"another world":       {func(r *site.JoinRequest) { r.Kubernetes = "v2.0.0" }, 409, site.CodeVersion, "install the server's version"},
		"no version":          {func(r *site.JoinRequest) { r.Kubernetes = "latest" }, 409, site.CodeVersion, "is no version"},
		"no key":              {func(r *site.JoinRequest) { r.PublicKeys.Proxy = "" }, 400, site.CodeRequest, "a public key is missing"},
		"malformed key":       {func(r *site.JoinRequest) { r.PublicKeys.Kubelet = "key" }, 400, site.CodeRequest, "public key kubelet: not one PUBLIC KEY"},
		"cut key": {func(r *site.JoinRequest) {
			r.PublicKeys.Kubelet = "-----BEGIN PUBLIC KEY-----\nMFkw\n-----END PUBLIC KEY-----\n"
		}, 400, site.CodeRequest, "public key kubelet"},
		"two keys":    {func(r *site.JoinRequest) { r.PublicKeys.Serving += r.PublicKeys.Kubelet }, 400, site.CodeRequest, "not one PUBLIC KEY"},
		"RSA":         {func(r *site.JoinRequest) { r.PublicKeys.Kubelet = public(rsaKey.Public()) }, 400, site.CodeRequest, "want ECDSA"},
		"P-384":       {func(r *site.JoinRequest) { r.PublicKeys.Kubelet = public(p384.Public()) }, 400, site.CodeRequest, "P-256"},
		"no hash":     {func(r *site.JoinRequest) { r.MachineID = "abcd" }, 400, site.CodeRequest, "no SHA-256"},
		"odd version": {func(r *site.JoinRequest) { r.Airgap = "1\n2" }, 400, site.CodeRequest, "printable"},
	} {
		t.Run(name, func(t *testing.T) {
			request := s.request("n1", "10.0.0.2")
			test.spoil(&request)
			_, err := s.joiner(s.agent).Join(t.Context(), request)
			wantRefusal(t, err, test.status, test.code, test.want)
			if _, err := s.handler.names.get(t.Context(), request.NodeName); request.NodeName == "n1" && !apierrors.IsNotFound(err) {
				t.Errorf("the name is taken all the same: %v", err)
			}
		})
	}
}

func TestVersionsThatGoTogether(t *testing.T) {
	for kubelet, want := range map[string]bool{"v1.37.9": true, "v1.37.0+airgap9": true, "v1.34.0": true, "v1.36.1": true, "v1.33.0": false, "v1.38.0-rc.1": false} {
		if err := checkVersion(kubelet, "v1.37.1+airgap1"); (err == nil) != want {
			t.Errorf("kubelet %s: %v", kubelet, err)
		}
	}
	// Another architecture is no reason.
	s := newServer(t, nil)
	request := s.request("n1", "10.0.0.2")
	request.Platform = "linux/arm64"
	if _, err := s.joiner(s.agent).Join(t.Context(), request); err != nil {
		t.Error(err)
	}
}

func TestRenew(t *testing.T) {
	s := newServer(t, nil)
	m := s.machine("n1", "10.0.0.2")
	s.join(m)
	s.register("n1", "10.0.0.2")
	keys, err := site.NewKeys()
	if err != nil {
		t.Fatal(err)
	}
	public, err := keys.Public()
	if err != nil {
		t.Fatal(err)
	}
	public.Kubelet = "" // the kubelet renews it itself
	client := s.node(m)
	password := s.password(m)
	issued, err := client.Renew(t.Context(), site.RenewRequest{Password: password, Addresses: []string{"10.0.0.2", "10.0.0.3"}, PublicKeys: public})
	if err != nil {
		t.Fatal(err)
	}
	certs, err := certutil.ParseCertsPEM([]byte(issued.Serving))
	if err != nil || issued.Kubelet != "" || certs[0].VerifyHostname("10.0.0.3") != nil || certs[0].Subject.CommonName != "system:node:n1" {
		t.Errorf("issued %+v, %v", issued, err)
	}
	_, err = client.Renew(t.Context(), site.RenewRequest{Password: password, Addresses: []string{"10.0.0.1"}, PublicKeys: public})
	wantRefusal(t, err, http.StatusConflict, site.CodeRequest, "an address of the server")
	_, err = client.Renew(t.Context(), site.RenewRequest{Password: password, PublicKeys: public})
	wantRefusal(t, err, http.StatusBadRequest, site.CodeRequest, "0 addresses")
	if issued, err = client.Renew(t.Context(), site.RenewRequest{Password: password}); err != nil || issued.Issued != (site.Issued{Authorities: string(s.authorities())}) || !slices.Equal(issued.Peers, s.handler.Peers()) {
		t.Errorf("a node that asks whether there is something new: %+v, %v", issued, err)
	}

	_, err = client.Renew(t.Context(), site.RenewRequest{Password: strings.Repeat("0", 32)})
	wantRefusal(t, err, http.StatusForbidden, site.CodeName, "was deleted from the cluster")

	// Deleting the Node is what ends it.
	if err := s.api.CoreV1().Nodes().Delete(t.Context(), "n1", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	s.eventually("the name to be free", func() bool {
		_, err := s.handler.names.get(t.Context(), "n1")
		return apierrors.IsNotFound(err)
	})
	_, err = client.Renew(t.Context(), site.RenewRequest{Password: password, Addresses: []string{"10.0.0.2"}, PublicKeys: public})
	wantRefusal(t, err, http.StatusForbidden, site.CodeName, "was deleted from the cluster")
}

// A certificate is believed if the cluster's authority has signed it, today, for a node.
func TestCertificatesOfOthers(t *testing.T) {
	s := newServer(t, nil)
	m := s.machine("n1", "10.0.0.2")
	s.join(m)
	foreign := newServer(t, nil)
	stranger := foreign.machine("n1", "10.0.0.2")
	foreign.join(stranger)

	load := func(cert, key string) func() (*tls.Certificate, error) {
		return func() (*tls.Certificate, error) {
			pair, err := tls.LoadX509KeyPair(cert, key)
			return &pair, err
		}
	}
	self := newKey(t, elliptic.P256())
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "system:node:n1", Organization: []string{"system:nodes"}},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}, &x509.Certificate{Subject: certificate(t, filepath.Join(s.paths.TLS(), "ca.crt")).Subject}, self.Public(), self)
	if err != nil {
		t.Fatal(err)
	}
	tlsFile := func(name string) string { return filepath.Join(s.paths.TLS(), name) }
	for name, test := range map[string]struct {
		certificate func() (*tls.Certificate, error)
		want        string
	}{
		"another cluster's": {load(filepath.Join(stranger.PKI, site.FileKubelet), filepath.Join(stranger.PKI, site.FileKubelet)), "not one of this cluster's"},
		"signed by itself": {func() (*tls.Certificate, error) {
			return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: self}, nil
		}, "not one of this cluster's"},
		"for serving":        {load(filepath.Join(m.PKI, "kubelet.crt"), filepath.Join(m.PKI, "kubelet.key")), "not one of this cluster's"},
		"kube-proxy's":       {load(filepath.Join(m.PKI, "kube-proxy.crt"), filepath.Join(m.PKI, "kube-proxy.key")), "not a node's"},
		"an administrator's": {load(tlsFile("supervisor.crt"), tlsFile("supervisor.key")), "not a node's"},
	} {
		t.Run(name, func(t *testing.T) {
			client, err := site.NewClient(s.url, s.authorities(), test.certificate)
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			_, err = client.Leave(t.Context(), site.LeaveRequest{})
			wantRefusal(t, err, http.StatusUnauthorized, site.CodeToken, test.want)
		})
	}
	s.clock.advance(2 * pki.LeafValidity)
	_, err = s.node(m).Leave(t.Context(), site.LeaveRequest{})
	wantRefusal(t, err, http.StatusUnauthorized, site.CodeToken, "expired")
}

// Many machines at once get a name each, and of many with one name one gets it.
func TestManyAtOnce(t *testing.T) {
	s := newServer(t, nil)
	var all sync.WaitGroup
	var mu sync.Mutex
	won, lost := 0, 0
	for i := range 12 {
		all.Go(func() {
			if _, err := s.machine(fmt.Sprintf("n%d", i), fmt.Sprintf("10.0.1.%d", i)).Join(t.Context(), func(error) {}); err != nil {
				t.Error(err)
			}
			_, err := s.machine("same", fmt.Sprintf("10.0.2.%d", i)).Join(t.Context(), func(error) {})
			var refused *site.Error
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				won++
			} else if errors.As(err, &refused) && refused.Code == site.CodeName {
				lost++
			}
		})
	}
	all.Wait()
	if won != 1 || lost != 11 {
		t.Errorf("%d machines got one name, %d were refused it", won, lost)
	}
}

func (s *server) eventually(what string, done func() bool) {
	s.t.Helper()
	for end := time.Now().Add(10 * time.Second); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			s.t.Fatalf("waited in vain for %s", what)
		}
	}
}

// A check is answered as a join would be, and leaves nothing behind: no name taken, no password, no certificate.
func TestCheckChangesNothing(t *testing.T) {
	s := newServer(t, nil)
	m := s.machine("n1", "10.0.0.2")
	checked, err := m.Check(t.Context())
	if err != nil || checked.Cluster.Kubernetes != "v1.37.1+airgap1" || checked.NodeName != "n1" {
		t.Fatalf("checked %+v, %v", checked, err)
	}
	secrets, err := s.api.CoreV1().Secrets("kube-system").List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range secrets.Items {
		if strings.HasPrefix(secret.Name, "n1.") {
			t.Errorf("a check took the name: %s", secret.Name)
		}
	}
	if entries, _ := filepath.Glob(filepath.Join(m.PKI, "*")); len(entries) > 0 {
		t.Errorf("a check wrote %v", entries)
	}
	s.join(m)
	s.register("n1", "10.0.0.2")
	if _, err := m.Check(t.Context()); err != nil {
		t.Errorf("its own name is refused: %v", err)
	}
	other := s.machine("n1", "10.0.0.3")
	other.PKI = t.TempDir()
	var refusal *site.Error
	if _, err := other.Check(t.Context()); !errors.As(err, &refusal) || refusal.Code != site.CodeName {
		t.Errorf("a taken name: %v", err)
	}
	old := s.machine("n2", "10.0.0.4")
	old.Kubernetes = "v1.12.0"
	if _, err := old.Check(t.Context()); !errors.As(err, &refusal) || refusal.Code != site.CodeVersion {
		t.Errorf("another version: %v", err)
	}
}
