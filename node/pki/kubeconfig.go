package pki

import (
	"bytes"
	"os"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	certutil "k8s.io/client-go/util/cert"
	"k8s.io/client-go/util/keyutil"
	kubeconfigutil "k8s.io/kubernetes/cmd/kubeadm/app/util/kubeconfig"
	"k8s.io/kubernetes/cmd/kubeadm/app/util/pkiutil"

	"airgap/internal/atomicfile"
	"airgap/node/config"
)

const (
	clusterName = "airgap"
	adminUser   = "system:admin"
)

// writeKubeconfig writes a kubeconfig that names the files of the authority, the certificate and the
// key. client-go reads them anew while it runs only if none of them is embedded.
func writeKubeconfig(file, server, caFile, certFile, keyFile string) error {
	const user = "client"
	kubeconfig := clientcmdapi.NewConfig()
	kubeconfig.Clusters[clusterName] = &clientcmdapi.Cluster{Server: server, CertificateAuthority: caFile}
	kubeconfig.AuthInfos[user] = &clientcmdapi.AuthInfo{ClientCertificate: certFile, ClientKey: keyFile}
	kubeconfig.Contexts[clusterName] = &clientcmdapi.Context{Cluster: clusterName, AuthInfo: user}
	kubeconfig.CurrentContext = clusterName
	data, err := clientcmd.Write(*kubeconfig)
	if err != nil {
		return err
	}
	return writeChanged(file, data, 0o600)
}

// adminLeaf is the administrator's certificate.
func adminLeaf() leaf {
	return leaf{name: "admin", authority: ClusterCA, commonName: adminUser, organization: []string{adminGroup}, usages: clientAuth}
}

// ensureAdmin writes the administrator's kubeconfig, complete in itself so that it can be carried to another
// machine, unless the one there is for the same server and authorities and its certificate is good for long enough.
func (i Issuer) ensureAdmin(paths config.Paths, server, file string, mode os.FileMode) error {
	caCert, _, err := folder(paths.TLS()).load(ClusterCA)
	if err != nil {
		return err
	}
	bundle, err := os.ReadFile(folder(paths.TLS()).cert(ClusterCABundle))
	if err != nil {
		return err
	}
	if cluster, auth, err := readKubeconfig(file); err == nil && cluster.Server == server && bytes.Equal(cluster.CertificateAuthorityData, bundle) {
		if certs, err := certutil.ParseCertsPEM(auth.ClientCertificateData); err == nil && adminLeaf().matches(certs[0], caCert, i.now()) {
			return os.Chmod(file, mode)
		}
	}
	return i.writeAdmin(paths, server, file, mode)
}

func (i Issuer) writeAdmin(paths config.Paths, server, file string, mode os.FileMode) error {
	caCert, caKey, err := folder(paths.TLS()).load(ClusterCA)
	if err != nil {
		return err
	}
	bundle, err := os.ReadFile(folder(paths.TLS()).cert(ClusterCABundle))
	if err != nil {
		return err
	}
	cert, key, err := i.sign(adminLeaf(), caCert, caKey)
	if err != nil {
		return err
	}
	keyPEM, err := keyutil.MarshalPrivateKeyToPEM(key)
	if err != nil {
		return err
	}
	kubeconfig := kubeconfigutil.CreateWithCerts(server, clusterName, adminUser, bundle, keyPEM, pkiutil.EncodeCertPEM(cert))
	data, err := clientcmd.Write(*kubeconfig)
	if err != nil {
		return err
	}
	return atomicfile.Write(file, data, mode)
}

// readKubeconfig returns what the current context of a kubeconfig is about.
func readKubeconfig(file string) (*clientcmdapi.Cluster, *clientcmdapi.AuthInfo, error) {
	kubeconfig, err := clientcmd.LoadFromFile(file)
	if err != nil {
		return nil, nil, err
	}
	if current := kubeconfig.Contexts[kubeconfig.CurrentContext]; current != nil {
		cluster, auth := kubeconfig.Clusters[current.Cluster], kubeconfig.AuthInfos[current.AuthInfo]
		if cluster != nil && auth != nil {
			return cluster, auth, nil
		}
	}
	return nil, nil, clientcmd.NewEmptyConfigError(file + ": has no current context")
}
