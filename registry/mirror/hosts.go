package mirror

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"

	"airgap/internal/atomicfile"
)

// Address is where a mirror listens: loopback, for its own node's containerd alone.
func Address(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) }

// Files under containerd's folder of registries that [WriteHosts] makes.
const (
	authorityFile = "ca.pem"
	clientFile    = "client.pem" // certificate and key
)

// WriteHosts makes the folder that containerd's config_path names: the mirror at address as the only host of every
// registry, with new credentials for both sides. It returns the mirror's side, which lets in only who
// has the key in that folder.
//
// The credentials last as long as the mirror's process, whose memory alone holds the
// authority's key, and are made anew at its start. So they need no renewal, and they are valid at any
// time: a clock that is wrong by years does not stop pulls.
func WriteHosts(folder, address string) (*tls.Config, error) {
	defaults := filepath.Join(folder, "_default")
	if err := os.MkdirAll(defaults, 0o700); err != nil {
		return nil, err
	}
	authority, err := newAuthority()
	if err != nil {
		return nil, fmt.Errorf("credentials of the image mirror: %w", err)
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("address of the image mirror: %w", err)
	}
	server, err := authority.issue("airgap-image-mirror", x509.ExtKeyUsageServerAuth, net.ParseIP(host))
	if err != nil {
		return nil, fmt.Errorf("credentials of the image mirror: %w", err)
	}
	client, err := authority.issue("containerd", x509.ExtKeyUsageClientAuth, nil)
	if err != nil {
		return nil, fmt.Errorf("credentials of the image mirror: %w", err)
	}
	pair, err := tls.X509KeyPair(server, server)
	if err != nil {
		return nil, fmt.Errorf("credentials of the image mirror: %w", err)
	}
	hosts := fmt.Appendf(nil, "# Made at each start. Mirrors and credentials belong in registries.yaml.\nserver = %q\ncapabilities = [\"pull\", \"resolve\", \"referrers\"]\nca = %q\nclient = %q\n",
		"https://"+address, filepath.Join(folder, authorityFile), filepath.Join(folder, clientFile))
	for _, file := range []struct {
		path string
		data []byte
	}{
		{filepath.Join(folder, authorityFile), authority.pem},
		{filepath.Join(folder, clientFile), client},
		{filepath.Join(defaults, "hosts.toml"), hosts},
	} {
		if err := atomicfile.Write(file.path, file.data, 0o600); err != nil {
			return nil, err
		}
	}
	pool := x509.NewCertPool()
	pool.AddCert(authority.certificate)
	return &tls.Config{
		MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{pair},
		ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool,
	}, nil
}

// authority signs the credentials of one run.
type authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
	pem         []byte
}

// always is a validity that no clock is outside of.
var always = struct{ from, to time.Time }{time.Unix(0, 0), time.Date(2199, 1, 1, 0, 0, 0, 0, time.UTC)}

func newAuthority() (*authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "airgap-image-mirror-ca"},
		NotBefore: always.from, NotAfter: always.to,
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &authority{certificate, key, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})}, nil
}

// issue returns a certificate and its key, in PEM. A server's is for its address.
func (a *authority) issue(name string, usage x509.ExtKeyUsage, address net.IP) ([]byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name},
		NotBefore: always.from, NotAfter: always.to,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{usage},
	}
	if address != nil {
		template.IPAddresses = []net.IP{address}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.certificate, key.Public(), a.key)
	if err != nil {
		return nil, err
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})...), nil
}
