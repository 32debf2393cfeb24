package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"

	"airgap/test/site"
)

// podinfoImage is in the demo bundle; the registry in its name does not exist.
const podinfoImage = "localhost:5000/podinfo:6.9.2"

// testImages pulls, with no network: what the node holds, what a registry on the site's LAN has, and what nobody has.
func testImages(t *testing.T, s *node) {
	digest := strings.TrimPrefix(s.Kubectl("-n", "demo", "get", "pods", "-o", "jsonpath={.items[0].status.containerStatuses[0].imageID}"), "localhost:5000/podinfo@")
	if !strings.HasPrefix(digest, "sha256:") {
		t.Fatalf("podinfo's digest is %q", digest)
	}
	t.Run("imagePullPolicy Always needs no network", func(t *testing.T) {
		for name, image := range map[string]string{
			"by-tag": podinfoImage, "by-digest": "localhost:5000/podinfo@" + digest, "by-both": podinfoImage + "@" + digest,
		} {
			s.runPod(t, name, image)
			if events := s.Kubectl("get", "events", "--field-selector", "involvedObject.name="+name); !strings.Contains(events, "Successfully pulled") {
				t.Errorf("%s was not pulled:\n%s", name, events)
			}
		}
	})
	t.Run("what a bundle brought stays pinned when it is pulled", func(t *testing.T) {
		site.Eventually(t, 10*time.Second, func() error {
			out := s.Airgap("ctr", "images", "ls", "name=="+podinfoImage)
			if !strings.Contains(out, "io.cri-containerd.pinned=pinned") {
				return fmt.Errorf("the pin is gone:\n%s", out)
			}
			return nil
		})
	})
	t.Run("a registry on the LAN", func(t *testing.T) { testLANRegistry(t, s) })
	t.Run("what nobody has fails at once and says why", func(t *testing.T) {
		began := time.Now()
		out, err := s.Command("crictl", "pull", "docker.io/library/absent:1").CombinedOutput()
		took := time.Since(began)
		if err == nil || !strings.Contains(string(out), "this node does not hold docker.io/library/absent:1") {
			t.Errorf("crictl pull: %v\n%s", err, out)
		}
		if took > 2*time.Second {
			t.Errorf("it took %s", took)
		}
		t.Logf("after %s: %s", took.Round(time.Millisecond), out)
		s.Kubectl("run", "absent", "--image=docker.io/library/absent:1", "--restart=Never")
		site.Eventually(t, 10*time.Second, func() error {
			return s.KubectlContains("this node does not hold", "get", "events", "--field-selector", "involvedObject.name=absent,reason=Failed", "-o", "jsonpath={.items[*].message}")
		})
		s.Kubectl("delete", "pod", "absent", "--wait=false")
	})
	t.Run("the mirror lets in containerd alone", func(t *testing.T) {
		inside := []string{"--net=/run/netns/" + s.Namespace, "curl", "-sk", "-o", "/dev/null", "-w", "%{http_code}", "https://127.0.0.1:6445/v2/"}
		if out, err := exec.Command("nsenter", inside...).Output(); err == nil {
			t.Errorf("a stranger got %s", out)
		}
		folder := filepath.Join(s.Paths.DataDir, "agent/etc/containerd/certs.d")
		out := host(t, "nsenter", append(inside, "--cacert", folder+"/ca.pem", "--cert", folder+"/client.pem")...)
		if out != "200" {
			t.Errorf("containerd's credentials got %s", out)
		}
	})
}

// runPod starts a pod that pulls always, waits until it runs, and removes it.
func (s *node) runPod(t *testing.T, name, image string) {
	t.Helper()
	s.Kubectl("run", name, "--image="+image, "--image-pull-policy=Always", "--restart=Never")
	s.Kubectl("wait", "--for=condition=Ready", "pod/"+name, "--timeout=60s")
	s.Kubectl("delete", "pod", name, "--wait=false", "--grace-period=1")
}

// testLANRegistry pulls from a real registry with TLS and passwords, by rewritten names.
func testLANRegistry(t *testing.T, s *node) {
	dir := t.TempDir()
	address := s.IP + ":5443"
	certificate(t, dir, s.IP)
	hash, err := bcrypt.GenerateFromPassword([]byte("secret"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "htpasswd"), "reader:"+string(hash)+"\n")
	write(t, filepath.Join(dir, "config.yml"), fmt.Sprintf(`version: 0.1
log: {level: error}
storage: {filesystem: {rootdirectory: %[1]s/data}}
http: {addr: "%[2]s", tls: {certificate: %[1]s/ca.crt, key: %[1]s/key.pem}}
auth: {htpasswd: {realm: site, path: %[1]s/htpasswd}}
`, dir, address))
	inside := func(args ...string) *exec.Cmd {
		return exec.Command("nsenter", append([]string{"--net=/run/netns/" + s.Namespace}, args...)...)
	}
	server := inside("docker-registry", "serve", filepath.Join(dir, "config.yml"))
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = server.Process.Kill(); _ = server.Wait() }()
	site.Eventually(t, 20*time.Second, func() error {
		out, err := inside("skopeo", "copy", "-q", "--dest-creds", "reader:secret", "--dest-cert-dir", dir,
			"oci:"+site.Built("build/podinfo/image")+":localhost:5000/podinfo:6.9.2", "docker://"+address+"/mirrored/podinfo:lan").CombinedOutput()
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	})

	// The node reads the changed file by itself.
	registries := strings.NewReplacer("ADDRESS", address, "DIR", dir).Replace(`mirrors:
  docker.io:
    endpoint: ["https://ADDRESS"]
    rewrite: {"^team/(.*)$": "mirrored/$1"}
configs:
  "ADDRESS":
    auth: {username: reader, password: secret}
    tls: {ca_file: DIR/ca.crt}
`)
	file := filepath.Join(s.Paths.DataDir, "registries.yaml")
	write(t, file, registries)
	defer os.Remove(file)
	s.runPod(t, "from-lan", "docker.io/team/podinfo:lan")

	write(t, file, strings.Replace(registries, "    auth: {username: reader, password: secret}\n", "", 1))
	s.Kubectl("run", "denied", "--image=docker.io/team/podinfo:other", "--restart=Never")
	site.Eventually(t, patience, func() error {
		return s.KubectlContains("authoriz", "get", "events", "--field-selector", "involvedObject.name=denied,reason=Failed", "-o", "jsonpath={.items[*].message}")
	})
	s.Kubectl("delete", "pod", "denied", "--wait=false")

	t.Run("by a pod's pull secret", func(t *testing.T) {
		s.Command("crictl", "rmi", "docker.io/team/podinfo:lan").Run()
		s.Kubectl("create", "secret", "docker-registry", "reader", "--docker-server=https://index.docker.io/v1/", "--docker-username=reader", "--docker-password=secret")
		s.Kubectl("run", "by-secret", "--image=docker.io/team/podinfo:lan", "--image-pull-policy=Always", "--restart=Never",
			`--overrides={"spec":{"imagePullSecrets":[{"name":"reader"}]}}`)
		s.Kubectl("wait", "--for=condition=Ready", "pod/by-secret", "--timeout=60s")
		s.Kubectl("delete", "pod", "by-secret", "--wait=false", "--grace-period=1")
	})
}

// certificate writes ca.crt and key.pem: a certificate of an address that signs itself.
func certificate(t *testing.T, dir, address string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "registry of the site"}, IPAddresses: []net.IP{net.ParseIP(address)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "ca.crt"), string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	write(t, filepath.Join(dir, "key.pem"), string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: secret})))
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
