package pki

import (
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"slices"
	"time"

	certutil "k8s.io/client-go/util/cert"
	kubeadmapi "k8s.io/kubernetes/cmd/kubeadm/app/apis/kubeadm"
	"k8s.io/kubernetes/cmd/kubeadm/app/util/pkiutil"
)

const (
	authorityYears = 10
	// LeafValidity is how long a certificate that is no authority is good for.
	LeafValidity = 365 * 24 * time.Hour
	// renewFraction of a certificate's life is left when it is made anew.
	renewFraction = 3
	// backdate makes certificates valid for peers whose clock is behind.
	backdate = 24 * time.Hour
)

// Issuer signs certificates with the authorities on disk. Its zero value is what a server uses.
type Issuer struct {
	Now      func() time.Time // nil: time.Now
	Validity time.Duration    // of certificates that are no authority; 0: LeafValidity
}

func (i Issuer) now() time.Time {
	if i.Now == nil {
		return time.Now().UTC()
	}
	return i.Now().UTC()
}

func (i Issuer) validity() time.Duration {
	if i.Validity == 0 {
		return LeafValidity
	}
	return i.Validity
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
func (i Issuer) authority(f folder, name, commonName string) error {
	_, _, err := f.load(name)
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	cert, key, err := i.newAuthority(commonName)
	if err != nil {
		return err
	}
	return f.save(name, cert, key)
}

func (i Issuer) newAuthority(commonName string) (*x509.Certificate, crypto.Signer, error) {
	now := i.now()
	cert, key, err := pkiutil.NewCertificateAuthority(&pkiutil.CertConfig{
		Config:              certutil.Config{CommonName: commonName, NotBefore: now.Add(-backdate)},
		NotAfter:            now.AddDate(authorityYears, 0, 0),
		EncryptionAlgorithm: kubeadmapi.EncryptionAlgorithmECDSAP256,
	})
	if err != nil {
		return nil, nil, fmt.Errorf("certificate authority %s: %w", commonName, err)
	}
	return cert, key, nil
}

// ensure makes the certificate l in f if there is none, or if the one there will end soon, was
// signed by another authority, or lacks a name that l has. The authorities are in tls.
func (i Issuer) ensure(tls, f folder, l leaf) error {
	caCert, _, err := tls.load(l.authority)
	if err != nil {
		return err
	}
	if cert, _, err := f.load(l.name); err == nil && l.matches(cert, caCert, i.now()) {
		return nil
	}
	return i.issue(tls, f, l)
}

// issue makes the certificate l in f.
func (i Issuer) issue(tls, f folder, l leaf) error {
	caCert, caKey, err := tls.load(l.authority)
	if err != nil {
		return err
	}
	cert, key, err := i.sign(l, caCert, caKey)
	if err != nil {
		return err
	}
	return f.save(l.name, cert, key)
}

func (i Issuer) sign(l leaf, caCert *x509.Certificate, caKey crypto.Signer) (*x509.Certificate, crypto.Signer, error) {
	cert, key, err := pkiutil.NewCertAndKey(caCert, caKey, i.config(l))
	if err != nil {
		return nil, nil, fmt.Errorf("certificate %s: %w", l.name, err)
	}
	return cert, key, nil
}

// config is what kubeadm's functions are told of a certificate.
func (i Issuer) config(l leaf) *pkiutil.CertConfig {
	now := i.now()
	return &pkiutil.CertConfig{
		Config: certutil.Config{
			CommonName:   l.commonName,
			Organization: l.organization,
			Usages:       l.usages,
			AltNames:     certutil.AltNames{DNSNames: l.dnsNames, IPs: l.addresses},
			NotBefore:    now.Add(-backdate),
		},
		NotAfter:            now.Add(i.validity()),
		EncryptionAlgorithm: kubeadmapi.EncryptionAlgorithmECDSAP256,
	}
}

func (l leaf) matches(cert, ca *x509.Certificate, now time.Time) bool {
	if cert.CheckSignatureFrom(ca) != nil || now.Before(cert.NotBefore) || due(cert, now) {
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

// due says whether a certificate has so little of its life left that it is made anew.
func due(cert *x509.Certificate, now time.Time) bool {
	life := cert.NotAfter.Sub(cert.NotBefore)
	if life > backdate {
		life -= backdate
	}
	return now.Add(life / renewFraction).After(cert.NotAfter)
}
