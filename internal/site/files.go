package site

import (
	"crypto/tls"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// What a node is to the API server and to other nodes (Kubernetes' Node authorizer).
const (
	NodeUserPrefix = "system:node:" // and the node's name: the common name of its certificates
	NodesGroup     = "system:nodes" // their organization
)

// NodeName is the name under which the machine with this folder of credentials has joined. Its certificate says it, whatever
// the host is called today.
func NodeName(dir string) (string, error) {
	file := filepath.Join(dir, FileKubelet)
	data, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	cert, err := ParseCertificate(data)
	if err != nil {
		return "", fmt.Errorf("%s: %w", file, err)
	}
	name, ok := strings.CutPrefix(cert.Subject.CommonName, NodeUserPrefix)
	if !ok || name == "" {
		return "", fmt.Errorf("%s: is a certificate for %q, not for a node", file, cert.Subject.CommonName)
	}
	return name, nil
}

// CertificateFiles returns a certificate and its key, which may be in one file, as they are in the files at each call. A pair
// that cannot be read, or does not fit while one of the files is newer than the other, leaves the last one that did.
func CertificateFiles(certFile, keyFile string) func() (*tls.Certificate, error) {
	var mu sync.Mutex
	var loaded *tls.Certificate
	var stamps [2]stamp
	return func() (*tls.Certificate, error) {
		mu.Lock()
		defer mu.Unlock()
		current := [2]stamp{stampOf(certFile), stampOf(keyFile)}
		if loaded != nil && current == stamps {
			return loaded, nil
		}
		pair, err := tls.LoadX509KeyPair(certFile, keyFile)
		if err != nil {
			if loaded != nil {
				return loaded, nil
			}
			return nil, err
		}
		loaded, stamps = &pair, current
		return loaded, nil
	}
}

// stamp tells a file from the one that replaces it.
type stamp struct {
	modified time.Time
	size     int64
}

func stampOf(file string) stamp {
	info, err := os.Stat(file)
	if err != nil {
		return stamp{}
	}
	return stamp{info.ModTime(), info.Size()}
}
