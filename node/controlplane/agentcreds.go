package controlplane

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	certutil "k8s.io/client-go/util/cert"
	"k8s.io/client-go/util/keyutil"
	kubeconfigutil "k8s.io/kubernetes/cmd/kubeadm/app/util/kubeconfig"
	"k8s.io/kubernetes/cmd/kubeadm/app/util/pkiutil"

	"airgap/internal/atomicfile"
	"airgap/node/config"
)

// prepareAgent makes the credentials of the agent that runs beside this control plane: the
// kubelet's client and serving certificates, the kubeconfigs of kube-proxy and of network policy, and the authority to
// verify the API server by. The kubelet's client certificate is put where its own
// certificate manager keeps it, so that it renews it while running.
func prepareAgent(authorities pki, cfg *config.Server, paths config.Paths) error {
	caCert, caKey, err := authorities.load(clusterCA)
	if err != nil {
		return err
	}
	caPEM := pkiutil.EncodeCertPEM(caCert)
	own := pki{dir: paths.AgentPKI(), now: authorities.now}
	if err := atomicfile.Write(filepath.Join(own.dir, "ca.crt"), caPEM, 0o644); err != nil {
		return err
	}

	serving := leaf{
		name: kubeletServingCert, authority: clusterCA, usages: serverAuth,
		commonName: "system:node:" + cfg.NodeName, organization: []string{"system:nodes"},
		dnsNames: []string{cfg.NodeName, "localhost"}, addresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	for address := range strings.SplitSeq(cfg.NodeIP, ",") {
		if ip := net.ParseIP(address); ip != nil {
			serving.addresses = append(serving.addresses, ip)
		}
	}
	if cert, _, err := own.load(serving.name); err != nil || !serving.matches(cert, caCert, own.now()) {
		cert, key, err := own.sign(serving, caCert, caKey)
		if err != nil {
			return err
		}
		if err := own.save(serving.name, cert, key); err != nil {
			return err
		}
	}

	client := leaf{
		name: nodeClient, commonName: "system:node:" + cfg.NodeName,
		organization: []string{"system:nodes"}, usages: clientAuth,
	}
	current := filepath.Join(own.dir, "kubelet-client-current.pem")
	certs, err := certutil.CertsFromFile(current)
	if err != nil || !client.matches(certs[0], caCert, own.now()) {
		cert, key, err := own.sign(client, caCert, caKey)
		if err != nil {
			return err
		}
		keyPEM, err := keyutil.MarshalPrivateKeyToPEM(key)
		if err != nil {
			return err
		}
		// As the kubelet does it: a dated file, and a link to the newest.
		dated := "kubelet-client-" + own.now().UTC().Format("2006-01-02-15-04-05") + ".pem"
		if err := atomicfile.Write(filepath.Join(own.dir, dated), append(pkiutil.EncodeCertPEM(cert), keyPEM...), 0o600); err != nil {
			return err
		}
		if err := relink(dated, current); err != nil {
			return err
		}
	}
	kubelet := kubeconfigutil.CreateBasic(cfg.URL(), "airgap", client.commonName, caPEM)
	kubelet.AuthInfos[client.commonName] = &clientcmdapi.AuthInfo{ClientCertificate: current, ClientKey: current}
	data, err := clientcmd.Write(*kubelet)
	if err != nil {
		return err
	}
	if err := atomicfile.Write(filepath.Join(own.dir, "kubelet.kubeconfig"), data, 0o600); err != nil {
		return err
	}
	for _, k := range []struct{ file, user string }{
		{"kube-proxy.kubeconfig", "system:kube-proxy"},
		{"network-policy.kubeconfig", networkPolicyUser},
	} {
		if err := ensureKubeconfig(authorities, cfg.URL(), filepath.Join(own.dir, k.file), k.user, "", 0o600); err != nil {
			return err
		}
	}
	return nil
}

// relink makes link point to target, replacing what was there in one step.
func relink(target, link string) error {
	temporary := link + ".new"
	if err := os.Remove(temporary); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Symlink(target, temporary); err != nil {
		return err
	}
	return os.Rename(temporary, link)
}
