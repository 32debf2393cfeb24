package installer

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"log"
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
	"airgap/internal/testca"
	"airgap/registry/peer"
)

const testSecret = "swordfish-swordfish"

// testCluster is a server and a node that holds its bundles, as far as a machine that joins sees them: real TLS, the real tracker and
// the real handler of peers, with what a site has retained.
type testCluster struct {
	t     testing.TB
	ca    *testca.Authority
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
	c.ca = testca.New(t, "test-ca")
	c.token = site.Token{CAHash: site.HashCA(c.ca.PEM), User: site.UserNode, Secret: testSecret}

	c.restart()
	api := http.NewServeMux()
	api.HandleFunc(site.PathAuthorities, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(c.ca.PEM) })
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

// listen serves on loopback with a certificate of the cluster's.
func (c *testCluster) listen(handler http.Handler, clients tls.ClientAuthType) string {
	c.t.Helper()
	pool := x509.NewCertPool()
	pool.AddCert(c.ca.Certificate)
	server := httptest.NewUnstartedServer(handler)
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.TLS = &tls.Config{
		Certificates: []tls.Certificate{*c.ca.Issue(testca.Leaf{Name: "server", Hosts: []string{"127.0.0.1"}})}, ClientCAs: pool, ClientAuth: clients,
	}
	server.StartTLS()
	c.t.Cleanup(server.Close)
	return server.URL
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
		return string(c.ca.Sign(key, testca.Leaf{Name: name, Organization: organization, Hosts: c.request.Addresses}))
	}
	node, keys := "system:node:"+c.request.NodeName, c.request.PublicKeys
	_ = json.NewEncoder(w).Encode(site.JoinResponse{
		Issued: site.Issued{
			Authorities: string(c.ca.PEM), Kubelet: issue(node, "system:nodes", keys.Kubelet), Serving: issue(node, "system:nodes", keys.Serving),
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
	_ = json.NewEncoder(w).Encode(site.RenewResponse{Issued: site.Issued{Authorities: string(c.ca.PEM)}, Peers: []string{c.seeder}})
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
