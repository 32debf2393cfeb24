package renewal

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"os"

	"airgap/internal/atomicfile"
	"airgap/internal/site"
)

// pair is a certificate and its key in two files, and where both are in what goes between node and server.
type pair struct {
	name   string
	key    func(*site.Keys) **ecdsa.PrivateKey
	issued func(*site.Issued) string
}

var pairs = []pair{
	{site.FileServing, func(k *site.Keys) **ecdsa.PrivateKey { return &k.Serving }, func(i *site.Issued) string { return i.Serving }},
	{site.FileProxy, func(k *site.Keys) **ecdsa.PrivateKey { return &k.Proxy }, func(i *site.Issued) string { return i.Proxy }},
	{site.FileNetworkPolicy, func(k *site.Keys) **ecdsa.PrivateKey { return &k.NetworkPolicy }, func(i *site.Issued) string { return i.NetworkPolicy }},
}

// load reads a pair; nil if it is not whole.
func load(certFile, keyFile string) (*x509.Certificate, *ecdsa.PrivateKey) {
	if loaded, err := tls.LoadX509KeyPair(certFile, keyFile); err == nil {
		cert, err := x509.ParseCertificate(loaded.Certificate[0])
		key, ok := loaded.PrivateKey.(*ecdsa.PrivateKey)
		if err == nil && ok {
			return cert, key
		}
	}
	return nil, nil
}

// due are the keys of the certificates that are to be renewed, made anew where there is no whole pair.
func (k *Keeper) due() (keys site.Keys, err error) {
	for _, p := range pairs {
		cert, key := load(k.path(p.name+".crt"), k.path(p.name+".key"))
		if cert != nil && !k.ends(cert) && (p.name != site.FileServing || k.hasAddresses(cert)) {
			continue
		}
		if *p.key(&keys), err = orNew(key); err != nil {
			return keys, err
		}
	}
	return keys, nil
}

// keys are all keys, the kubelet's own too.
func (k *Keeper) keys() (keys site.Keys, err error) {
	for _, p := range pairs {
		_, key := load(k.path(p.name+".crt"), k.path(p.name+".key"))
		if *p.key(&keys), err = orNew(key); err != nil {
			return keys, err
		}
	}
	file := k.path(site.FileKubelet)
	_, key := load(file, file)
	keys.Kubelet, err = orNew(key)
	return keys, err
}

func orNew(key *ecdsa.PrivateKey) (*ecdsa.PrivateKey, error) {
	if key != nil {
		return key, nil
	}
	return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
}

// ends says whether so little of a certificate's life is left that it is renewed.
func (k *Keeper) ends(cert *x509.Certificate) bool {
	life := cert.NotAfter.Sub(cert.NotBefore)
	if life > backdate {
		life -= backdate
	}
	return k.now().Add(life / lifeFraction).After(cert.NotAfter)
}

// hasAddresses says whether a certificate is good for all of the node's addresses.
func (k *Keeper) hasAddresses(cert *x509.Certificate) bool {
	for _, address := range k.Addresses {
		if cert.VerifyHostname(address.String()) != nil {
			return false
		}
	}
	return true
}

// save writes what was issued for keys.
func (k *Keeper) save(keys site.Keys, issued *site.Issued) error {
	for _, p := range pairs {
		key := *p.key(&keys)
		if key == nil {
			continue
		}
		if err := k.saveKey(p.name+".key", key); err != nil {
			return err
		}
		if err := atomicfile.Write(k.path(p.name+".crt"), []byte(p.issued(issued)), 0o644); err != nil {
			return err
		}
	}
	if keys.Kubelet == nil {
		return nil
	}
	data, err := site.EncodeKey(keys.Kubelet)
	if err != nil {
		return err
	}
	return site.SaveKubelet(k.Dir, append([]byte(issued.Kubelet), data...))
}

// saveKey writes a key unless the file has it already.
func (k *Keeper) saveKey(name string, key *ecdsa.PrivateKey) error {
	data, err := site.EncodeKey(key)
	if err != nil {
		return err
	}
	if current, err := os.ReadFile(k.path(name)); err == nil && bytes.Equal(current, data) {
		return nil
	}
	return atomicfile.Write(k.path(name), data, 0o600)
}
