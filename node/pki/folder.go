package pki

import (
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	certutil "k8s.io/client-go/util/cert"
	"k8s.io/client-go/util/keyutil"
	kubeadmapi "k8s.io/kubernetes/cmd/kubeadm/app/apis/kubeadm"
	"k8s.io/kubernetes/cmd/kubeadm/app/util/pkiutil"

	"airgap/internal/atomicfile"
)

// folder holds certificates and keys, named as kubeadm names them: <name>.crt and <name>.key.
type folder string

func (f folder) cert(name string) string { return filepath.Join(string(f), name+".crt") }
func (f folder) key(name string) string  { return filepath.Join(string(f), name+".key") }

// keyPair makes the key that signs service account tokens: <name>.key and <name>.pub.
func (f folder) keyPair(name string) error {
	if _, err := os.Stat(f.key(name)); err == nil {
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
	if err := atomicfile.Write(filepath.Join(string(f), name+".pub"), public, 0o600); err != nil {
		return err
	}
	return f.saveKey(name, key)
}

func (f folder) load(name string) (*x509.Certificate, crypto.Signer, error) {
	certs, err := certutil.CertsFromFile(f.cert(name))
	if err != nil {
		return nil, nil, fmt.Errorf("certificate %s: %w", name, err)
	}
	key, err := keyutil.PrivateKeyFromFile(f.key(name))
	if err != nil {
		return nil, nil, fmt.Errorf("key %s: %w", name, err)
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, nil, fmt.Errorf("key %s: cannot sign", name)
	}
	if !isKeyOf(signer, certs[0]) {
		return nil, nil, fmt.Errorf("key %s: %w", f.key(name), errNotItsKey)
	}
	return certs[0], signer, nil
}

// errNotItsKey is a pair of files of which one is older: a power cut came between them.
var errNotItsKey = errors.New("is not the key of the certificate beside it")

func isKeyOf(key crypto.Signer, cert *x509.Certificate) bool {
	public, ok := cert.PublicKey.(interface{ Equal(crypto.PublicKey) bool })
	return ok && public.Equal(key.Public())
}

// save writes the key first: a certificate without its key would be believed to be whole.
func (f folder) save(name string, cert *x509.Certificate, key crypto.Signer) error {
	if err := f.saveKey(name, key); err != nil {
		return err
	}
	return atomicfile.Write(f.cert(name), pkiutil.EncodeCertPEM(cert), 0o644)
}

func (f folder) saveKey(name string, key crypto.Signer) error {
	data, err := keyutil.MarshalPrivateKeyToPEM(key)
	if err != nil {
		return fmt.Errorf("key %s: %w", name, err)
	}
	return atomicfile.Write(f.key(name), data, 0o600)
}

// writeChanged writes a file unless it holds data already: what watches it would reload.
func writeChanged(file string, data []byte, mode fs.FileMode) error {
	if current, err := os.ReadFile(file); err == nil && string(current) == string(data) {
		return os.Chmod(file, mode)
	}
	return atomicfile.Write(file, data, mode)
}
