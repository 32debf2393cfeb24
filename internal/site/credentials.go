package site

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"airgap/internal/atomicfile"
)

// Names of the files of a node's credentials, in its folder agent/pki.
const (
	FileAuthorities   = "ca.crt"
	FileKubelet       = "kubelet-client-current.pem" // certificate and key; from the first start on the kubelet keeps it
	FileServing       = "kubelet"                    // and .crt, .key, as the next two
	FileProxy         = "kube-proxy"
	FileNetworkPolicy = "network-policy"
	FilePassword      = "node-password"
	FileCluster       = "cluster.json"
)

// Keys are the private keys of a node.
type Keys struct {
	Kubelet, Serving, Proxy, NetworkPolicy *ecdsa.PrivateKey
}

// NewKeys makes them.
func NewKeys() (k Keys, err error) {
	for _, key := range []**ecdsa.PrivateKey{&k.Kubelet, &k.Serving, &k.Proxy, &k.NetworkPolicy} {
		if *key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
			return Keys{}, err
		}
	}
	return k, nil
}

// Public are the keys' other halves; none for a key that is nil.
func (k Keys) Public() (p PublicKeys, err error) {
	for _, pair := range []struct {
		key  *ecdsa.PrivateKey
		text *string
	}{{k.Kubelet, &p.Kubelet}, {k.Serving, &p.Serving}, {k.Proxy, &p.Proxy}, {k.NetworkPolicy, &p.NetworkPolicy}} {
		if pair.key == nil {
			continue
		}
		der, err := x509.MarshalPKIXPublicKey(pair.key.Public())
		if err != nil {
			return PublicKeys{}, err
		}
		*pair.text = string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
	}
	return p, nil
}

// ParsePublicKey reads a key of [PublicKeys].
func ParsePublicKey(text string) (crypto.PublicKey, error) {
	block, rest := pem.Decode([]byte(text))
	if block == nil || block.Type != "PUBLIC KEY" || len(rest) > 0 {
		return nil, errors.New("not one PUBLIC KEY block of PEM")
	}
	key, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	if _, ok := key.(*ecdsa.PublicKey); !ok {
		return nil, fmt.Errorf("a key of type %T; want ECDSA", key)
	}
	return key, nil
}

// Credentials are all that makes a machine a node of a cluster.
type Credentials struct {
	Keys     Keys
	Issued   Issued
	Password string
	Cluster  Cluster
}

// Save writes the credentials into a node's folder, complete or, after a failure, in a way that saving them again
// completes: the file that tells of the cluster, which [LoadCluster] reads, comes last.
func (c *Credentials) Save(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	write := func(name string, data []byte, mode fs.FileMode) error {
		return atomicfile.Write(filepath.Join(dir, name), data, mode)
	}
	if err := write(FilePassword, []byte(c.Password+"\n"), 0o600); err != nil {
		return err
	}
	if err := write(FileAuthorities, []byte(c.Issued.Authorities), 0o644); err != nil {
		return err
	}
	for _, pair := range []struct {
		name, cert string
		key        *ecdsa.PrivateKey
	}{
		{FileServing, c.Issued.Serving, c.Keys.Serving}, {FileProxy, c.Issued.Proxy, c.Keys.Proxy},
		{FileNetworkPolicy, c.Issued.NetworkPolicy, c.Keys.NetworkPolicy},
	} {
		key, err := EncodeKey(pair.key)
		if err != nil {
			return err
		}
		// The key first: a certificate without its key would be believed to be whole.
		if err := write(pair.name+".key", key, 0o600); err != nil {
			return err
		}
		if err := write(pair.name+".crt", []byte(pair.cert), 0o644); err != nil {
			return err
		}
	}
	key, err := EncodeKey(c.Keys.Kubelet)
	if err != nil {
		return err
	}
	if err := SaveKubelet(dir, append([]byte(c.Issued.Kubelet), key...)); err != nil {
		return err
	}
	return SaveCluster(dir, c.Cluster)
}

// SaveKubelet keeps the kubelet's client certificate and key as the kubelet itself does: a file, and a link to the newest.
func SaveKubelet(dir string, data []byte) error {
	const file = "kubelet-client-joined.pem"
	if err := atomicfile.Write(filepath.Join(dir, file), data, 0o600); err != nil {
		return err
	}
	return atomicfile.Link(file, filepath.Join(dir, FileKubelet))
}

// SaveCluster writes what a node knows of its cluster.
func SaveCluster(dir string, c Cluster) error {
	return atomicfile.WriteJSON(filepath.Join(dir, FileCluster), c, 0o600)
}

// LoadCluster reads what a node knows of its cluster. The error is [fs.ErrNotExist] if it has not joined.
func LoadCluster(dir string) (Cluster, error) {
	file := filepath.Join(dir, FileCluster)
	data, err := os.ReadFile(file)
	if err != nil {
		return Cluster{}, err
	}
	var c Cluster
	if err := json.Unmarshal(data, &c); err != nil {
		return Cluster{}, fmt.Errorf("%s: %w", file, err)
	}
	return c, nil
}

// LoadPassword reads the password of the node's name, or makes one if there is none yet. It is not written.
func LoadPassword(dir string) (string, error) {
	data, err := os.ReadFile(filepath.Join(dir, FilePassword))
	if errors.Is(err, fs.ErrNotExist) {
		raw := make([]byte, 16)
		if _, err := rand.Read(raw); err != nil {
			return "", err
		}
		return hex.EncodeToString(raw), nil
	}
	if err != nil {
		return "", err
	}
	if len(data) == 0 || data[len(data)-1] != '\n' {
		return "", fmt.Errorf("%s is damaged", filepath.Join(dir, FilePassword))
	}
	return string(data[:len(data)-1]), nil
}

// EncodeKey is a private key as the files have it: SEC 1, PEM.
func EncodeKey(key *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}), nil
}
