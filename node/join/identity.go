package join

import (
	"context"
	"crypto/x509"
	"errors"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"

	certutil "k8s.io/client-go/util/cert"

	"airgap/internal/site"
	"airgap/node/config"
	"airgap/node/pki"
	"airgap/node/token"
)

// errToken does not tell a token that was never good from one that is forgotten.
var errToken = refusal(http.StatusUnauthorized, site.CodeToken,
	"the server does not know this token, or it has ended: `airgap token create --print-join` on the server makes a new one")

// byToken lets in who shows a token of the cluster. It names no node.
func (h *Handler) byToken(ctx context.Context, r *http.Request) (node string, err error) {
	user, secret, ok := r.BasicAuth()
	if !ok || secret == "" {
		return "", errToken
	}
	if err := h.guard.mayTry(r.RemoteAddr); err != nil {
		return "", err
	}
	opens, err := h.opens(ctx, site.Token{User: user, Secret: secret})
	switch {
	case errors.Is(err, token.ErrEnded):
		h.guard.right(r.RemoteAddr) // it is a token of this cluster
		return "", refusal(http.StatusUnauthorized, site.CodeToken,
			"this token has ended: `airgap token create --print-join` on the server makes a new one")
	case err != nil:
		return "", err
	case !opens:
		h.guard.wrong(r.RemoteAddr)
		return "", errToken
	}
	h.guard.right(r.RemoteAddr)
	return "", nil
}

// opens says whether a token is one of the cluster's. The files are read each time, so that a token that was rotated
// away opens nothing any more.
func (h *Handler) opens(ctx context.Context, shown site.Token) (bool, error) {
	for _, file := range []string{token.ServerFile(h.paths), token.AgentFile(h.paths)} {
		want, err := token.ReadFile(file)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return false, err
		}
		if shown.Opens(want) {
			return true, nil
		}
	}
	return token.Authenticates(ctx, h.Client, h.Now(), shown)
}

// byCertificate lets in who shows a node's certificate of the cluster's authority, and names the node.
func (h *Handler) byCertificate(_ context.Context, r *http.Request) (node string, err error) {
	refused := func(why string) error {
		return refusal(http.StatusUnauthorized, site.CodeToken, "%s; join again with a token", why)
	}
	if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		return "", refused("this is for nodes of the cluster, and no certificate was shown")
	}
	authorities, err := trusted(h.paths)
	if err != nil {
		return "", err
	}
	shown := r.TLS.PeerCertificates
	between := x509.NewCertPool()
	for _, cert := range shown[1:] {
		between.AddCert(cert)
	}
	if _, err := shown[0].Verify(x509.VerifyOptions{
		Roots: authorities, Intermediates: between, CurrentTime: h.Now(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}); err != nil {
		var invalid x509.CertificateInvalidError
		if errors.As(err, &invalid) && invalid.Reason == x509.Expired {
			return "", refused("the certificate has expired, or the clock of one of the machines is wrong")
		}
		return "", refused("the certificate is not one of this cluster's")
	}
	name, ok := strings.CutPrefix(shown[0].Subject.CommonName, site.NodeUserPrefix)
	if !ok || !slices.Contains(shown[0].Subject.Organization, site.NodesGroup) || !config.ValidNodeName(name) {
		return "", refused("the certificate is not a node's")
	}
	return name, nil
}

// trusted are the authorities that the cluster trusts now: during a rotation there are two.
func trusted(paths config.Paths) (*x509.CertPool, error) {
	data, err := os.ReadFile(filepath.Join(paths.TLS(), pki.ClusterCABundle+".crt"))
	if err != nil {
		return nil, err
	}
	certs, err := certutil.ParseCertsPEM(data)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	for _, cert := range certs {
		pool.AddCert(cert)
	}
	return pool, nil
}
