// Package registryclient reaches OCI registries: it logs in with the credentials of the Docker configuration, keeps a registry
// from sending its client into the client's own network, and says in words what a registry answers.
package registryclient

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/netip"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// UserAgent is how this program calls itself to a server.
const UserAgent = "airgap"

// Options are what package remote needs to act as this program does.
func Options(more ...remote.Option) []remote.Option {
	return append([]remote.Option{remote.WithAuthFromKeychain(authn.DefaultKeychain), remote.WithUserAgent(UserAgent)}, more...)
}

// New logs in to a repository to read from it. It is for blobs: what package remote does with them, to hash each and to begin
// at its first byte only, is not wanted where somebody else checks them. Requests are tried again as remote's are; a redirect
// to an address that is not public is an error.
func New(ctx context.Context, repository name.Repository) (*http.Client, error) {
	auth, err := authn.Resolve(ctx, authn.DefaultKeychain, repository)
	if err != nil {
		return nil, err
	}
	through := transport.NewUserAgent(transport.NewRetry(remote.DefaultTransport), UserAgent)
	authorized, err := transport.NewWithContext(ctx, repository.Registry, auth, through, []string{repository.Scope(transport.PullScope)})
	if err != nil {
		return nil, err
	}
	return &http.Client{Transport: authorized, CheckRedirect: staysOutside}, nil
}

// mostRedirects is how often one request may be sent elsewhere.
const mostRedirects = 10

// staysOutside refuses what would make this machine ask its own network in the name of a registry: a redirect to an
// address that is not public, as cloud providers' metadata services have. Where the registry is itself, it may stay.
func staysOutside(request *http.Request, via []*http.Request) error {
	from, to := via[0].URL.Hostname(), request.URL.Hostname()
	if len(via) >= mostRedirects {
		return fmt.Errorf("%s redirects more than %d times", from, mostRedirects)
	}
	address, err := netip.ParseAddr(to)
	if err != nil || to == from {
		return nil
	}
	if address = address.Unmap(); address.IsPrivate() || address.IsLoopback() || address.IsLinkLocalUnicast() || address.IsUnspecified() {
		return fmt.Errorf("%s redirects to %s, which is not a public address", from, to)
	}
	return nil
}

// ErrNotFound says that a registry answers but has no such thing. It is an [fs.ErrNotExist].
var ErrNotFound = fmt.Errorf("not in the registry: %w", fs.ErrNotExist)

// Explain makes a registry's answer, or that there was none, a sentence with a remedy. thing is what was asked for, as in
// "image". That it is not there is [ErrNotFound].
func Explain(host, thing string, err error) error {
	var answer *transport.Error
	if !errors.As(err, &answer) {
		return fmt.Errorf("cannot reach the registry %s: %w", host, err)
	}
	switch answer.StatusCode {
	case http.StatusNotFound:
		return &notFoundError{fmt.Errorf("the registry %s has no such %s: %w", host, thing, err)}
	case http.StatusUnauthorized, http.StatusForbidden:
		return fmt.Errorf("the registry %s gives no access (or has no such %s); log in with `docker login %s`: %w", host, thing, host, err)
	}
	return err
}

// notFoundError is an [ErrNotFound] in words of its own.
type notFoundError struct{ error }

func (e *notFoundError) Unwrap() error { return e.error }

func (*notFoundError) Is(target error) bool { return errors.Is(ErrNotFound, target) }
