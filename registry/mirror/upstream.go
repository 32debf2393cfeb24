package mirror

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"syscall"
	"time"

	"github.com/containerd/containerd/v2/core/remotes/docker"
	remoteerrors "github.com/containerd/containerd/v2/core/remotes/errors"

	"airgap/registry/distribution"
)

const (
	// tokenLife is how long an authorizer and the tokens it has got are used: the shortest life that the token
	// specification allows is a minute.
	tokenLife = 45 * time.Second
	// maxAuthorizers bounds those kept; pods' pull secrets make one each.
	maxAuthorizers = 64
	// headerTimeout is how long a registry may think about an answer.
	headerTimeout = 30 * time.Second
)

// upstream talks to other registries.
type upstream struct {
	mu          sync.Mutex
	clients     map[clientKey]*http.Client
	authorizers map[string]authorizer // by endpoint and credentials
	unreachable map[string]failure    // by host
	now         func() time.Time
}

// clientKey is what makes a client another one.
type clientKey struct {
	root string
	tls  *tls.Config // another after a change of registries.yaml
}

// maxClients bounds those kept, with their connections.
const maxClients = 64

type authorizer struct {
	docker.Authorizer
	made time.Time
}

type failure struct {
	err error
	at  time.Time
}

// errUnreachable is the cause of an error when no connection could be made.
var errUnreachable = errors.New("unreachable")

// forwarded are the headers of a request that an endpoint must see.
var forwarded = []string{"Accept", "Range", "If-Range", "If-None-Match", "User-Agent"}

// do asks one endpoint. The caller closes the body of the answer, whatever its status is.
func (u *upstream) do(r *http.Request, e endpoint, route distribution.Route, c *credentials) (*http.Response, error) {
	if err := u.knownUnreachable(e.root.Host); err != nil {
		return nil, err
	}
	target := *e.root
	last := route.Reference
	if route.Kind == distribution.Tags {
		last = "list"
	}
	target.Path += "/" + e.name + "/" + string(route.Kind) + "/" + last
	query := r.URL.Query()
	query.Del("ns")
	target.RawQuery = query.Encode()

	ctx := docker.WithScope(r.Context(), "repository:"+e.name+":pull")
	client := u.client(e)
	auth := u.authorizer(e, c, client)
	var responses []*http.Response
	for {
		request, err := http.NewRequestWithContext(ctx, r.Method, target.String(), nil)
		if err != nil {
			return nil, err
		}
		for _, name := range forwarded {
			if values := r.Header.Values(name); len(values) > 0 {
				request.Header[name] = values
			}
		}
		if err := auth.Authorize(ctx, request); err != nil {
			return nil, u.note(ctx, e, err)
		}
		response, err := client.Do(request)
		if err != nil {
			return nil, u.note(ctx, e, err)
		}
		responses = append(responses, response)
		// The first answer of a registry is often the question who asks.
		if response.StatusCode != http.StatusUnauthorized || len(responses) > 1 || auth.AddResponses(ctx, responses) != nil {
			return response, nil
		}
		response.Body.Close()
	}
}

// client returns the HTTP client of an endpoint; it keeps its connections.
func (u *upstream) client(e endpoint) *http.Client {
	u.mu.Lock()
	defer u.mu.Unlock()
	key := clientKey{e.root.String(), e.access.tls}
	if client := u.clients[key]; client != nil {
		return client
	}
	if len(u.clients) >= maxClients {
		for _, client := range u.clients {
			client.CloseIdleConnections()
		}
		clear(u.clients)
	}
	dialer := net.Dialer{Timeout: e.dial, KeepAlive: 30 * time.Second}
	transport := &http.Transport{
		Proxy: http.ProxyFromEnvironment,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := dialer.DialContext(ctx, network, address)
			if err != nil {
				return nil, fmt.Errorf("%w: %w", errUnreachable, err)
			}
			return conn, nil
		},
		TLSClientConfig: e.access.tls, TLSHandshakeTimeout: 5 * time.Second, ForceAttemptHTTP2: true,
		ResponseHeaderTimeout: headerTimeout, DisableCompression: true,
		MaxIdleConnsPerHost: 4, IdleConnTimeout: 30 * time.Second,
	}
	client := &http.Client{Transport: transport}
	u.clients[key] = client
	return client
}

func (u *upstream) authorizer(e endpoint, c *credentials, client *http.Client) docker.Authorizer {
	if c == nil {
		c = &credentials{}
	}
	sum := sha256.Sum256([]byte(c.username + "\x00" + c.secret))
	key := e.root.String() + "\x00" + string(sum[:])
	u.mu.Lock()
	defer u.mu.Unlock()
	if a, ok := u.authorizers[key]; ok && u.now().Sub(a.made) < tokenLife {
		return a
	}
	if len(u.authorizers) >= maxAuthorizers {
		clear(u.authorizers)
	}
	a := authorizer{docker.NewDockerAuthorizer(docker.WithAuthClient(client), docker.WithAuthCreds(
		func(string) (string, string, error) { return c.username, c.secret, nil })), u.now()}
	u.authorizers[key] = a
	return a
}

// note remembers a host that could not be reached, unless it was the client that gave up.
func (u *upstream) note(ctx context.Context, e endpoint, err error) error {
	if ctx.Err() == nil && errors.Is(err, errUnreachable) {
		u.mu.Lock()
		u.unreachable[e.root.Host] = failure{err, u.now()}
		u.mu.Unlock()
	}
	return err
}

func (u *upstream) knownUnreachable(host string) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	f, ok := u.unreachable[host]
	if ok && u.now().Sub(f.at) < unreachableFor {
		return f.err
	}
	delete(u.unreachable, host)
	return nil
}

// reason says in few words why a registry did not answer.
func reason(err error) string {
	var dns *net.DNSError
	var status remoteerrors.ErrUnexpectedStatus
	var timeout net.Error
	var dial *net.OpError
	switch {
	case errors.As(err, &dns):
		return "its name cannot be resolved"
	case errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.EHOSTUNREACH):
		return "there is no network route to it"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "it refuses the connection"
	case errors.As(err, &dial) && dial.Timeout(), errors.As(err, &timeout) && timeout.Timeout():
		return "it does not answer in time"
	case errors.As(err, &status):
		return "its token server answered " + status.Status
	case errors.Is(err, docker.ErrInvalidAuthorization):
		return "it refuses the credentials"
	}
	return err.Error()
}
