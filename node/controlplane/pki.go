package controlplane

import (
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"

	certutil "k8s.io/client-go/util/cert"
	"k8s.io/client-go/util/keyutil"
	kubeadmapi "k8s.io/kubernetes/cmd/kubeadm/app/apis/kubeadm"
	"k8s.io/kubernetes/cmd/kubeadm/app/util/pkiutil"

	"airgap/internal/atomicfile"
)

const (
	authorityYears = 10
	leafValidity   = 365 * 24 * time.Hour
	// renewBefore is how long before its end a certificate is replaced at a start.
	renewBefore = 120 * 24 * time.Hour
	// backdate makes certificates valid for peers whose clock is behind.
	backdate = 24 * time.Hour
)

// pki is a folder of certificate authorities and the certificates they sign. Files are
// named as kubeadm names them: <name>.crt and <name>.key.
type pki struct {
	dir string
	now func() time.Time
}

// leaf describes one certificate.
type leaf struct {
	name         string // base name of its files, relative to the folder
	authority    string // base name of the authority that signs it
	commonName   string
	organization []string
	usages       []x509.ExtKeyUsage
	dnsNames     []string
	addresses    []net.IP
}

var (
	clientAuth = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	serverAuth = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
)

// authority loads the certificate authority of that name, and makes it if it does not exist.
func (p pki) authority(name, commonName string) (*x509.Certificate, crypto.Signer, error) {
	cert, key, err := p.load(name)
	if err == nil {
		return cert, key, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, nil, err
	}
	now := p.now().UTC()
	cert, key, err = pkiutil.NewCertificateAuthority(&pkiutil.CertConfig{
		Config:              certutil.Config{CommonName: commonName, NotBefore: now.Add(-backdate)},
		NotAfter:            now.AddDate(authorityYears, 0, 0),
		EncryptionAlgorithm: kubeadmapi.EncryptionAlgorithmECDSAP256,
	})
	if err != nil {
		return nil, nil, fmt.Errorf("certificate authority %s: %w", name, err)
	}
	return cert, key, p.save(name, cert, key)
}

// ensure makes the certificate l if there is none, or if the one there will end soon, was
// signed by another authority, or lacks a name that l has.
func (p pki) ensure(l leaf) error {
	caCert, caKey, err := p.load(l.authority)
	if err != nil {
		return err
	}
	if cert, _, err := p.load(l.name); err == nil && l.matches(cert, caCert, p.now()) {
		return nil
	}
	cert, key, err := p.sign(l, caCert, caKey)
	if err != nil {
		return err
	}
	return p.save(l.name, cert, key)
}

func (p pki) sign(l leaf, caCert *x509.Certificate, caKey crypto.Signer) (*x509.Certificate, crypto.Signer, error) {
	now := p.now().UTC()
	cert, key, err := pkiutil.NewCertAndKey(caCert, caKey, &pkiutil.CertConfig{
		Config: certutil.Config{
			CommonName:   l.commonName,
			Organization: l.organization,
			Usages:       l.usages,
			AltNames:     certutil.AltNames{DNSNames: l.dnsNames, IPs: l.addresses},
			NotBefore:    now.Add(-backdate),
		},
		NotAfter:            now.Add(leafValidity),
		EncryptionAlgorithm: kubeadmapi.EncryptionAlgorithmECDSAP256,
	})
	if err != nil {
		return nil, nil, fmt.Errorf("certificate %s: %w", l.name, err)
	}
	return cert, key, nil
}

func (l leaf) matches(cert, ca *x509.Certificate, now time.Time) bool {
	if cert.CheckSignatureFrom(ca) != nil || now.Before(cert.NotBefore) || now.Add(renewBefore).After(cert.NotAfter) {
		return false
	}
	if cert.Subject.CommonName != l.commonName || !slices.Equal(cert.Subject.Organization, l.organization) {
		return false
	}
	for _, name := range l.dnsNames {
		if !slices.Contains(cert.DNSNames, name) {
			return false
		}
	}
	for _, address := range l.addresses {
		if !slices.ContainsFunc(cert.IPAddresses, address.Equal) {
			return false
		}
	}
	return true
}

// keyPair makes the key that signs service account tokens: <name>.key and <name>.pub.
func (p pki) keyPair(name string) error {
	if _, err := os.Stat(filepath.Join(p.dir, name+".key")); err == nil {
		return nil
	}
	key, err := pkiutil.GeneratePrivateKey(kubeadmapi.EncryptionAlgorithmECDSAP256)
	if err != nil {
		return err
	}
	public, err := pkiutil.EncodePublicKeyPEM(key.Public())
	if err != nil {
		return err
	}
	if err := atomicfile.Write(filepath.Join(p.dir, name+".pub"), public, 0o600); err != nil {
		return err
	}
	return p.saveKey(name, key)
}

func (p pki) load(name string) (*x509.Certificate, crypto.Signer, error) {
	certs, err := certutil.CertsFromFile(filepath.Join(p.dir, name+".crt"))
	if err != nil {
		return nil, nil, fmt.Errorf("certificate %s: %w", name, err)
	}
	key, err := keyutil.PrivateKeyFromFile(filepath.Join(p.dir, name+".key"))
	if err != nil {
		return nil, nil, fmt.Errorf("key %s: %w", name, err)
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, nil, fmt.Errorf("key %s: cannot sign", name)
	}
	return certs[0], signer, nil
}

// save writes the key first: a certificate without its key would be believed to be whole.
func (p pki) save(name string, cert *x509.Certificate, key crypto.Signer) error {
	if err := p.saveKey(name, key); err != nil {
		return err
	}
	return atomicfile.Write(filepath.Join(p.dir, name+".crt"), pkiutil.EncodeCertPEM(cert), 0o644)
}

func (p pki) saveKey(name string, key crypto.Signer) error {
	data, err := keyutil.MarshalPrivateKeyToPEM(key)
	if err != nil {
		return fmt.Errorf("key %s: %w", name, err)
	}
	return atomicfile.Write(filepath.Join(p.dir, name+".key"), data, 0o600)
}
