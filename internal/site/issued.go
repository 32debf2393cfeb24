package site

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
)

// Check says whether there is, for each of the keys, a certificate of the authorities. What passes can be written over what
// a node has.
func (i Issued) Check(k Keys) error {
	authorities := x509.NewCertPool()
	if !authorities.AppendCertsFromPEM([]byte(i.Authorities)) {
		return errors.New("the server sends no authorities")
	}
	for _, pair := range []struct {
		name, text string
		key        *ecdsa.PrivateKey
	}{
		{"the kubelet", i.Kubelet, k.Kubelet}, {"the kubelet's listener", i.Serving, k.Serving},
		{"kube-proxy", i.Proxy, k.Proxy}, {"network policy", i.NetworkPolicy, k.NetworkPolicy},
	} {
		if pair.key == nil {
			continue
		}
		cert, err := ParseCertificate([]byte(pair.text))
		if err != nil {
			return fmt.Errorf("the server's certificate for %s: %w", pair.name, err)
		}
		if public, ok := cert.PublicKey.(interface{ Equal(crypto.PublicKey) bool }); !ok || !public.Equal(pair.key.Public()) {
			return fmt.Errorf("the server's certificate for %s is for another key", pair.name)
		}
		// The clock is left out, for a machine's may be wrong: in the middle of its life a certificate is good if it ever is.
		middle := cert.NotBefore.Add(cert.NotAfter.Sub(cert.NotBefore) / 2)
		if _, err := cert.Verify(x509.VerifyOptions{
			Roots: authorities, CurrentTime: middle, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
		}); err != nil {
			return fmt.Errorf("the server's certificate for %s: %w", pair.name, err)
		}
	}
	return nil
}

// ParseCertificate reads the first certificate of PEM data.
func ParseCertificate(data []byte) (*x509.Certificate, error) {
	for {
		block, rest := pem.Decode(data)
		if block == nil {
			return nil, errors.New("there is no certificate")
		}
		if block.Type == "CERTIFICATE" {
			return x509.ParseCertificate(block.Bytes)
		}
		data = rest
	}
}
