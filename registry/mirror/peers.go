package mirror

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	"airgap/registry/distribution"
)

const (
	// peersAtOnce is how many nodes are asked at the same time whether they have something.
	peersAtOnce = 8
	// peersTimeout bounds finding out who has it, dialPeerTimeout the connection to one.
	peersTimeout    = 4 * time.Second
	dialPeerTimeout = 1500 * time.Millisecond
	// absentFor is how long nobody is asked again for what nobody had: an image that is nowhere must fail fast.
	absentFor = 5 * time.Second
	// distrustFor is how long a node is not asked that gave wrong bytes.
	distrustFor = 10 * time.Minute
	// peerStallTimeout is how long a node may give nothing in the middle of a blob.
	peerStallTimeout = 30 * time.Second
	// busyTries is how often something is asked for that a node has and does not give: it gives to enough others, or it breaks off.
	busyTries = 10
	busyPause = time.Second
	// maxNotes bounds what is remembered of absent images and of nodes, each.
	maxNotes = 1024
)

// peers are the other nodes of the cluster. What they answer comes from what they hold: a peer is never asked for
// what it would have to ask for itself.
type peers struct {
	list   func(context.Context) []string
	client *http.Client
	now    func() time.Time

	mu     sync.Mutex
	absent map[string]absence   // by what was asked for
	shun   map[string]time.Time // nodes, and until when they are not asked
	last   map[string]string    // by repository: who had something of it the last time
}

// absence is what came of asking everybody.
type absence struct {
	until time.Time
	said  string
}

func newPeers(list func(context.Context) []string, config *tls.Config) *peers {
	return &peers{
		list: list, now: time.Now, absent: map[string]absence{}, shun: map[string]time.Time{}, last: map[string]string{},
		client: &http.Client{
			Transport: &http.Transport{
				DialContext:     (&net.Dialer{Timeout: dialPeerTimeout, KeepAlive: 15 * time.Second}).DialContext,
				TLSClientConfig: config, TLSHandshakeTimeout: peersTimeout, ResponseHeaderTimeout: headerTimeout,
				TLSNextProto:       map[string]func(string, *tls.Conn) http.RoundTripper{}, // HTTP/1.1: large bodies
				DisableCompression: true, MaxIdleConnsPerHost: 2, MaxIdleConns: 64, IdleConnTimeout: 30 * time.Second,
			},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
}

// serve answers from another node. If none has what was asked for, nothing has been written, and said tells about the
// nodes, for the error: ", nor does …".
func (p *peers) serve(w http.ResponseWriter, r *http.Request, route distribution.Route) (ok bool, said string) {
	if route.Kind != distribution.Manifests && route.Kind != distribution.Blobs {
		return false, ""
	}
	thing := string(route.Kind) + " " + route.String()
	if a, known := p.known(thing); known {
		return false, a.said
	}
	for range busyTries {
		var holder string
		if holder, said = p.find(r, route); holder == "" {
			if r.Context().Err() == nil {
				p.note(thing, said)
			}
			return false, said
		}
		err := p.passFrom(w, r, route, holder)
		if err == nil {
			p.remember(route, holder)
			return true, ""
		}
		said = fmt.Sprintf(", and the node %s, which does, did not give it: %v", holder, err)
		if !errors.Is(err, errBusy) {
			p.avoid(holder, unreachableFor)
			continue
		}
		select {
		case <-r.Context().Done():
			return false, said
		case <-time.After(busyPause):
		}
	}
	return false, said
}

// errBusy says that a node gives to enough others already.
var errBusy = errors.New("it gives to enough others already")

// find asks the nodes, in random order and several at a time, and returns the first that has something, or what is to be said
// of all.
func (p *peers) find(r *http.Request, route distribution.Route) (holder, said string) {
	all, left := p.candidates(r.Context(), route)
	if len(all) == 0 {
		if left > 0 {
			said = ", and none of the other nodes answers"
		}
		return "", said
	}
	ctx, cancel := context.WithTimeout(r.Context(), peersTimeout)
	defer cancel()
	type answer struct {
		address string
		has     bool
		err     error
	}
	answers := make(chan answer, len(all))
	asked, failed := 0, 0
	ask := func() {
		if asked < len(all) {
			address := all[asked]
			asked++
			go func() {
				has, err := p.has(ctx, r, route, address)
				answers <- answer{address, has, err}
			}()
		}
	}
	for range peersAtOnce {
		ask()
	}
	for range all {
		a := <-answers
		if a.has {
			return a.address, ""
		}
		if a.err != nil && ctx.Err() == nil {
			p.avoid(a.address, unreachableFor)
		}
		if a.err != nil {
			failed++
		}
		ask()
	}
	said = fmt.Sprintf(", nor does any of the %d other nodes", len(all))
	if failed > 0 {
		said = fmt.Sprintf(", nor do those of the %d other nodes that answer (%d do not)", len(all), failed)
	}
	return "", said
}

// candidates are the nodes to ask: the one that had something of the repository first, then the others at random. left is
// how many are not asked now.
func (p *peers) candidates(ctx context.Context, route distribution.Route) (list []string, left int) {
	list = slices.Clone(p.list(ctx))
	left = len(list)
	rand.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.now()
	list = slices.DeleteFunc(list, func(address string) bool { return now.Before(p.shun[address]) })
	if i := slices.Index(list, p.last[route.Repository()]); i > 0 {
		list[0], list[i] = list[i], list[0]
	}
	return list, left - len(list)
}

// request makes a request to a node. The distribution API of a peer port is that of package distribution.
func (p *peers) request(ctx context.Context, method string, r *http.Request, route distribution.Route, address string) (*http.Response, error) {
	scheme := "https"
	if p.client.Transport.(*http.Transport).TLSClientConfig == nil {
		scheme = "http"
	}
	target := url.URL{Scheme: scheme, Host: address, Path: "/v2/" + route.Name + "/" + string(route.Kind) + "/" + route.Reference,
		RawQuery: url.Values{"ns": {route.Registry}}.Encode()}
	request, err := http.NewRequestWithContext(ctx, method, target.String(), nil)
	if err != nil {
		return nil, err
	}
	for _, name := range forwarded {
		if values := r.Header.Values(name); len(values) > 0 {
			request.Header[name] = values
		}
	}
	return p.client.Do(request)
}

// has asks one node whether it has something.
func (p *peers) has(ctx context.Context, r *http.Request, route distribution.Route, address string) (bool, error) {
	response, err := p.request(ctx, http.MethodHead, r, route, address)
	if err != nil {
		return false, err
	}
	response.Body.Close()
	switch response.StatusCode {
	case http.StatusOK, http.StatusPartialContent, http.StatusNotModified, http.StatusRequestedRangeNotSatisfiable:
		return true, nil
	case http.StatusNotFound:
		return false, nil
	}
	return false, fmt.Errorf("it answered %s", response.Status)
}

func (p *peers) known(thing string) (absence, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	a, ok := p.absent[thing]
	return a, ok && p.now().Before(a.until)
}

func (p *peers) note(thing, said string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.absent) >= maxNotes {
		clear(p.absent)
	}
	p.absent[thing] = absence{p.now().Add(absentFor), said}
}

// avoid does not ask a node for a while.
func (p *peers) avoid(address string, d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if until := p.now().Add(d); until.After(p.shun[address]) {
		if len(p.shun) >= maxNotes {
			clear(p.shun)
		}
		p.shun[address] = until
	}
}

func (p *peers) remember(route distribution.Route, address string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.last) >= maxNotes {
		clear(p.last)
	}
	p.last[route.Repository()] = address
}
