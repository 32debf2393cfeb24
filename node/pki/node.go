package pki

import (
	"crypto"
	"errors"
	"fmt"
	"io"
	"net"
	"os"

	"k8s.io/kubernetes/cmd/kubeadm/app/util/pkiutil"

	"airgap/internal/site"
	"airgap/node/config"
)

// Node is what the certificates of a node say of it.
type Node struct {
	Name      string
	Addresses []net.IP // in its serving certificate, beside loopback
}

// nodeCertificates are the four certificates of a node, whoever holds its keys.
type nodeCertificates struct{ kubelet, serving, proxy, policies leaf }

func (n Node) certificates() nodeCertificates {
	return nodeCertificates{
		kubelet: leaf{
			name: "kubelet-client", authority: ClusterCA, commonName: site.NodeUserPrefix + n.Name,
			organization: []string{site.NodesGroup}, usages: clientAuth,
		},
		serving: leaf{
			name: kubeletServing, authority: ClusterCA, usages: serverAuth,
			commonName: site.NodeUserPrefix + n.Name, organization: []string{site.NodesGroup},
			dnsNames: []string{n.Name, "localhost"}, addresses: append([]net.IP{net.IPv4(127, 0, 0, 1)}, n.Addresses...),
		},
		proxy:    leaf{name: kubeProxy, authority: ClusterCA, commonName: "system:kube-proxy", usages: clientAuth},
		policies: leaf{name: networkPolicy, authority: ClusterCA, commonName: NetworkPolicyUser, usages: clientAuth},
	}
}

// NodeKeys are the public keys that a node wants certificates for; nil for none.
type NodeKeys struct {
	Kubelet, Serving, Proxy, NetworkPolicy crypto.PublicKey
}

// IssueNode signs certificates for the keys of a node on another machine. What they say, names and uses, is the
// server's choice alone.
func (i Issuer) IssueNode(paths config.Paths, n Node, keys NodeKeys) (site.Issued, error) {
	unlock, err := lock(paths) // a rotation replaces certificate and key of the authority one after the other
	if err != nil {
		return site.Issued{}, err
	}
	defer unlock()
	tls := folder(paths.TLS())
	caCert, caKey, err := tls.load(ClusterCA)
	if err != nil {
		return site.Issued{}, err
	}
	bundle, err := os.ReadFile(tls.cert(ClusterCABundle))
	if err != nil {
		return site.Issued{}, err
	}
	issued := site.Issued{Authorities: string(bundle)}
	leaves := n.certificates()
	for _, c := range []struct {
		leaf leaf
		key  crypto.PublicKey
		text *string
	}{
		{leaves.kubelet, keys.Kubelet, &issued.Kubelet}, {leaves.serving, keys.Serving, &issued.Serving},
		{leaves.proxy, keys.Proxy, &issued.Proxy}, {leaves.policies, keys.NetworkPolicy, &issued.NetworkPolicy},
	} {
		if c.key == nil {
			continue
		}
		cert, err := pkiutil.NewSignedCert(i.config(c.leaf), elsewhere{c.key}, caCert, caKey, false)
		if err != nil {
			return site.Issued{}, fmt.Errorf("certificate %s of node %s: %w", c.leaf.name, n.Name, err)
		}
		*c.text = string(pkiutil.EncodeCertPEM(cert))
	}
	return issued, nil
}

// elsewhere is a key whose private half another machine has: all that signing a certificate for it needs is the public one.
type elsewhere struct{ public crypto.PublicKey }

func (e elsewhere) Public() crypto.PublicKey { return e.public }

func (elsewhere) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) {
	return nil, errors.New("this key is on another machine")
}

// ServingNames are the names and addresses by which clients know the API server: a node that had one of them in
// a certificate could pass for it.
func ServingNames(cfg *config.Server) (names []string, addresses []net.IP, err error) {
	l, err := apiServerLeaf(cfg)
	return l.dnsNames, l.addresses, err
}
