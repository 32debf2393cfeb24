// Package testca makes certificates for tests: an authority of their own, and what it signs.
package testca

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"testing"
	"time"
)

// Authority signs the certificates of a test. It is valid from an hour ago for ten years.
type Authority struct {
	Certificate *x509.Certificate
	PEM         []byte // Certificate's
	Key         *ecdsa.PrivateKey

	t testing.TB
}

// New makes an authority of that name.
func New(t testing.TB, name string) *Authority {
	t.Helper()
	a := &Authority{Key: NewKey(t), t: t}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(10, 0, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, a.Key.Public(), a.Key)
	if err != nil {
		t.Fatal(err)
	}
	if a.Certificate, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	a.PEM = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return a
}

// NewKey makes a key of the kind that all of airgap's certificates have.
func NewKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// Leaf is what a certificate says. It serves as a server's and as a client's.
type Leaf struct {
	Name         string // the subject's common name
	Organization string
	Hosts        []string  // names and IP addresses
	NotBefore    time.Time // an hour ago if zero
	NotAfter     time.Time // in an hour if zero
}

// Sign certifies a key. The certificate is in PEM.
func (a *Authority) Sign(key crypto.PublicKey, l Leaf) []byte {
	a.t.Helper()
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		a.t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: l.Name}, NotBefore: l.NotBefore, NotAfter: l.NotAfter,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if l.Organization != "" {
		template.Subject.Organization = []string{l.Organization}
	}
	if l.NotBefore.IsZero() {
		template.NotBefore = time.Now().Add(-time.Hour)
	}
	if l.NotAfter.IsZero() {
		template.NotAfter = time.Now().Add(time.Hour)
	}
	for _, host := range l.Hosts {
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.Certificate, key, a.Key)
	if err != nil {
		a.t.Error(err) // not Fatal: a server's goroutine may ask
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// Issue certifies a new key.
func (a *Authority) Issue(l Leaf) *tls.Certificate {
	a.t.Helper()
	key := NewKey(a.t)
	block, _ := pem.Decode(a.Sign(key.Public(), l))
	return &tls.Certificate{Certificate: [][]byte{block.Bytes}, PrivateKey: key}
}

// EncodeKey returns a private key as PEM of PKCS #8.
func EncodeKey(t testing.TB, key *ecdsa.PrivateKey) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}
