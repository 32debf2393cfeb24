package join

import (
	"log/slog"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"airgap/internal/site"
)

const (
	// maxUnknown is how many requests of one address run at once before it is known who asks.
	maxUnknown = 16
	// maxAddresses is how many addresses are remembered.
	maxAddresses = 4096
	// The first wrong token closes the door for firstDelay, each further one for twice as long, up to longestDelay. An address
	// that has not tried for forgetAfter starts anew.
	firstDelay   = time.Second
	longestDelay = time.Minute
	forgetAfter  = 10 * time.Minute
	// logInterval is the time between two lines of the log about wrong tokens.
	logInterval = 5 * time.Second
)

// errCrowd is for an address with too many requests.
var errCrowd = refusal(http.StatusTooManyRequests, site.CodeBusy, "too many requests at once from your address; try again in a moment")

// waitError is a refusal for a time.
type waitError struct {
	refusal *site.Error
	wait    time.Duration
}

func (e *waitError) Error() string { return e.refusal.Message }

func (e *waitError) Unwrap() error { return e.refusal }

// guard bounds what those can do of whom it is not known who they are, by the addresses they ask from. An IPv6 address stands for
// the network of 64 bits that it is in, whose addresses one machine may all have.
type guard struct {
	now func() time.Time
	log *slog.Logger

	mu     sync.Mutex
	askers map[netip.Prefix]*asker
	logged time.Time
	silent int // wrong tokens since then
}

// asker is what is remembered of an address.
type asker struct {
	running int       // requests
	wrong   int       // tokens in a row
	closed  time.Time // until then no token is looked at
	last    time.Time // when it last asked
}

// enter takes a place for a request; leave gives it back.
func (g *guard) enter(remote string) (leave func(), ok bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	a := g.asker(remote)
	if a == nil || a.running >= maxUnknown {
		return nil, false
	}
	a.running++
	return func() {
		g.mu.Lock()
		a.running--
		g.mu.Unlock()
	}, true
}

// mayTry says whether a token from an address is looked at. After a wrong one that is the next when its time is up, so that of
// many that come at once all but one are put off.
func (g *guard) mayTry(remote string) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	a := g.asker(remote)
	if a == nil {
		return errCrowd
	}
	now := g.now()
	if wait := a.closed.Sub(now); wait > 0 {
		return &waitError{wait: wait, refusal: refusal(http.StatusTooManyRequests, site.CodeBusy,
			"wrong tokens came from your address: the next is looked at in %s", (wait + time.Second).Truncate(time.Second))}
	}
	if a.wrong > 0 {
		a.closed = now.Add(a.delay())
	}
	return nil
}

// right forgets the wrong tokens of an address.
func (g *guard) right(remote string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if a := g.asker(remote); a != nil {
		a.wrong, a.closed = 0, time.Time{}
	}
}

// wrong remembers a wrong token.
func (g *guard) wrong(remote string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := g.now()
	if a := g.asker(remote); a != nil {
		a.wrong++
		a.closed = now.Add(a.delay())
	}
	if now.Sub(g.logged) < logInterval {
		g.silent++
		return
	}
	g.log.Warn("a machine that wants to join shows a token that is not this cluster's", "from", remote, "more since the last line", g.silent)
	g.logged, g.silent = now, 0
}

func (a *asker) delay() time.Duration {
	return min(firstDelay<<min(a.wrong-1, 10), longestDelay)
}

// asker returns what is remembered of an address, and remembers it; nil if there is no room for another.
func (g *guard) asker(remote string) *asker {
	now := g.now()
	if g.askers == nil {
		g.askers = map[netip.Prefix]*asker{}
	}
	key := source(remote)
	a := g.askers[key]
	if a != nil && now.Sub(a.last) > forgetAfter {
		a.wrong = 0
	}
	if a == nil {
		if len(g.askers) >= maxAddresses && !g.forget(now) {
			return nil
		}
		a = &asker{}
		g.askers[key] = a
	}
	a.last = now
	return a
}

// forget makes room: whom nothing is held against goes first, and if there is nobody the one who last asked the
// longest ago. It says whether there is room now.
func (g *guard) forget(now time.Time) bool {
	var oldest netip.Prefix
	for key, a := range g.askers {
		switch {
		case a.running > 0:
		case a.wrong == 0 || now.Sub(a.last) > forgetAfter:
			delete(g.askers, key)
		case !oldest.IsValid() || a.last.Before(g.askers[oldest].last):
			oldest = key
		}
	}
	if len(g.askers) >= maxAddresses {
		delete(g.askers, oldest)
	}
	return len(g.askers) < maxAddresses
}

// source is whom an address is counted for; invalid for what is no address.
func source(remote string) netip.Prefix {
	at, err := netip.ParseAddrPort(remote)
	if err != nil {
		return netip.Prefix{}
	}
	address := at.Addr().Unmap().WithZone("")
	bits := 32
	if address.Is6() {
		bits = 64
	}
	prefix, _ := address.Prefix(bits) // bits fit
	return prefix
}
