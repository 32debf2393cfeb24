package site

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"airgap/internal/hostinfo"
	"airgap/internal/testca"
)

// cluster is a server of joins, as far as a joiner sees it.
type cluster struct {
	t       *testing.T
	ca      *testca.Authority
	request JoinRequest
	busy    int    // how many joins are put off
	refuse  *Error // what joins are refused with
	forge   bool   // certificates are for keys that nobody asked for
	url     string
}

func newCluster(t *testing.T) *cluster {
	t.Helper()
	c := &cluster{t: t}
	c.ca = testca.New(t, "test-ca")
	server := httptest.NewUnstartedServer(http.HandlerFunc(c.serve))
	server.TLS = &tls.Config{Certificates: []tls.Certificate{*c.ca.Issue(testca.Leaf{Name: "server", Hosts: []string{"127.0.0.1"}})}}
	server.StartTLS()
	t.Cleanup(server.Close)
	c.url = server.URL
	return c
}

func (c *cluster) serve(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == PathAuthorities {
		_, _ = w.Write(c.ca.PEM)
		return
	}
	refusal := c.refuse
	if c.busy > 0 {
		c.busy--
		refusal = &Error{Status: http.StatusTooManyRequests, Code: CodeBusy, Message: "busy"}
	}
	if _, secret, _ := r.BasicAuth(); secret != "swordfish" {
		refusal = &Error{Status: http.StatusUnauthorized, Code: CodeToken, Message: "no such token"}
	}
	if refusal != nil {
		w.WriteHeader(refusal.Status)
		_ = json.NewEncoder(w).Encode(refusal)
		return
	}
	if err := json.NewDecoder(r.Body).Decode(&c.request); err != nil {
		c.t.Error(err)
	}
	issue := func(name, text string) string {
		key, err := ParsePublicKey(text)
		if err != nil {
			c.t.Error(err)
		}
		if c.forge {
			key = c.ca.Key.Public()
		}
		return string(c.ca.Sign(key, testca.Leaf{Name: name, Hosts: []string{"127.0.0.1"}}))
	}
	keys := c.request.PublicKeys
	_ = json.NewEncoder(w).Encode(JoinResponse{Issued: Issued{
		Authorities: string(c.ca.PEM), Kubelet: issue("system:node:n1", keys.Kubelet), Serving: issue("n1", keys.Serving),
		Proxy: issue("proxy", keys.Proxy), NetworkPolicy: issue("policy", keys.NetworkPolicy),
	}, Cluster: Cluster{ClusterCIDR: "10.42.0.0/16"}, Warnings: []string{"a clone"}})
}

func (c *cluster) machine() Machine {
	return Machine{
		Server: c.url, Token: Token{CAHash: HashCA(c.ca.PEM), User: UserNode, Secret: "swordfish"}, PKI: filepath.Join(c.t.TempDir(), "pki"),
		NodeName: "n1", Addresses: []string{"10.0.0.2"}, PeerPort: DefaultPeerPort,
		Host: hostinfo.Host{FS: fstest.MapFS{
			"etc/machine-id":                      {Data: []byte("0123456789abcdef0123456789abcdef\n")},
			"etc/ssh/ssh_host_ed25519_key.pub":    {Data: []byte("ssh-ed25519 AAAA root@n1\n")},
			"etc/ssh/ssh_host_ed25519_key.pub.sv": {Data: []byte("no key")},
		}},
	}
}

func TestJoin(t *testing.T) {
	c := newCluster(t)
	c.busy = 1
	m := c.machine()
	told := 0
	joined, err := m.Join(context.Background(), func(err error) { told++ })
	if err != nil {
		t.Fatal(err)
	}
	if told != 1 || len(joined.Warnings) != 1 || joined.NodeName != "n1" {
		t.Errorf("told %d times of a busy server; joined %+v", told, joined)
	}
	known, err := LoadCluster(m.PKI)
	if err != nil || len(known.Servers) != 1 || known.Servers[0] != c.url || known.ClusterCIDR != "10.42.0.0/16" {
		t.Errorf("the machine knows %+v, %v", known, err)
	}
	for _, name := range []string{FileServing, FileProxy, FileNetworkPolicy} {
		if _, err := tls.LoadX509KeyPair(filepath.Join(m.PKI, name+".crt"), filepath.Join(m.PKI, name+".key")); err != nil {
			t.Error(err)
		}
	}
	if _, err := tls.LoadX509KeyPair(filepath.Join(m.PKI, FileKubelet), filepath.Join(m.PKI, FileKubelet)); err != nil {
		t.Error(err)
	}
	first := c.request
	if strings.Contains(first.MachineID, "0123456789abcdef0123") || len(first.MachineID) != 64 || len(first.HostKeys) != 64 {
		t.Errorf("the machine tells its ID %q and host keys %q", first.MachineID, first.HostKeys)
	}
	if _, err := m.Join(context.Background(), nil); err != nil || c.request.Password != first.Password || len(first.Password) != 32 {
		t.Errorf("joined again with the password %q, at first %q; %v", c.request.Password, first.Password, err)
	}
}

func TestJoinRefused(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*cluster, *Machine)
		want   string
	}{
		"wrong token":     {func(_ *cluster, m *Machine) { m.Token.Secret = "guess" }, "no such token"},
		"another cluster": {func(_ *cluster, m *Machine) { m.Token.CAHash = hash }, "this is another cluster"},
		"taken name": {func(c *cluster, _ *Machine) {
			c.refuse = &Error{Status: http.StatusForbidden, Code: CodeName, Message: "n1 belongs to another machine"}
		}, "n1 belongs to another machine"},
		"foreign keys":      {func(c *cluster, _ *Machine) { c.forge = true }, "is for another key"},
		"no https":          {func(_ *cluster, m *Machine) { m.Server = "http://127.0.0.1:6443" }, "want https://"},
		"no API of airgap":  {func(c *cluster, _ *Machine) { c.refuse = &Error{Status: http.StatusNotFound} }, "404"},
		"loopback as ours":  {func(_ *cluster, m *Machine) { m.Addresses = nil }, "--node-ip"},
		"damaged name file": {func(_ *cluster, m *Machine) { m.PKI = "/proc/self/status/pki" }, "not a directory"},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t)
			m := c.machine()
			test.change(c, &m)
			_, err := m.Join(context.Background(), func(err error) { t.Errorf("tried again after %v", err) })
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Fatalf("got %v, want %q", err, test.want)
			}
			if _, err := LoadCluster(m.PKI); err == nil || !errors.Is(err, fs.ErrNotExist) && m.PKI[:5] != "/proc" {
				t.Errorf("after a refusal the machine has joined: %v", err)
			}
		})
	}
}

func TestJoinWaitsForAServer(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	listener.Close()
	m := newCluster(t).machine()
	m.Server = "https://" + listener.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	told := 0
	if _, err := m.Join(ctx, func(error) { told++; cancel() }); err == nil || told != 1 {
		t.Errorf("nobody answers: told %d times, %v", told, err)
	}
	if _, err := m.Join(context.Background(), nil); !Temporary(err) {
		t.Errorf("an unreachable server is no passing trouble: %v", err)
	}
}
