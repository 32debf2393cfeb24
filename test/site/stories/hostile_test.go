package stories

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	protocol "airgap/internal/site"
	"airgap/node/config"
	"airgap/test/site"
)

// liar is a machine that has the cluster's own authority, as a first machine in somebody else's hands has. It answers joins as the real
// server does, but says that it is the only one to take bundles from, and changes what it gives.
type liar struct {
	t      *testing.T
	first  *site.Node
	tamper func(*http.Response) error // of what a peer answers
}

const (
	liarServer = "https://" + site.OutsideIP + ":6443"
	liarPeer   = site.OutsideIP + ":6446"
	// hostilePatience is for installs that nothing good comes to: they give up after two minutes without any.
	hostilePatience = 5 * time.Minute
)

// start lets the liar answer until the test ends.
func (l *liar) start() {
	l.t.Helper()
	tls := l.first.Paths.TLS()
	authority, err := os.ReadFile(filepath.Join(tls, "ca-bundle.crt"))
	if err != nil {
		l.t.Fatal(err)
	}
	kubelet := filepath.Join(l.first.Paths.AgentPKI(), "kubelet-client-current.pem")
	upstream, err := protocol.TLSConfig(authority, protocol.CertificateFiles(kubelet, kubelet))
	if err != nil {
		l.t.Fatal(err)
	}
	forward := func(port string, change func(*http.Response) error) *httputil.ReverseProxy {
		return &httputil.ReverseProxy{
			Rewrite: func(r *httputil.ProxyRequest) {
				r.SetURL(&url.URL{Scheme: "https", Host: l.first.IP + ":" + port})
				r.Out.Header.Del("Accept-Encoding")
			},
			Transport:      &http.Transport{TLSClientConfig: upstream, DialContext: l.first.Dial},
			ModifyResponse: change, ErrorLog: log.New(io.Discard, "", 0),
		}
	}
	api := http.NewServeMux()
	api.Handle("/", forward("6443", l.rewriteJoin))
	api.HandleFunc(protocol.PathExchange, l.exchange)
	l.serve(":6443", api)
	l.serve(":6446", forward("6446", l.tamper))
}

// rewriteJoin names the liar as the only one who has the bundles.
func (l *liar) rewriteJoin(r *http.Response) error {
	if r.Request.URL.Path != protocol.PathJoin || r.StatusCode != http.StatusOK {
		return nil
	}
	var joined protocol.JoinResponse
	if err := json.NewDecoder(r.Body).Decode(&joined); err != nil {
		return err
	}
	joined.Cluster.Peers = []string{liarPeer}
	data, err := json.Marshal(joined)
	if err != nil {
		return err
	}
	r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(data)), int64(len(data))
	r.Header.Set("Content-Length", fmt.Sprint(len(data)))
	return nil
}

// exchange has everything taken from the liar.
func (l *liar) exchange(w http.ResponseWriter, r *http.Request) {
	var asked protocol.ExchangeRequest
	if err := json.NewDecoder(r.Body).Decode(&asked); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	var answer protocol.ExchangeResponse
	for _, digest := range asked.Want[:min(len(asked.Want), asked.Slots)] {
		answer.Take = append(answer.Take, protocol.Take{Digest: digest, From: liarPeer})
	}
	if len(answer.Take) == 0 {
		answer.Wait = time.Second
	}
	_ = json.NewEncoder(w).Encode(answer)
}

// register makes the liar a node of the cluster that has all of its bundles, as the server sees it.
func (l *liar) register() {
	l.t.Helper()
	var bundles string
	site.Eventually(l.t, 2*time.Minute, func() error { // a node says what it has once a minute
		bundles = l.first.Kubectl("get", "node", "node-1", "-o", `jsonpath={.metadata.annotations.airgap\.internal/bundles}`)
		if bundles == "" {
			return errors.New("the first machine does not say which bundles it has")
		}
		return nil
	})
	l.first.Apply("{apiVersion: v1, kind: Node, metadata: {name: liar, annotations: {" + config.PeerPortAnnotation + `: "6446", ` + config.BundlesAnnotation + `: "` + bundles + `"}}}`)
	l.first.Kubectl("patch", "node", "liar", "--subresource=status", "--type=merge", "-p", `{"status": {
		"addresses": [{"type": "InternalIP", "address": "`+site.OutsideIP+`"}], "conditions": [{"type": "Ready", "status": "True"}]}}`)
}

// serve answers on the LAN, with a certificate that the cluster's authority signed.
func (l *liar) serve(port string, handler http.Handler) {
	l.t.Helper()
	listener, err := l.first.ListenOutside("tcp", site.OutsideIP+port)
	if err != nil {
		l.t.Fatal(err)
	}
	server := &http.Server{
		Handler: handler, TLSConfig: &tls.Config{Certificates: []tls.Certificate{l.certificate()}, ClientAuth: tls.RequestClientCert, MinVersion: tls.VersionTLS12},
		ErrorLog: log.New(io.Discard, "", 0), ReadHeaderTimeout: 10 * time.Second,
	}
	l.t.Cleanup(func() { server.Close() })
	go func() { _ = server.ServeTLS(listener, "", "") }()
}

// certificate is one of a node at the liar's address.
func (l *liar) certificate() tls.Certificate {
	l.t.Helper()
	authority, err := tls.LoadX509KeyPair(filepath.Join(l.first.Paths.TLS(), "ca.crt"), filepath.Join(l.first.Paths.TLS(), "ca.key"))
	if err != nil {
		l.t.Fatal(err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		l.t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "system:node:liar", Organization: []string{"system:nodes"}},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.ParseIP(site.OutsideIP)},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, authority.Leaf, key.Public(), authority.PrivateKey)
	if err != nil {
		l.t.Fatal(err)
	}
	return tls.Certificate{Certificate: append([][]byte{der}, authority.Certificate...), PrivateKey: key}
}

// isBlob says whether a peer's answer is the content of a blob.
func isBlob(r *http.Response) bool {
	return strings.HasPrefix(r.Request.URL.Path, protocol.PathBlobs) && r.StatusCode < 300
}

// flip changes one bit of the first byte of a body.
type flip struct {
	io.ReadCloser
	done bool
}

func (f *flip) Read(p []byte) (int, error) {
	n, err := f.ReadCloser.Read(p)
	if n > 0 && !f.done {
		p[0] ^= 1
		f.done = true
	}
	return n, err
}

// endless never ends.
type endless struct{ ctx context.Context }

func (e endless) Read(p []byte) (int, error) { return len(p), e.ctx.Err() }
func (e endless) Close() error               { return nil }

// withoutLength makes a body one whose end is not told before.
func withoutLength(r *http.Response, body io.ReadCloser) {
	r.Body, r.ContentLength = body, -1
	r.Header.Del("Content-Length")
}

// A first machine in somebody else's hands can give nothing, but never something else.
func TestHostileFirstMachine(t *testing.T) {
	nodes := site.New(t, "node-1", "node-2")
	first, victim := nodes[0], nodes[1]
	first.Install(site.Built("dist/system.airgap"))
	foreign := repacked(t, "0.1.0", "")
	for _, story := range []struct {
		name   string
		tamper func(*http.Response) error
	}{
		{"other bytes", func(r *http.Response) error {
			if isBlob(r) {
				r.Body = &flip{ReadCloser: r.Body}
			}
			return nil
		}},
		{"bodies without an end", func(r *http.Response) error {
			if isBlob(r) {
				withoutLength(r, endless{r.Request.Context()})
			}
			return nil
		}},
		{"a list of bundles without an end", func(r *http.Response) error {
			if r.Request.URL.Path == protocol.PathBundles {
				withoutLength(r, endless{r.Request.Context()})
			}
			return nil
		}},
		{"a manifest that somebody else signed", func(r *http.Response) error {
			if name := filepath.Base(r.Request.URL.Path); strings.HasPrefix(r.Request.URL.Path, protocol.PathBundles+"/") && foreign[name] != nil {
				withoutLength(r, io.NopCloser(bytes.NewReader(foreign[name])))
			}
			return nil
		}},
	} {
		t.Run(story.name, func(t *testing.T) {
			n := victim.Within(t)
			l := &liar{t: t, first: first.Within(t), tamper: story.tamper}
			l.start()
			ctx, cancel := context.WithTimeout(t.Context(), hostilePatience)
			defer cancel()
			cmd := withContext(ctx, n.JoinCommand(liarServer, first.Within(t).Token()))
			began := time.Now()
			out, err := cmd.CombinedOutput()
			if err == nil {
				t.Fatalf("the install believed it:\n%s", out)
			}
			said := lastError(string(out))
			if ctx.Err() != nil {
				t.Errorf("it did not end by itself: %s", said)
			}
			wantVerified(t, n)
			if _, err := n.Find("supervise"); err == nil {
				t.Error("a node runs")
			}
			tell(t, "hostile first machine: "+story.name, "refused, nothing unverified under its final name", "after %.0f s: `%s`", time.Since(began).Seconds(), said)
		})
	}
	t.Run("a hostile peer beside an honest one", func(t *testing.T) {
		n, server := victim.Within(t), first.Within(t)
		n.Verb("uninstall", "--yes", "--force")
		server.Kubectl("delete", "node", "node-2", "--ignore-not-found")
		var lies atomic.Int32
		l := &liar{t: t, first: server, tamper: func(r *http.Response) error {
			if isBlob(r) {
				lies.Add(1)
				r.Body = &flip{ReadCloser: r.Body}
			}
			return nil
		}}
		l.start()
		l.register()
		defer server.Kubectl("delete", "node", "liar")
		began := time.Now()
		out, err := n.JoinCommand(server.URL(), server.Token()).CombinedOutput()
		if err != nil {
			t.Errorf("the join: %v\n%s", err, out)
		}
		if lies.Load() == 0 {
			t.Error("nothing was asked of the hostile one")
		}
		wantVerified(t, n)
		tell(t, "hostile peer, an honest one beside it", "it joins from the honest one", "%.0f s, lied to %d times", time.Since(began).Seconds(), lies.Load())
	})
	t.Run("an older bundle", func(t *testing.T) {
		n := victim.Within(t)
		// It knows of no other node by now.
		cluster, err := protocol.LoadCluster(n.Paths.AgentPKI())
		if err != nil {
			t.Fatal(err)
		}
		cluster.Peers = []string{liarPeer}
		if err := protocol.SaveCluster(n.Paths.AgentPKI(), cluster); err != nil {
			t.Fatal(err)
		}
		l := &liar{t: t, first: first.Within(t), tamper: offer(repacked(t, "0.0.9", site.Built("dist/development.key")))}
		l.start()
		out, err := n.JoinCommand(liarServer, first.Within(t).Token()).CombinedOutput()
		said := lastError(string(out))
		if err == nil || !strings.Contains(said, "0.0.9") || !strings.Contains(said, "0.1.0") {
			t.Errorf("the install of an older bundle: %v\n%s", err, out)
		}
		if err := first.Within(t).NodeReady("node-2"); err != nil {
			t.Error(err)
		}
		tell(t, "hostile first machine: an older bundle, rightly signed, to a node that has had a newer one", "refused", "`%s`", said)
	})
}

// offer makes every peer's list of bundles one of this bundle alone, whose files, by name, it gives.
func offer(files map[string][]byte) func(*http.Response) error {
	sum := sha256.Sum256(files["airgap.json"])
	digest := "sha256:" + hex.EncodeToString(sum[:])
	list, err := json.Marshal(protocol.BundleList{Bundles: []protocol.Bundle{{
		Name: "system", Version: "0.0.9", Digest: digest, Files: signedFiles, Order: 1, Platform: []string{"linux/" + runtime.GOARCH},
	}}})
	return func(r *http.Response) error {
		path := r.Request.URL.Path
		data := list
		if path != protocol.PathBundles {
			name, _ := strings.CutPrefix(path, protocol.PathBundles+"/"+digest+"/")
			if data = files[name]; data == nil {
				return nil
			}
		}
		r.StatusCode, r.Status = http.StatusOK, "200 OK"
		withoutLength(r, io.NopCloser(bytes.NewReader(data)))
		return err
	}
}

// withContext is a command that ends with ctx.
func withContext(ctx context.Context, cmd *exec.Cmd) *exec.Cmd {
	limited := exec.CommandContext(ctx, cmd.Path, cmd.Args[1:]...)
	limited.Env = cmd.Env
	return limited
}

// signedFiles are a bundle's manifest and its signature.
var signedFiles = []string{"airgap.json", "airgap.json.sigstore.json", "airgap.json.sig"}

// repacked is the system bundle in another version: its manifest and signature, by name. An empty key is a new one, which nobody trusts.
func repacked(t *testing.T, version, key string) map[string][]byte {
	t.Helper()
	folder := t.TempDir()
	run := func(args ...string) {
		cmd := exec.Command(site.Built("bin/airgap"), args...)
		cmd.Dir, cmd.Env = folder, append(os.Environ(), "COSIGN_PASSWORD=")
		site.MustOutput(t, cmd)
	}
	if key == "" {
		run("keygen", "--output-key-prefix", "foreign")
		key = "foreign.key"
	}
	spec := "apiVersion: airgap/v1\nkind: Bundle\nmetadata: {name: system, version: " + version + "}\nspec: {platforms: [linux/" + runtime.GOARCH + "], from: [" + site.Built("dist/system.airgap") + "]}\n"
	if err := os.WriteFile(filepath.Join(folder, "bundle.yaml"), []byte(spec), 0o600); err != nil {
		t.Fatal(err)
	}
	run("build", "-f", "bundle.yaml", "-o", "bundle.airgap", "--key", key, "--from-key", site.Built("dist/development.pub"))
	files := map[string][]byte{}
	site.MustOutput(t, exec.Command("tar", append([]string{"-xf", filepath.Join(folder, "bundle.airgap"), "-C", folder}, signedFiles...)...))
	for _, name := range signedFiles {
		data, err := os.ReadFile(filepath.Join(folder, name))
		if err != nil {
			t.Fatal(err)
		}
		files[name] = data
	}
	return files
}

// lastError is the line of an install's output that says why it failed.
func lastError(out string) string {
	said := "nothing"
	for line := range strings.Lines(out) {
		if rest, found := strings.CutPrefix(line, "airgap: "); found {
			said = strings.TrimSpace(rest)
		}
	}
	return said
}

// wantVerified wants every file that is named by a digest to have it.
func wantVerified(t *testing.T, n *site.Node) {
	t.Helper()
	for _, folder := range []string{filepath.Join(n.Paths.DataDir, "bundles/blobs"), filepath.Join(n.Paths.Containerd(), "io.containerd.content.v1.content/blobs/sha256")} {
		err := filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() || len(entry.Name()) != 2*sha256.Size {
				return ignoreMissing(err)
			}
			file, err := os.Open(path)
			if err != nil {
				return err
			}
			defer file.Close()
			sum := sha256.New()
			if _, err := io.Copy(sum, file); err != nil {
				return err
			}
			if got := hex.EncodeToString(sum.Sum(nil)); got != entry.Name() {
				t.Errorf("%s has the SHA-256 %s", path, got)
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	}
}

func ignoreMissing(err error) error {
	if os.IsNotExist(err) {
		return nil
	}
	return err
}
