package pki

import (
	"context"
	"fmt"
	"os"
	"slices"
	"time"

	"airgap/node/config"
)

// KeepInterval is how often a running server looks at its certificates. A third of a
// year is left when one is due, so that a failure has time to be repaired.
const KeepInterval = time.Hour

// Keep calls Prepare every interval until ctx is done: a server that nobody restarts goes on.
// What goes wrong is reported and tried again.
func (i Issuer) Keep(ctx context.Context, cfg *config.Server, every time.Duration, report func(error)) {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			if err := i.Prepare(cfg); err != nil {
				report(fmt.Errorf("renew certificates: %w", err))
			}
		}
	}
}

// Rotate makes certificates anew, with new keys and the names they have: those of the named services, or all. It
// needs no server's configuration, and may be called while the server runs. It returns those it made.
func (i Issuer) Rotate(paths config.Paths, kubeconfig string, services []string) ([]Certificate, error) {
	if err := checkServices(services); err != nil {
		return nil, err
	}
	list, err := i.List(paths, kubeconfig)
	if err != nil {
		return nil, err
	}
	unlock, err := lock(paths)
	if err != nil {
		return nil, err
	}
	defer unlock()
	var rotated []Certificate
	for _, p := range places(paths, kubeconfig) {
		if len(services) > 0 && !slices.Contains(services, p.service) {
			continue
		}
		listed := slices.ContainsFunc(list, func(c Certificate) bool { return c.File == p.file() })
		if !listed {
			continue // a server without an agent
		}
		if err := i.rotate(paths, p); err != nil {
			return rotated, fmt.Errorf("%s: %w", p.file(), err)
		}
		rotated = append(rotated, i.describe(p))
	}
	return rotated, nil
}

// rotate makes the certificate at p anew.
func (i Issuer) rotate(paths config.Paths, p place) error {
	tls := folder(paths.TLS())
	old, err := p.read()
	if err != nil {
		return fmt.Errorf("%w; a start of the server makes it anew", err)
	}
	l := leaf{
		name: p.name, authority: ClusterCA, commonName: old.Subject.CommonName, organization: old.Subject.Organization,
		usages: old.ExtKeyUsage, dnsNames: old.DNSNames, addresses: old.IPAddresses,
	}
	if p.name == FrontProxyClient {
		l.authority = FrontProxyCA
	}
	switch {
	case p.kubeconfig != "":
		cluster, _, err := readKubeconfig(p.kubeconfig)
		if err != nil {
			return err
		}
		info, err := os.Stat(p.kubeconfig)
		if err != nil {
			return err
		}
		return i.writeAdmin(paths, cluster.Server, p.kubeconfig, info.Mode())
	case p.pem != "":
		l.name = "kubelet-client"
		return i.issueKubelet(tls, p.file(), l)
	}
	return i.issue(tls, p.folder, l)
}
