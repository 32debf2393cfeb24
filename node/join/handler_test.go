package join

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"

	"airgap/internal/hostinfo"
	"airgap/internal/site"
	"airgap/node/config"
	"airgap/node/pki"
	"airgap/node/token"
)

// server is a Handler on a TLS listener with the certificates of a cluster of its own. The API server behind it is a fake, which
// has objects and no rules.
type server struct {
	t       *testing.T
	handler *Handler
	api     *fake.Clientset
	config  *config.Server
	paths   config.Paths
	url     string
	log     *logBuffer
	agent   site.Token
	clock   *clock
	stop    context.CancelFunc // of Run
}

// clock is one that tests move.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

type logBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// newServer starts one; change, if not nil, changes what it works with.
func newServer(t *testing.T, change func(*Options)) *server {
	t.Helper()
	dir, err := os.MkdirTemp("", "ag-join-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	cfg := config.NewServer()
	cfg.DataDir, cfg.Kubeconfig = dir, filepath.Join(dir, "airgap.yaml")
	cfg.NodeName, cfg.NodeIP, cfg.AdvertiseAddress = "first", "10.0.0.1", "10.0.0.1"
	cfg.TLSSANs = []string{"site.example"}
	if err := cfg.Complete(); err != nil {
		t.Fatal(err)
	}
	s := &server{t: t, config: cfg, paths: config.PathsOf(dir), log: &logBuffer{}, clock: &clock{now: time.Now()}}
	if err := (pki.Issuer{}).Prepare(cfg); err != nil {
		t.Fatal(err)
	}
	if err := token.Ensure(s.paths, s.authorities(), "", ""); err != nil {
		t.Fatal(err)
	}
	if s.agent, err = token.ReadFile(token.AgentFile(s.paths)); err != nil {
		t.Fatal(err)
	}
	s.api = fake.NewClientset(&corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: "first"},
		Status:     corev1.NodeStatus{Addresses: []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "10.0.0.1"}, {Type: corev1.NodeHostName, Address: "first"}}},
	})
	o := Options{
		Config: cfg, Client: s.api, Airgap: "1.0.0", Kubernetes: "v1.37.1+airgap1", Now: s.clock.Now, Log: slog.New(slog.NewTextHandler(s.log, nil)),
		Host: host("0000"),
	}
	if change != nil {
		change(&o)
	}
	s.handler = New(o)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	s.stop = stop
	go func() { ended <- s.handler.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	for s.handler.run.Load() == nil {
		time.Sleep(time.Millisecond)
	}

	pair, err := tls.LoadX509KeyPair(filepath.Join(s.paths.TLS(), pki.APIServer+".crt"), filepath.Join(s.paths.TLS(), pki.APIServer+".key"))
	if err != nil {
		t.Fatal(err)
	}
	listener := httptest.NewUnstartedServer(s.handler)
	listener.EnableHTTP2 = true
	listener.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequestClientCert} // as the API server
	listener.StartTLS()
	t.Cleanup(listener.Close)
	s.url = listener.URL
	return s
}

func host(machineID string) hostinfo.Host {
	return hostinfo.Host{FS: fstest.MapFS{
		"etc/machine-id":                   {Data: []byte(machineID + "\n")},
		"etc/ssh/ssh_host_ed25519_key.pub": {Data: []byte("ssh-ed25519 " + machineID)},
	}}
}

func (s *server) authorities() []byte {
	s.t.Helper()
	bundle, err := os.ReadFile(filepath.Join(s.paths.TLS(), pki.ClusterCABundle+".crt"))
	if err != nil {
		s.t.Fatal(err)
	}
	return bundle
}

// machine is one that has never joined.
func (s *server) machine(name, address string) site.Machine {
	return site.Machine{
		Server: s.url, Token: s.agent, PKI: s.t.TempDir(), NodeName: name, Addresses: []string{address},
		PeerPort: site.DefaultPeerPort, Airgap: "1.0.0", Kubernetes: "v1.37.1+airgap1", Host: host(name),
	}
}

func (s *server) join(m site.Machine) *site.Joined {
	s.t.Helper()
	joined, err := m.Join(s.t.Context(), nil)
	if err != nil {
		s.t.Fatal(err)
	}
	return joined
}

// register makes the Node that a kubelet makes after a join.
func (s *server) register(name, address string) {
	s.t.Helper()
	_, err := s.api.CoreV1().Nodes().Create(s.t.Context(), &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Status:     corev1.NodeStatus{Addresses: []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: address}}},
	}, metav1.CreateOptions{})
	if err != nil {
		s.t.Fatal(err)
	}
}

// node is a client with the certificate that a machine has got.
func (s *server) node(m site.Machine) *site.Client {
	s.t.Helper()
	file := filepath.Join(m.PKI, site.FileKubelet)
	client, err := site.NewClient(s.url, s.authorities(), func() (*tls.Certificate, error) {
		pair, err := tls.LoadX509KeyPair(file, file)
		return &pair, err
	})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(client.Close)
	return client
}

// password is that of a machine's name.
func (s *server) password(m site.Machine) string {
	s.t.Helper()
	password, err := site.LoadPassword(m.PKI)
	if err != nil {
		s.t.Fatal(err)
	}
	return password
}

// request is a join that is in order, to be spoilt.
func (s *server) request(name, address string) site.JoinRequest {
	s.t.Helper()
	keys, err := site.NewKeys()
	if err != nil {
		s.t.Fatal(err)
	}
	public, err := keys.Public()
	if err != nil {
		s.t.Fatal(err)
	}
	return site.JoinRequest{
		NodeName: name, Password: strings.Repeat("a1", 16), Addresses: []string{address}, PeerPort: site.DefaultPeerPort,
		Airgap: "1.0.0", Kubernetes: "v1.37.1+airgap1", Platform: "linux/amd64", PublicKeys: public,
	}
}

func (s *server) joiner(t site.Token) *site.Client {
	s.t.Helper()
	client, err := site.NewJoiner(s.url, s.authorities(), t)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(client.Close)
	return client
}

// wantRefusal wants an error to be a refusal with a status, a code, and a text.
func wantRefusal(t *testing.T, err error, status int, code, text string) {
	t.Helper()
	var refused *site.Error
	if !errors.As(err, &refused) || refused.Status != status || refused.Code != code || !strings.Contains(refused.Message, text) {
		t.Errorf("got %#v (%v), want %d %s with %q", refused, err, status, code, text)
	}
}

// raw posts what no client would send.
func (s *server) raw(path string, body io.Reader, t *site.Token) (*http.Response, error) {
	s.t.Helper()
	config, err := site.TLSConfig(s.authorities(), nil)
	if err != nil {
		s.t.Fatal(err)
	}
	transport := &http.Transport{TLSClientConfig: config}
	s.t.Cleanup(transport.CloseIdleConnections)
	request, err := http.NewRequestWithContext(s.t.Context(), http.MethodPost, s.url+path, body)
	if err != nil {
		s.t.Fatal(err)
	}
	if t != nil {
		request.SetBasicAuth(t.User, t.Secret)
	}
	return (&http.Client{Transport: transport}).Do(request)
}

// endless never ends.
type endless struct{}

func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = ' '
	}
	return len(p), nil
}

func TestAuthorities(t *testing.T) {
	s := newServer(t, nil)
	got, err := site.Authorities(t.Context(), s.url, s.agent)
	if err != nil || !bytes.Equal(got, s.authorities()) {
		t.Errorf("got %d bytes, %v", len(got), err)
	}
	foreign := s.agent
	foreign.CAHash = site.HashCA([]byte("another"))
	if _, err := site.Authorities(t.Context(), s.url, foreign); err == nil || !strings.Contains(err.Error(), "another cluster") {
		t.Errorf("a token of another cluster: %v", err)
	}
	for path, want := range map[string]int{"/cacerts": http.StatusMethodNotAllowed, "/v1-airgap/nothing": http.StatusNotFound} {
		response, err := s.raw(path, strings.NewReader("{}"), &s.agent)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode != want {
			t.Errorf("POST %s: %s", path, response.Status)
		}
	}
	front := s.handler.Before(http.NotFoundHandler())
	for path, ours := range map[string]bool{"/cacerts": true, "/v1-airgap/join": true, "/cacerts2": false, "/v1-airgap": false, "/api/cacerts": false} {
		recorder := httptest.NewRecorder()
		front.ServeHTTP(recorder, httptest.NewRequest(http.MethodHead, path, nil))
		if (recorder.Code != http.StatusNotFound) != ours {
			t.Errorf("%s: %d", path, recorder.Code)
		}
	}
}

// Nothing is read of somebody who shows no token, and never more than the bound of anybody.
func TestBodiesAreBounded(t *testing.T) {
	s := newServer(t, nil)
	s.handler.transfer = 300 * time.Millisecond
	status := func(body io.Reader, token *site.Token) int {
		t.Helper()
		response, err := s.raw(site.PathJoin, body, token)
		if err != nil {
			return 0 // closed in the middle of the body
		}
		response.Body.Close()
		return response.StatusCode
	}
	if got := status(endless{}, nil); got != http.StatusUnauthorized && got != 0 {
		t.Errorf("an endless body without a token: %d", got)
	}
	if got := status(endless{}, &s.agent); got != http.StatusRequestEntityTooLarge && got != 0 {
		t.Errorf("an endless body: %d", got)
	}
	slow, _ := io.Pipe()
	began := time.Now()
	if got := status(slow, &s.agent); got != http.StatusRequestTimeout && got != 0 {
		t.Errorf("a body that does not come: %d", got)
	}
	if waited := time.Since(began); waited > 5*time.Second {
		t.Errorf("a body that does not come was waited for %s", waited)
	}
	if got := status(strings.NewReader("[[[["), &s.agent); got != http.StatusBadRequest {
		t.Errorf("nonsense: %d", got)
	}
	s.join(s.machine("n1", "10.0.0.2"))
	if len(s.handler.known) != 0 {
		t.Errorf("%d places are still taken", len(s.handler.known))
	}
}

func TestPanicEndsOneRequest(t *testing.T) {
	s := newServer(t, func(o *Options) {
		o.Exchange = http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("a fault") })
	})
	m := s.machine("n1", "10.0.0.2")
	s.join(m)
	_, err := s.node(m).Exchange(t.Context(), site.ExchangeRequest{})
	wantRefusal(t, err, http.StatusInternalServerError, site.CodeServer, "its log says why")
	if log := s.log.String(); !strings.Contains(log, "a fault") {
		t.Errorf("the log does not tell: %s", log)
	}
	s.join(s.machine("n2", "10.0.0.3"))
}

func TestExchangeIsForNodes(t *testing.T) {
	var asked []string
	s := newServer(t, func(o *Options) {
		o.Exchange = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			var request site.ExchangeRequest
			if err := json.NewDecoder(r.Body).Decode(&request); err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
			}
			asked = append(asked, r.TLS.PeerCertificates[0].Subject.CommonName+" "+request.Address)
			_ = json.NewEncoder(w).Encode(site.ExchangeResponse{Wait: time.Second})
		})
	})
	m := s.machine("n1", "10.0.0.2")
	s.join(m)
	response, err := s.node(m).Exchange(t.Context(), site.ExchangeRequest{Address: "10.0.0.2:6446"})
	if err != nil || response.Wait != time.Second || len(asked) != 1 || asked[0] != "system:node:n1 10.0.0.2:6446" {
		t.Errorf("got %+v, %v; asked %q", response, err, asked)
	}
	_, err = s.joiner(s.agent).Exchange(t.Context(), site.ExchangeRequest{})
	wantRefusal(t, err, http.StatusUnauthorized, site.CodeToken, "no certificate")
}

// Until the API server is ready a joiner is told to come again, and gets the authorities all the same.
func TestStarting(t *testing.T) {
	s := newServer(t, nil)
	run := s.handler.run.Swap(nil)
	_, err := s.machine("n1", "10.0.0.2").Join(t.Context(), nil)
	wantRefusal(t, err, http.StatusServiceUnavailable, site.CodeBusy, "starting")
	if !site.Temporary(err) {
		t.Errorf("%v does not pass by itself", err)
	}
	s.handler.run.Store(run)
	s.join(s.machine("n1", "10.0.0.2"))
}

func newKey(t *testing.T, curve elliptic.Curve) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}
