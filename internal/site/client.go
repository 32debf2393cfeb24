package site

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// requestTimeout bounds one small request.
const requestTimeout = 30 * time.Second

// maxAuthoritiesBytes bounds the answer of a server that nothing vouches for yet.
const maxAuthoritiesBytes = 64 << 10

// Client talks to one server.
type Client struct {
	server *url.URL
	http   *http.Client
	token  Token // sent with a join
}

// Authorities fetches the authorities of the cluster behind server, "https://address:port", and makes sure that
// they are those that the token speaks of.
func Authorities(ctx context.Context, server string, t Token) (pem []byte, err error) {
	u, err := parseServer(server)
	if err != nil {
		return nil, err
	}
	// Nothing vouches for this connection: what comes over it is held against the token's hash.
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12}}
	defer transport.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, u.JoinPath(PathAuthorities).String(), nil)
	if err != nil {
		return nil, err
	}
	response, err := (&http.Client{Transport: transport, CheckRedirect: refuseRedirect}).Do(request)
	if err != nil {
		return nil, fmt.Errorf("ask %s for its authorities: %w", server, err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, &Error{Status: response.StatusCode, Message: fmt.Sprintf(
			"%s answers %s at %s: it is no airgap server, or not one that others can join", server, response.Status, PathAuthorities)}
	}
	pem, err = io.ReadAll(io.LimitReader(response.Body, maxAuthoritiesBytes+1))
	if err != nil {
		return nil, fmt.Errorf("ask %s for its authorities: %w", server, err)
	}
	if len(pem) > maxAuthoritiesBytes {
		return nil, fmt.Errorf("%s sends more than %d bytes as its authorities", server, maxAuthoritiesBytes)
	}
	if err := t.VerifyCA(pem); err != nil {
		return nil, fmt.Errorf("%s: %w", server, err)
	}
	if !x509.NewCertPool().AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s sends no certificates as its authorities", server)
	}
	return pem, nil
}

// NewJoiner returns a client that may join with a token.
func NewJoiner(server string, authorities []byte, t Token) (*Client, error) {
	return newClient(server, authorities, t, nil)
}

// NewClient returns a client that shows a node's certificate, asked for at each connection: it is renewed.
func NewClient(server string, authorities []byte, certificate func() (*tls.Certificate, error)) (*Client, error) {
	return newClient(server, authorities, Token{}, certificate)
}

func newClient(server string, authorities []byte, t Token, certificate func() (*tls.Certificate, error)) (*Client, error) {
	u, err := parseServer(server)
	if err != nil {
		return nil, err
	}
	config, err := TLSConfig(authorities, certificate)
	if err != nil {
		return nil, err
	}
	return &Client{server: u, token: t, http: &http.Client{
		Transport:     &http.Transport{TLSClientConfig: config, MaxIdleConnsPerHost: 1, IdleConnTimeout: time.Minute, ForceAttemptHTTP2: true},
		CheckRedirect: refuseRedirect, Timeout: requestTimeout,
	}}, nil
}

// TLSConfig is that of a client which knows holders of certificates by authorities alone, and shows one itself if
// certificate is not nil.
func TLSConfig(authorities []byte, certificate func() (*tls.Certificate, error)) (*tls.Config, error) {
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(authorities) {
		return nil, errors.New("no certificates among the cluster's authorities")
	}
	config := &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	if certificate != nil {
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return certificate() }
	}
	return config, nil
}

// errRedirect is an answer that sends the client to somebody else.
var errRedirect = errors.New("it redirects elsewhere, which no airgap server does")

func refuseRedirect(*http.Request, []*http.Request) error { return errRedirect }

// CheckServer says what is wrong with the URL of a server.
func CheckServer(server string) error {
	_, err := parseServer(server)
	return err
}

// parseServer reads "https://address:port".
func parseServer(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "https" || u.Host == "" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.User != nil {
		return nil, fmt.Errorf("server %q: want https://address:port, such as https://10.0.0.1:6443", text)
	}
	if u.Port() == "" {
		u.Host += ":6443"
	}
	return u, nil
}

// Join asks to become a node.
func (c *Client) Join(ctx context.Context, request JoinRequest) (*JoinResponse, error) {
	var response JoinResponse
	return &response, c.post(ctx, PathJoin, request, &response)
}

// Renew asks for certificates, by the one that the client shows.
func (c *Client) Renew(ctx context.Context, request RenewRequest) (*RenewResponse, error) {
	var response RenewResponse
	return &response, c.post(ctx, PathRenew, request, &response)
}

// Exchange tells what this machine has got, and asks where the rest is.
func (c *Client) Exchange(ctx context.Context, request ExchangeRequest) (*ExchangeResponse, error) {
	var response ExchangeResponse
	return &response, c.post(ctx, PathExchange, request, &response)
}

// Leave asks to be no node any more: no new pods come, those that are there are moved away, and then the Node and the
// password of its name are deleted. One call takes less than half a minute: ask until the response says that the node has left.
func (c *Client) Leave(ctx context.Context, request LeaveRequest) (*LeaveResponse, error) {
	var response LeaveResponse
	return &response, c.post(ctx, PathLeave, request, &response)
}

// Close ends the client's connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

func (c *Client) post(ctx context.Context, path string, question, answer any) error {
	body, err := json.Marshal(question)
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, c.server.JoinPath(path).String(), bytes.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	if c.token.Secret != "" {
		request.SetBasicAuth(c.token.User, c.token.Secret)
	}
	response, err := c.http.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	data, err := io.ReadAll(io.LimitReader(response.Body, MaxMessageBytes+1))
	if err != nil {
		return fmt.Errorf("%s: %w", request.URL, err)
	}
	if len(data) > MaxMessageBytes {
		return fmt.Errorf("%s answers with more than %d bytes", request.URL, MaxMessageBytes)
	}
	if response.StatusCode != http.StatusOK {
		refusal := &Error{Status: response.StatusCode}
		if json.Unmarshal(data, refusal) != nil || refusal.Message == "" {
			return &Error{Status: response.StatusCode, Message: fmt.Sprintf("%s answers %s", request.URL, response.Status)}
		}
		return refusal
	}
	if err := json.Unmarshal(data, answer); err != nil {
		return fmt.Errorf("%s answers nonsense: %w", request.URL, err)
	}
	return nil
}
