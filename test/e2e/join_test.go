package e2e

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"airgap/internal/hostinfo"
	nodes "airgap/internal/site"
	"airgap/test/site"
)

// testJoin joins the real server as machines would that have no kubelet yet, and finds out what their certificates open.
func testJoin(t *testing.T, s *node) {
	server := s.forward(t)
	line := strings.Fields(s.Verb("token", "create", "--print-join", "--ttl", "1h", "--description", "for a test"))
	if len(line) != 6 || line[3] != "https://"+s.IP+":6443" {
		t.Fatalf("print-join printed %q", line)
	}
	token, err := nodes.ParseToken(line[5])
	if err != nil {
		t.Fatal(err)
	}
	machine := func(name, address string) nodes.Machine {
		return nodes.Machine{
			Server: server, Token: token, PKI: t.TempDir(), NodeName: name, Addresses: []string{address}, PeerPort: nodes.DefaultPeerPort,
			Airgap: "0.0.0", Kubernetes: strings.TrimSpace(s.Kubectl("get", "node", s.Name, "-o", "jsonpath={.status.nodeInfo.kubeletVersion}")),
			Host: hostinfo.This(), // as the server's: a clone
		}
	}
	m := machine("joined", "10.200.0.2")
	joined, err := m.Join(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(joined.Warnings) != 1 || !strings.Contains(joined.Warnings[0], "of node "+s.Name) || joined.Cluster.Servers[0] != line[3] {
		t.Errorf("joined %+v", joined)
	}
	t.Run("a node may do what is its own", func(t *testing.T) { testNodeRights(t, s, server, m) })
	t.Run("curl sees the authorities", func(t *testing.T) {
		out := site.MustOutput(t, s.Inside("curl", "-sk", "https://"+s.IP+":6443/cacerts"))
		if nodes.HashCA([]byte(out)) != token.CAHash {
			t.Errorf("the authorities are not the token's:\n%s", out)
		}
	})
	t.Run("refusals", func(t *testing.T) {
		_, err := machine("joined", "10.200.0.3").Join(t.Context(), nil)
		wantCode(t, err, nodes.CodeName, "airgap kubectl delete node joined")
		_, err = machine(s.Name, "10.200.0.3").Join(t.Context(), nil)
		wantCode(t, err, nodes.CodeName, "airgap kubectl delete node "+s.Name)
		_, err = machine("third", s.IP).Join(t.Context(), nil)
		wantCode(t, err, nodes.CodeRequest, "an address of the server")
		wrong := machine("third", "10.200.0.3")
		wrong.Token.Secret = "0123456789abcdef"
		_, err = wrong.Join(t.Context(), nil)
		wantCode(t, err, nodes.CodeToken, "airgap token create --print-join")
		s.Verb("token", "delete", token.User)
		time.Sleep(1500 * time.Millisecond) // the wrong one closed the door for a second
		_, err = machine("third", "10.200.0.3").Join(t.Context(), nil)
		wantCode(t, err, nodes.CodeToken, "airgap token create --print-join")
	})
	t.Run("nobody unknown holds up the API server", func(t *testing.T) { testSlowJoiners(t, s, server) })
	t.Run("a deleted node is none", func(t *testing.T) {
		s.Kubectl("delete", "node", "joined")
		client := nodeClient(t, server, m)
		site.Eventually(t, patience, func() error {
			_, err := client.Renew(t.Context(), nodes.RenewRequest{Password: password(t, m)})
			return isCode(err, nodes.CodeName, "was deleted from the cluster")
		})
	})
}

// testNodeRights uses the certificates of a join against the real authenticator and authorizers.
func testNodeRights(t *testing.T, s *node, server string, m nodes.Machine) {
	ctx := t.Context()
	kubelet := apiOf(t, server, m, nodes.FileKubelet, nodes.FileKubelet)
	self, err := kubelet.CoreV1().Nodes().Create(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: m.NodeName}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatalf("the node does not register: %v", err)
	}
	if _, err := kubelet.CoreV1().Nodes().List(ctx, metav1.ListOptions{}); err != nil {
		t.Errorf("the pod network does not see the other nodes: %v", err)
	}
	label := func(node, key string) error {
		_, err := kubelet.CoreV1().Nodes().Patch(ctx, node, types.MergePatchType, fmt.Appendf(nil, `{"metadata":{"labels":{%q:"x"}}}`, key), metav1.PatchOptions{})
		return err
	}
	if err := label(self.Name, "site.example/rack"); err != nil {
		t.Errorf("its own label: %v", err)
	}
	_, another := kubelet.CoreV1().Nodes().Create(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "another"}}, metav1.CreateOptions{})
	_, secret := kubelet.CoreV1().Secrets("kube-system").Get(ctx, s.Name+".node-password.airgap", metav1.GetOptions{})
	_, secrets := kubelet.CoreV1().Secrets("kube-system").List(ctx, metav1.ListOptions{})
	for what, err := range map[string]error{
		"a label of another node":         label(s.Name, "site.example/rack"),
		"the role of a control plane":     label(self.Name, "node-role.kubernetes.io/control-plane"),
		"a Node of another name":          another,
		"the password of another's name":  secret,
		"all Secrets":                     secrets,
		"the end of the server's node":    kubelet.CoreV1().Nodes().Delete(ctx, s.Name, metav1.DeleteOptions{}),
		"a Secret of its own in the pile": makeSecret(ctx, kubelet),
	} {
		if !apierrors.IsForbidden(err) {
			t.Errorf("a node gets %s: %v", what, err)
		}
	}
	proxy := apiOf(t, server, m, nodes.FileProxy+".crt", nodes.FileProxy+".key")
	if _, err := proxy.DiscoveryV1().EndpointSlices("").List(ctx, metav1.ListOptions{}); err != nil {
		t.Errorf("kube-proxy: %v", err)
	}
	policy := apiOf(t, server, m, nodes.FileNetworkPolicy+".crt", nodes.FileNetworkPolicy+".key")
	if _, err := policy.NetworkingV1().NetworkPolicies("").List(ctx, metav1.ListOptions{}); err != nil {
		t.Errorf("network policy: %v", err)
	}
	if _, err := policy.CoreV1().Secrets("kube-system").List(ctx, metav1.ListOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("network policy reads Secrets: %v", err)
	}
	// The kubelet's way to its next client certificate.
	request := requestCertificate(t, kubelet, m.NodeName)
	site.Eventually(t, patience, func() error {
		got, err := kubelet.CertificatesV1().CertificateSigningRequests().Get(ctx, request, metav1.GetOptions{})
		if err == nil && len(got.Status.Certificate) == 0 {
			err = fmt.Errorf("no certificate yet: %+v", got.Status.Conditions)
		}
		return err
	})
	// With the address that it registers nobody else joins.
	self.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "10.200.0.9"}}
	if _, err := kubelet.CoreV1().Nodes().UpdateStatus(ctx, self, metav1.UpdateOptions{}); err != nil {
		latest, getErr := kubelet.CoreV1().Nodes().Get(ctx, self.Name, metav1.GetOptions{})
		if getErr != nil {
			t.Fatal(err, getErr)
		}
		latest.Status.Addresses = self.Status.Addresses
		if _, err := kubelet.CoreV1().Nodes().UpdateStatus(ctx, latest, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	own := nodes.Machine{PKI: filepath.Join(s.Paths.DataDir, "agent/pki")}
	_, err = nodeClient(t, server, own).Renew(ctx, nodes.RenewRequest{Password: password(t, own), Addresses: []string{"10.200.0.9"}})
	wantCode(t, err, nodes.CodeRequest, "the address of node "+self.Name)
	if out := s.Kubectl("events", "--for", "node/"+self.Name, "--types", "Warning"); !strings.Contains(out, "ClonedMachine") {
		t.Errorf("no event tells of the clone:\n%s", out)
	}
}

func makeSecret(ctx context.Context, api kubernetes.Interface) error {
	_, err := api.CoreV1().Secrets("kube-system").Create(ctx, &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "mine.node-password.airgap"}, Type: "airgap.internal/node-password",
	}, metav1.CreateOptions{})
	return err
}

// requestCertificate asks for a client certificate of a node, and returns the request's name.
func requestCertificate(t *testing.T, api kubernetes.Interface, node string) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{
		Subject: pkix.Name{CommonName: "system:node:" + node, Organization: []string{"system:nodes"}},
	}, key)
	if err != nil {
		t.Fatal(err)
	}
	request, err := api.CertificatesV1().CertificateSigningRequests().Create(t.Context(), &certificatesv1.CertificateSigningRequest{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "csr-"},
		Spec: certificatesv1.CertificateSigningRequestSpec{
			Request:    pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}),
			SignerName: certificatesv1.KubeAPIServerClientKubeletSignerName,
			Usages:     []certificatesv1.KeyUsage{certificatesv1.UsageDigitalSignature, certificatesv1.UsageClientAuth},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return request.Name
}

// testSlowJoiners opens many requests without a token whose bodies come slowly, or never end, and uses the API meanwhile.
func testSlowJoiners(t *testing.T, s *node, server string) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	const askers = 200
	answered := make(chan int, askers)
	for range askers {
		go func() {
			body, _ := io.Pipe() // nothing ever comes
			code := 0
			request, err := http.NewRequestWithContext(ctx, http.MethodPost, server+nodes.PathJoin, body)
			if err == nil {
				client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}}
				if response, err := client.Do(request); err == nil {
					response.Body.Close()
					code = response.StatusCode
				}
			}
			answered <- code
		}()
	}
	began := time.Now()
	s.Kubectl("get", "--raw", "/readyz")
	t.Logf("the API server is ready after %s, with %d open requests of nobody", time.Since(began).Round(time.Millisecond), askers)
	codes := map[int]int{}
	for range askers {
		select {
		case code := <-answered:
			codes[code]++
		case <-time.After(patience):
			t.Fatalf("requests without a token are kept open; answered so far: %v", codes)
		}
	}
	if codes[http.StatusUnauthorized] == 0 || codes[http.StatusOK] > 0 {
		t.Errorf("requests without a token were answered with %v", codes)
	}
	t.Logf("requests without a token: %v after %s", codes, time.Since(began).Round(time.Millisecond))
}

// forward makes the server's API port reachable for this process, on loopback, and returns its URL.
func (s *node) forward(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			near, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer near.Close()
				far, err := s.Dial(context.Background(), "tcp", s.IP+":6443")
				if err != nil {
					return
				}
				defer far.Close()
				go func() { _, _ = io.Copy(far, near); far.Close() }()
				_, _ = io.Copy(near, far)
			}()
		}
	}()
	return "https://" + listener.Addr().String()
}

// apiOf is a client of Kubernetes with a certificate that a join has brought.
func apiOf(t *testing.T, server string, m nodes.Machine, cert, key string) kubernetes.Interface {
	t.Helper()
	client, err := kubernetes.NewForConfig(&rest.Config{Host: server, TLSClientConfig: rest.TLSClientConfig{
		CAFile: filepath.Join(m.PKI, nodes.FileAuthorities), CertFile: filepath.Join(m.PKI, cert), KeyFile: filepath.Join(m.PKI, key),
	}})
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// nodeClient is a client of the site's API that shows the kubelet's certificate.
func nodeClient(t *testing.T, server string, m nodes.Machine) *nodes.Client {
	t.Helper()
	authorities, err := nodes.Authorities(t.Context(), server, nodes.Token{})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(m.PKI, nodes.FileKubelet)
	client, err := nodes.NewClient(server, authorities, nodes.CertificateFiles(file, file))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client
}

// password is that of a machine's name.
func password(t *testing.T, m nodes.Machine) string {
	t.Helper()
	text, err := nodes.LoadPassword(m.PKI)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func isCode(err error, code, text string) error {
	var refused *nodes.Error
	if !errors.As(err, &refused) || refused.Code != code || !strings.Contains(refused.Message, text) {
		return fmt.Errorf("got %v, want a refusal %q with %q", err, code, text)
	}
	return nil
}

func wantCode(t *testing.T, err error, code, text string) {
	t.Helper()
	if err := isCode(err, code, text); err != nil {
		t.Error(err)
	}
}
