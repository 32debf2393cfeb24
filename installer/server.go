package installer

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"time"

	"airgap/installer/preflight"
	"airgap/internal/hostinfo"
	"airgap/internal/site"
)

// serverTimeout bounds a look at the server.
const serverTimeout = 15 * time.Second

// lookAtServer connects to the server. The machine's clock may be wrong, so the certificate's times are for the caller to judge.
func lookAtServer(j *JoinOptions) *preflight.ServerFacts {
	ctx, cancel := context.WithTimeout(context.Background(), serverTimeout)
	defer cancel()
	authorities, err := site.Authorities(ctx, j.Server, j.Token)
	if err != nil {
		return &preflight.ServerFacts{Err: err}
	}
	leaf, err := serverCertificate(ctx, j.Server, authorities)
	if err != nil {
		return &preflight.ServerFacts{Err: fmt.Errorf("%s: %w", j.Server, err)}
	}
	return &preflight.ServerFacts{NotBefore: leaf.NotBefore, NotAfter: leaf.NotAfter}
}

// serverCertificate returns the certificate that the server shows, if the authorities have signed it.
func serverCertificate(ctx context.Context, server string, authorities []byte) (*x509.Certificate, error) {
	u, err := url.Parse(server)
	if err != nil {
		return nil, err
	}
	port := u.Port()
	if port == "" {
		port = "6443"
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(authorities) {
		return nil, errors.New("no certificates among its authorities")
	}
	// Verified below, at a time when the certificate is valid.
	dialer := tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12, ServerName: u.Hostname()}}
	conn, err := dialer.DialContext(ctx, "tcp", net.JoinHostPort(u.Hostname(), port))
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	shown := conn.(*tls.Conn).ConnectionState().PeerCertificates
	options := x509.VerifyOptions{Roots: pool, Intermediates: x509.NewCertPool(), CurrentTime: shown[0].NotBefore, DNSName: u.Hostname()}
	for _, c := range shown[1:] {
		options.Intermediates.AddCert(c)
	}
	if _, err := shown[0].Verify(options); err != nil {
		return nil, fmt.Errorf("its certificate: %w", err)
	}
	return shown[0], nil
}

// withoutPort leaves out the listeners on a port.
func withoutPort(all []hostinfo.Listener, port int) []hostinfo.Listener {
	return slices.DeleteFunc(slices.Clone(all), func(l hostinfo.Listener) bool { return int(l.Address.Port()) == port })
}
