package peer

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"time"

	"airgap/internal/site"
)

const (
	dialTimeout = 5 * time.Second
	// askTimeout bounds a request for something small.
	askTimeout = 30 * time.Second
	// askRounds is how often all peers are asked for something small, with askPause between.
	askRounds = 3
	askPause  = time.Second
)

// newClient is an HTTP client for peers.
func newClient(config *tls.Config) *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			DialContext:     (&net.Dialer{Timeout: dialTimeout, KeepAlive: 15 * time.Second}).DialContext,
			TLSClientConfig: config, TLSHandshakeTimeout: 2 * dialTimeout, ResponseHeaderTimeout: stallTimeout,
			TLSNextProto:       map[string]func(string, *tls.Conn) http.RoundTripper{}, // large bodies: HTTP/2 would frame them once more
			DisableCompression: true, MaxIdleConnsPerHost: directSlots, MaxIdleConns: 64, IdleConnTimeout: time.Minute,
			ReadBufferSize: 64 << 10, MaxResponseHeaderBytes: 16 << 10,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error {
			return errors.New("it redirects elsewhere, which no peer does")
		},
	}
}

// get asks a peer for a path, from a byte on. The caller closes the body.
func (f *Fetcher) get(ctx context.Context, from, path string, offset int64) (*http.Response, error) {
	scheme := "https"
	if f.options.TLS == nil {
		scheme = "http"
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, scheme+"://"+from+path, nil)
	if err != nil {
		return nil, err
	}
	if offset > 0 {
		request.Header.Set("Range", fmt.Sprintf("bytes=%d-", offset))
	}
	return f.client.Do(request)
}

// Bundles lists what the first peer that answers holds of bundles.
func (f *Fetcher) Bundles(ctx context.Context) ([]site.Bundle, error) {
	data, err := f.small(ctx, site.PathBundles, site.MaxMessageBytes)
	if err != nil {
		return nil, fmt.Errorf("ask for bundles: %w", err)
	}
	var list site.BundleList
	if err := json.Unmarshal(data, &list); err != nil {
		return nil, fmt.Errorf("ask for bundles: the answer is no list: %w", err)
	}
	return list.Bundles, nil
}

// File reads a bundle's manifest or signature, of at most limit bytes, from the first peer that has it. The error
// is [fs.ErrNotExist] if none has.
func (f *Fetcher) File(ctx context.Context, bundleDigest, name string, limit int64) ([]byte, error) {
	data, err := f.small(ctx, site.PathBundles+"/"+bundleDigest+"/"+name, limit)
	if err != nil {
		return nil, fmt.Errorf("%s of bundle %s: %w", name, bundleDigest, err)
	}
	return data, nil
}

// small asks the peers in order for something small, several times if need be.
func (f *Fetcher) small(ctx context.Context, path string, limit int64) ([]byte, error) {
	for round := 1; ; round++ {
		var errs []error
		absent := 0
		for _, from := range f.options.Peers {
			data, err := f.ask(ctx, from, path, limit)
			if err == nil {
				return data, nil
			}
			if errors.Is(err, fs.ErrNotExist) {
				absent++
			}
			errs = append(errs, fmt.Errorf("%s: %w", from, err))
		}
		if len(errs) == 0 {
			return nil, errors.New("the cluster names no node that holds its bundles")
		}
		if round == askRounds || absent == len(errs) {
			return nil, errors.Join(errs...)
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(jitter(askPause * time.Duration(round))):
		}
	}
}

// ask asks one peer.
func (f *Fetcher) ask(ctx context.Context, from, path string, limit int64) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	response, err := f.get(ctx, from, path, 0)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if response.StatusCode == http.StatusNotFound {
		return nil, fmt.Errorf("%s: %w", path, fs.ErrNotExist)
	}
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("it answers %s", response.Status)
	}
	data, err := io.ReadAll(io.LimitReader(response.Body, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("it sends more than %d bytes", limit)
	}
	return data, nil
}
