package controlplane

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"k8s.io/client-go/tools/clientcmd"
	certutil "k8s.io/client-go/util/cert"
	"k8s.io/client-go/util/keyutil"
	kubeconfigutil "k8s.io/kubernetes/cmd/kubeadm/app/util/kubeconfig"
	"k8s.io/kubernetes/cmd/kubeadm/app/util/pkiutil"

	"airgap/internal/atomicfile"
	"airgap/node/config"
)

// Names of files under Paths.TLS and Paths.Cred.
const (
	clusterCA        = "ca"
	frontProxyCA     = "front-proxy-ca"
	apiServerCert    = "apiserver"
	kubeletClient    = "apiserver-kubelet-client"
	frontProxyClient = "front-proxy-client"
	serviceAccount   = "sa"

	encryptionFile     = "encryption-config.yaml"
	controllerConfig   = "controller-manager.kubeconfig"
	schedulerConfig    = "scheduler.kubeconfig"
	adminGroup         = "system:masters"
	nodeClient         = "system-node"
	kubeProxyClient    = "system-kube-proxy"
	kubeletServingCert = "kubelet"
)

// Prepare makes, or renews, every credential that the server needs before it can
// start, and those of the agent beside it. It needs no network and no API server, and
// is idempotent.
func Prepare(cfg *config.Server) error {
	paths := config.PathsOf(cfg.DataDir)
	for _, dir := range []string{paths.Server(), paths.TLS(), paths.Cred(), paths.Manifests(), paths.AgentPKI()} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
	}
	authorities := pki{dir: paths.TLS(), now: time.Now}
	if _, _, err := authorities.authority(clusterCA, "airgap-ca"); err != nil {
		return err
	}
	if _, _, err := authorities.authority(frontProxyCA, "airgap-front-proxy-ca"); err != nil {
		return err
	}
	serving, err := apiServerLeaf(cfg)
	if err != nil {
		return err
	}
	for _, l := range []leaf{
		serving,
		{name: kubeletClient, authority: clusterCA, commonName: "kube-apiserver-kubelet-client", organization: []string{adminGroup}, usages: clientAuth},
		{name: frontProxyClient, authority: frontProxyCA, commonName: "front-proxy-client", usages: clientAuth},
	} {
		if err := authorities.ensure(l); err != nil {
			return err
		}
	}
	if err := authorities.keyPair(serviceAccount); err != nil {
		return err
	}
	if err := ensureEncryption(filepath.Join(paths.Cred(), encryptionFile)); err != nil {
		return err
	}
	for _, k := range []struct{ file, user, group string }{
		{filepath.Join(paths.Cred(), controllerConfig), "system:kube-controller-manager", ""},
		{filepath.Join(paths.Cred(), schedulerConfig), "system:kube-scheduler", ""},
	} {
		if err := ensureKubeconfig(authorities, cfg.URL(), k.file, k.user, k.group, 0o600); err != nil {
			return err
		}
	}
	mode, err := strconv.ParseUint(cfg.KubeconfigMode, 8, 32)
	if err != nil {
		return fmt.Errorf("write-kubeconfig-mode: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(cfg.Kubeconfig), 0o755); err != nil {
		return err
	}
	if err := ensureKubeconfig(authorities, cfg.URL(), cfg.Kubeconfig, "system:admin", adminGroup, os.FileMode(mode)); err != nil {
		return err
	}
	if cfg.DisableAgent {
		return nil
	}
	return prepareAgent(authorities, cfg, paths)
}

// apiServerLeaf names the API server's serving certificate: every name and address by which
// it can be reached.
func apiServerLeaf(cfg *config.Server) (leaf, error) {
	service, err := cfg.FirstServiceAddress()
	if err != nil {
		return leaf{}, err
	}
	l := leaf{
		name: apiServerCert, authority: clusterCA, commonName: "kube-apiserver", usages: serverAuth,
		dnsNames: []string{
			"localhost", cfg.NodeName, "kubernetes", "kubernetes.default", "kubernetes.default.svc",
			"kubernetes.default.svc." + cfg.ClusterDomain,
		},
		addresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback, service.AsSlice()},
	}
	for _, name := range append([]string{cfg.NodeIP, cfg.AdvertiseAddress, cfg.BindAddress}, cfg.TLSSANs...) {
		if ip := net.ParseIP(name); ip != nil {
			if !ip.IsUnspecified() {
				l.addresses = append(l.addresses, ip)
			}
		} else if name != "" {
			l.dnsNames = append(l.dnsNames, name)
		}
	}
	return l, nil
}

// ensureKubeconfig writes a kubeconfig with an embedded client certificate, unless the one
// there is for the same server and its certificate is good for long enough.
func ensureKubeconfig(p pki, server, file, user, group string, mode os.FileMode) error {
	caCert, caKey, err := p.load(clusterCA)
	if err != nil {
		return err
	}
	l := leaf{name: filepath.Base(file), authority: clusterCA, commonName: user, usages: clientAuth}
	if group != "" {
		l.organization = []string{group}
	}
	if old, err := clientcmd.LoadFromFile(file); err == nil {
		if current := old.Contexts[old.CurrentContext]; current != nil {
			auth, cluster := old.AuthInfos[current.AuthInfo], old.Clusters[current.Cluster]
			if auth != nil && cluster != nil && cluster.Server == server &&
				bytes.Equal(cluster.CertificateAuthorityData, pkiutil.EncodeCertPEM(caCert)) {
				if certs, err := certutil.ParseCertsPEM(auth.ClientCertificateData); err == nil && l.matches(certs[0], caCert, p.now()) {
					return os.Chmod(file, mode)
				}
			}
		}
	}
	cert, key, err := p.sign(l, caCert, caKey)
	if err != nil {
		return err
	}
	keyPEM, err := keyutil.MarshalPrivateKeyToPEM(key)
	if err != nil {
		return err
	}
	kubeconfig := kubeconfigutil.CreateWithCerts(server, "airgap", user, pkiutil.EncodeCertPEM(caCert), keyPEM, pkiutil.EncodeCertPEM(cert))
	data, err := clientcmd.Write(*kubeconfig)
	if err != nil {
		return err
	}
	return atomicfile.Write(file, data, mode)
}

// ensureEncryption makes the key that encrypts secrets at rest, once. The API server
// reads the first provider to write and all of them to read.
func ensureEncryption(file string) error {
	if _, err := os.Stat(file); err == nil {
		return nil
	}
	key := make([]byte, 32)
	if _, err := rand.Read(key); err != nil {
		return err
	}
	return atomicfile.Write(file, fmt.Appendf(nil, `apiVersion: apiserver.config.k8s.io/v1
kind: EncryptionConfiguration
resources:
- resources: [secrets]
  providers:
  - secretbox:
      keys:
      - name: key1
        secret: %s
  - identity: {}
`, base64.StdEncoding.EncodeToString(key)), 0o600)
}
