package pki

import (
	"net"
	"os"
	"path/filepath"
	"strings"

	certutil "k8s.io/client-go/util/cert"
	"k8s.io/client-go/util/keyutil"
	"k8s.io/kubernetes/cmd/kubeadm/app/util/pkiutil"

	"airgap/internal/atomicfile"
	"airgap/node/config"
)

// kubeletCurrent is where the kubelet's own certificate manager keeps its client certificate, with its
// key in the same file: a link to the newest of several.
const kubeletCurrent = "kubelet-client-current.pem"

// NetworkPolicyUser is whom nodes enforce policies as. The kubelet's own identity may not see the
// pods of other nodes, which are peers in policies.
const NetworkPolicyUser = "airgap:network-policy"

// prepareAgent makes the credentials of the agent that runs beside this control plane: the
// kubelet's client and serving certificates, those of kube-proxy and of network policy, their kubeconfigs, and the
// authorities to verify the API server by. The kubelet renews its client certificate by itself from then on.
func (i Issuer) prepareAgent(cfg *config.Server, paths config.Paths) error {
	tls, own := folder(paths.TLS()), folder(paths.AgentPKI())
	bundle, err := os.ReadFile(tls.cert(ClusterCABundle))
	if err != nil {
		return err
	}
	if err := writeChanged(own.cert(agentCA), bundle, 0o644); err != nil {
		return err
	}
	node := Node{Name: cfg.NodeName}
	for address := range strings.SplitSeq(cfg.NodeIP, ",") {
		if ip := net.ParseIP(address); ip != nil {
			node.Addresses = append(node.Addresses, ip)
		}
	}
	leaves := node.certificates()
	for _, l := range []leaf{leaves.serving, leaves.proxy, leaves.policies} {
		if err := i.ensure(tls, own, l); err != nil {
			return err
		}
	}
	current := filepath.Join(paths.AgentPKI(), kubeletCurrent)
	if err := i.ensureKubelet(tls, current, leaves.kubelet); err != nil {
		return err
	}
	return WriteAgentKubeconfigs(paths, cfg.URL())
}

// WriteAgentKubeconfigs writes the kubeconfigs of the kubelet, kube-proxy and network policy, which reach the API server at
// server, "https://address:port", with the credentials in the agent's folder.
func WriteAgentKubeconfigs(paths config.Paths, server string) error {
	own, current := folder(paths.AgentPKI()), filepath.Join(paths.AgentPKI(), kubeletCurrent)
	if err := writeKubeconfig(filepath.Join(string(own), "kubelet.kubeconfig"), server, own.cert(agentCA), current, current); err != nil {
		return err
	}
	for _, name := range []string{kubeProxy, networkPolicy} {
		if err := writeKubeconfig(filepath.Join(string(own), name+".kubeconfig"), server, own.cert(agentCA), own.cert(name), own.key(name)); err != nil {
			return err
		}
	}
	return nil
}

// ensureKubelet is ensure for the file that the kubelet's certificate manager keeps.
func (i Issuer) ensureKubelet(tls folder, current string, l leaf) error {
	caCert, _, err := tls.load(l.authority)
	if err != nil {
		return err
	}
	if certs, err := certutil.CertsFromFile(current); err == nil && l.matches(certs[0], caCert, i.now()) {
		return nil
	}
	return i.issueKubelet(tls, current, l)
}

func (i Issuer) issueKubelet(tls folder, current string, l leaf) error {
	caCert, caKey, err := tls.load(l.authority)
	if err != nil {
		return err
	}
	cert, key, err := i.sign(l, caCert, caKey)
	if err != nil {
		return err
	}
	keyPEM, err := keyutil.MarshalPrivateKeyToPEM(key)
	if err != nil {
		return err
	}
	// As the kubelet does it: a dated file, and a link to the newest.
	dated := l.name + "-" + i.now().Format("2006-01-02-15-04-05") + ".pem"
	if err := atomicfile.Write(filepath.Join(filepath.Dir(current), dated), append(pkiutil.EncodeCertPEM(cert), keyPEM...), 0o600); err != nil {
		return err
	}
	return atomicfile.Link(dated, current)
}
