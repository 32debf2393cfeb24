package installer

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"airgap/internal/site"
	"airgap/registry/peer"
)

const testSecret = "swordfish-swordfish"

// testCluster is a server and a node that holds its bundles, as far as a machine that joins sees them: real TLS, the real tracker and
// the real handler of peers, with what a site has retained.
type testCluster struct {
	t     testing.TB
	key   *ecdsa.PrivateKey
	ca    *x509.Certificate
	pem   []byte
	url   string
	token site.Token

	content peer.Content // what its node holds
	refuse  *site.Error  // what joins are refused with
	deleted bool         // there is no Node any more
	leave   http.HandlerFunc
	// answer, if set, answers a peer's request itself and says so.
	answer func(w http.ResponseWriter, r *http.Request) bool

	mu       sync.Mutex
	request  site.JoinRequest
	joins    int
	tracker  atomic.Pointer[peer.Tracker]
	seeder   string // "address:port"
	uploaded atomic.Int64
}

func newCluster(t testing.TB, content peer.Content) *testCluster {
	t.Helper()
	c := &testCluster{t: t, content: content}
	c.leave = func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(site.LeaveResponse{Left: true})
	}
	c.key = c.newKey()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test-ca"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, c.key.Public(), c.key)
	if err != nil {
		t.Fatal(err)
	}
	if c.ca, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	c.pem = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	c.token = site.Token{CAHash: site.HashCA(c.pem), User: site.UserNode, Secret: testSecret}

	c.restart()
	api := http.NewServeMux()
	api.HandleFunc(site.PathAuthorities, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(c.pem) })
	api.HandleFunc(site.PathJoin, c.join)
	api.HandleFunc(site.PathExchange, func(w http.ResponseWriter, r *http.Request) { c.tracker.Load().ServeHTTP(w, r) })
	api.HandleFunc(site.PathRenew, c.renew)
	api.HandleFunc(site.PathLeave, func(w http.ResponseWriter, r *http.Request) { c.leave(w, r) })
	c.url = c.listen(api, tls.VerifyClientCertIfGiven)

	peers := c.listen(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if c.answer != nil && c.answer(w, r) {
			return
		}
		peer.NewHandler(c.content, nil).ServeHTTP(&counting{w, &c.uploaded}, r)
	}), tls.RequireAndVerifyClientCert)
	c.seeder = strings.TrimPrefix(peers, "https://")
	return c
}

// restart makes the server forget what joiners told of its nodes.
func (c *testCluster) restart() {
	c.tracker.Store(peer.NewTracker(peer.TrackerOptions{Seeders: func() []string { return []string{c.seeder} }}))
}

// counting counts the bytes that are given away.
type counting struct {
	http.ResponseWriter
	n *atomic.Int64
}

func (c *counting) Write(p []byte) (int, error) {
	n, err := c.ResponseWriter.Write(p)
	c.n.Add(int64(n))
	return n, err
}

func (c *testCluster) newKey() *ecdsa.PrivateKey {
	c.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		c.t.Fatal(err)
	}
	return key
}

// listen serves on loopback with a certificate of the cluster's.
func (c *testCluster) listen(handler http.Handler, clients tls.ClientAuthType) string {
	c.t.Helper()
	key := c.newKey()
	block, _ := pem.Decode([]byte(c.sign("server", "", key.Public(), []string{"127.0.0.1"})))
	pool := x509.NewCertPool()
	pool.AddCert(c.ca)
	server := httptest.NewUnstartedServer(handler)
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.TLS = &tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{block.Bytes}, PrivateKey: key}}, ClientCAs: pool, ClientAuth: clients,
	}
	server.StartTLS()
	c.t.Cleanup(server.Close)
	return server.URL
}

func (c *testCluster) sign(name, organization string, key crypto.PublicKey, addresses []string) string {
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if organization != "" {
		template.Subject.Organization = []string{organization}
	}
	for _, address := range addresses {
		template.IPAddresses = append(template.IPAddresses, net.ParseIP(address))
	}
	der, err := x509.CreateCertificate(rand.Reader, template, c.ca, key, c.key)
	if err != nil {
		c.t.Error(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

func (c *testCluster) join(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	refusal := c.refuse
	if _, secret, _ := r.BasicAuth(); secret != testSecret {
		refusal = &site.Error{Status: http.StatusUnauthorized, Code: site.CodeToken, Message: "no such token"}
	}
	if refusal != nil {
		w.WriteHeader(refusal.Status)
		_ = json.NewEncoder(w).Encode(refusal)
		return
	}
	if err := json.NewDecoder(r.Body).Decode(&c.request); err != nil {
		c.t.Error(err)
	}
	c.joins++
	issue := func(name, organization, text string) string {
		key, err := site.ParsePublicKey(text)
		if err != nil {
			c.t.Error(err)
		}
		return c.sign(name, organization, key, c.request.Addresses)
	}
	node, keys := "system:node:"+c.request.NodeName, c.request.PublicKeys
	_ = json.NewEncoder(w).Encode(site.JoinResponse{
		Issued: site.Issued{
			Authorities: string(c.pem), Kubelet: issue(node, "system:nodes", keys.Kubelet), Serving: issue(node, "system:nodes", keys.Serving),
			Proxy: issue("system:kube-proxy", "", keys.Proxy), NetworkPolicy: issue("airgap:network-policy", "", keys.NetworkPolicy),
		},
		Cluster: site.Cluster{
			Servers: []string{c.url}, Peers: []string{c.seeder}, ClusterCIDR: "10.42.0.0/16", ServiceCIDR: "10.43.0.0/16",
			ClusterDNS: "10.43.0.10", ClusterDomain: "cluster.local", FlannelBackend: "vxlan",
		},
		Warnings: []string{"this machine looks like node-1's clone"},
	})
}

// renew says whether the node is one.
func (c *testCluster) renew(w http.ResponseWriter, r *http.Request) {
	var request site.RenewRequest
	_ = json.NewDecoder(r.Body).Decode(&request)
	if c.deleted || request.Password != c.request.Password {
		w.WriteHeader(http.StatusForbidden)
		_ = json.NewEncoder(w).Encode(site.Error{Code: site.CodeName, Message: "node-2 was deleted from the cluster"})
		return
	}
	_ = json.NewEncoder(w).Encode(site.Issued{Authorities: string(c.pem)})
}

// joining is an install on the site that joins the cluster and reads its bundles.
func (s *testSite) joining(c *testCluster) Options {
	o := s.options("")
	joinOptions(&o, c.url, c.token.Text())
	return o
}

// joinOptions makes an install join.
func joinOptions(o *Options, server, token string) {
	parsed, err := site.ParseToken(token)
	if err != nil {
		panic(err)
	}
	if info, err := os.Stat(o.Bundle); err == nil && info.IsDir() { // the site's own: no bundle was named
		o.Bundle = ""
	}
	o.Join = &JoinOptions{Server: server, Token: parsed, Kubernetes: "v1.37.1"}
	dir := filepath.Dir(o.Server.DataDir)
	o.Server.NodeName, o.Server.NodeIP, o.Server.PeerPort = "node-2", "10.0.0.5", peerPort(dir)
	o.targets = []string{filepath.Dir(dir)} // a bundle's host file is on the site that the bundle was made for
	o.Config = map[string]any{"server": server, "node-name": "node-2"}
	o.stall = 2 * time.Second
}

// peerPort is the port of a site's machine, the same at each of its installs.
func peerPort(dir string) int {
	file := filepath.Join(dir, "port")
	if data, err := os.ReadFile(file); err == nil {
		port, err := strconv.Atoi(string(data))
		if err != nil {
			panic(err)
		}
		return port
	}
	listener, err := net.Listen("tcp", ":0")
	if err != nil {
		panic(err)
	}
	defer listener.Close()
	port := listener.Addr().(*net.TCPAddr).Port
	if err := os.WriteFile(file, []byte(strconv.Itoa(port)), 0o644); err != nil {
		panic(err)
	}
	return port
}

// environment is what a child process needs to join.
func (c *testCluster) environment() []string {
	return []string{fmt.Sprintf("%s=%s", envServer, c.url), fmt.Sprintf("%s=%s", envToken, c.token.Text())}
}
