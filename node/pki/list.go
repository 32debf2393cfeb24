package pki

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	certutil "k8s.io/client-go/util/cert"

	"airgap/node/config"
)

// Certificate is one certificate of a server, and how long it is good for.
type Certificate struct {
	Service   string    `json:"service"` // what `airgap certificate rotate --service` calls it; "authority" for those that sign
	File      string    `json:"file"`
	Subject   string    `json:"subject"` // common name
	Issuer    string    `json:"issuer"`  // common name
	NotBefore time.Time `json:"notBefore"`
	NotAfter  time.Time `json:"notAfter"`
	DaysLeft  int       `json:"daysLeft"` // negative when expired
	Status    string    `json:"status"`   // one of the States
	Problem   string    `json:"problem,omitempty"`
}

// States of a certificate.
const (
	StateGood        = "good"
	StateDue         = "due" // is made anew at the next start, or within the hour where a server runs
	StateExpired     = "expired"
	StateNotYetValid = "not yet valid"
	StateUnreadable  = "unreadable"
)

// place is where a certificate is kept.
type place struct {
	service    string
	folder     folder
	name       string // of <name>.crt and <name>.key
	pem        string // instead: of a file with both
	kubeconfig string // instead: path of a kubeconfig
}

func (p place) file() string {
	switch {
	case p.kubeconfig != "":
		return p.kubeconfig
	case p.pem != "":
		return filepath.Join(string(p.folder), p.pem)
	}
	return p.folder.cert(p.name)
}

// places lists where the certificates of a server are, but the authorities'.
func places(paths config.Paths, kubeconfig string) []place {
	tls, agent := folder(paths.TLS()), folder(paths.AgentPKI())
	return []place{
		{service: "admin", kubeconfig: kubeconfig},
		{service: "api-server", folder: tls, name: APIServer},
		{service: "api-server", folder: tls, name: KubeletClient},
		{service: "auth-proxy", folder: tls, name: FrontProxyClient},
		{service: "controller-manager", folder: tls, name: controllerManager},
		{service: "scheduler", folder: tls, name: scheduler},
		{service: "supervisor", folder: tls, name: supervisor},
		{service: "kubelet", folder: agent, name: kubeletServing},
		{service: "kubelet", folder: agent, pem: kubeletCurrent},
		{service: "kube-proxy", folder: agent, name: kubeProxy},
		{service: "network-policy", folder: agent, name: networkPolicy},
	}
}

// Services are the names that [Issuer.Rotate] takes.
func Services() []string {
	var names []string
	for _, p := range places(config.Paths{}, "") {
		names = append(names, p.service)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// List reads every certificate of the server with these paths, whose administrator's kubeconfig is at kubeconfig. A
// server without an agent has none of the agent's; any other that is missing is listed as unreadable.
func (i Issuer) List(paths config.Paths, kubeconfig string) ([]Certificate, error) {
	if _, err := os.Stat(folder(paths.TLS()).cert(ClusterCA)); err != nil {
		return nil, fmt.Errorf("no server has made its certificates under %s: %w", paths.DataDir, err)
	}
	var list []Certificate
	for _, name := range []string{ClusterCA, FrontProxyCA} {
		p := place{service: "authority", folder: folder(paths.TLS()), name: name}
		list = append(list, i.describe(p))
	}
	for _, p := range places(paths, kubeconfig) {
		if _, err := os.Stat(p.file()); errors.Is(err, fs.ErrNotExist) && string(p.folder) == paths.AgentPKI() {
			continue
		}
		list = append(list, i.describe(p))
	}
	return list, nil
}

func (i Issuer) describe(p place) Certificate {
	c := Certificate{Service: p.service, File: p.file()}
	cert, err := p.read()
	if err != nil {
		c.Status, c.Problem = StateUnreadable, err.Error()
		return c
	}
	now := i.now()
	c.Subject, c.Issuer = cert.Subject.CommonName, cert.Issuer.CommonName
	c.NotBefore, c.NotAfter = cert.NotBefore, cert.NotAfter
	c.DaysLeft = int(cert.NotAfter.Sub(now).Hours()) / 24
	switch {
	case now.After(cert.NotAfter):
		c.Status, c.DaysLeft = StateExpired, min(c.DaysLeft, -1)
	case now.Before(cert.NotBefore):
		c.Status = StateNotYetValid
	case due(cert, now):
		c.Status = StateDue
	default:
		c.Status = StateGood
	}
	return c
}

// read returns the certificate at p.
func (p place) read() (*x509.Certificate, error) {
	if p.kubeconfig == "" {
		certs, err := certutil.CertsFromFile(p.file())
		if err != nil {
			return nil, err
		}
		return certs[0], nil
	}
	_, auth, err := readKubeconfig(p.kubeconfig)
	if err != nil {
		return nil, err
	}
	certs, err := certutil.ParseCertsPEM(auth.ClientCertificateData)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p.kubeconfig, err)
	}
	return certs[0], nil
}

// checkServices complains of names that are none.
func checkServices(names []string) error {
	known := Services()
	for _, name := range names {
		if !slices.Contains(known, name) {
			return fmt.Errorf("no service %q; there are %s", name, strings.Join(known, ", "))
		}
	}
	return nil
}
