package peer

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log"
	"net/http"
	"slices"
	"time"

	"airgap/internal/site"
)

// ServerTLS is how a peer port is listened on: with certificate, to clients that show a certificate of the
// authorities, PEM, or none. What each may ask for is the handlers' business: [Handler] answers nodes. Both are asked for with each
// connection: they are renewed.
func ServerTLS(authorities func() ([]byte, error), certificate func() (*tls.Certificate, error)) *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
		pem, err := authorities()
		if err != nil {
			return nil, err
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(pem) {
			return nil, errors.New("no certificates among the cluster's authorities")
		}
		own, err := certificate()
		if err != nil {
			return nil, err
		}
		return &tls.Config{
			MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{*own},
			ClientAuth: tls.VerifyClientCertIfGiven, ClientCAs: pool,
			NextProtos: []string{"http/1.1"}, // large bodies: HTTP/2 would frame them once more
			// A config for each connection has ticket keys of its own: none could be resumed, and a ticket would outlive the check.
			SessionTicketsDisabled: true,
		}, nil
	}}
}

// isNode tells whether a request comes with a node's certificate. The listener has verified it.
func isNode(r *http.Request) bool {
	return r.TLS != nil && len(r.TLS.VerifiedChains) > 0 && slices.Contains(r.TLS.PeerCertificates[0].Subject.Organization, site.NodesGroup)
}

// NewServer is a server of the peer port, for ServeTLS(listener, "", ""): large bodies may take as long as
// the client goes on taking them, everything else is bounded. log gets mostly strangers who were not let in; nil is the
// standard logger.
func NewServer(handler http.Handler, config *tls.Config, log *log.Logger) *http.Server {
	return &http.Server{
		Handler: handler, TLSConfig: config, ErrorLog: log,
		TLSNextProto:      map[string]func(*http.Server, *tls.Conn, http.Handler){},
		ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 16 << 10,
	}
}
