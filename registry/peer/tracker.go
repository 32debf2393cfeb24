package peer

import (
	"errors"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"time"

	"airgap/internal/site"
)

const (
	// lapseAfter is how long a joiner may be silent before others get what it was taking, and forgetAfter before it is forgotten; one
	// that lives is heard of every [heartbeat].
	lapseAfter  = 8 * time.Second
	forgetAfter = 20 * time.Second
	// firstRest is how long a source is not named to a joiner that could not take from it; it doubles up to longestRest.
	firstRest   = time.Second
	longestRest = 30 * time.Second
	// busyRest is the same for a source that gives to enough others.
	busyRest = time.Second
	// shortestWait and longestWait are between two questions of a joiner that got less than it has slots for: the more joiners, the longer.
	shortestWait = 100 * time.Millisecond
	longestWait  = time.Second
	waitForEach  = 4 * time.Millisecond
)

// errFull says that the tracker knows as many machines as it can.
var errFull = errors.New("too many machines are being installed at once; ask again later")

// TrackerOptions are what a tracker needs to know.
type TrackerOptions struct {
	// Seeders lists the nodes that hold all of the cluster's bundles at this moment, "address:port".
	Seeders func() []string
	// Now is the clock; nil: the system's.
	Now func() time.Time
	// Seed makes the order of equal choices repeatable; 0: another with each tracker.
	Seed uint64
}

// Tracker knows which joiner has what, and decides who takes what from whom. It remembers nothing beyond the
// process: joiners tell it again.
type Tracker struct {
	options TrackerOptions

	mu     sync.Mutex
	table  table
	random *rand.Rand
	swept  time.Time
}

// NewTracker makes a tracker that knows nobody.
func NewTracker(o TrackerOptions) *Tracker {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Seed == 0 {
		o.Seed = rand.Uint64()
	}
	return &Tracker{options: o, table: newTable(), random: rand.New(rand.NewPCG(o.Seed, 1))}
}

// answer notes what a joiner says, and decides what it takes next.
func (t *Tracker) answer(q *question) (*site.ExchangeResponse, error) {
	seeders := t.options.Seeders()
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.options.Now()
	t.sweep(now)
	t.enterSeeders(seeders, now)
	joiner, known := t.table.enter(q.address, q.host, now)
	if joiner == nil {
		return nil, errFull
	}
	t.note(joiner, q, now)
	answer := &site.ExchangeResponse{Forgot: !known}
	slots := min(q.slots, maxSlots-len(joiner.fetches), len(q.want))
	taken := t.choose(joiner, q.want, slots, now)
	for _, c := range taken {
		answer.Take = append(answer.Take, site.Take{Digest: c.digest.String(), From: c.from.address})
	}
	if len(taken) < slots || slots <= 0 {
		answer.Wait = min(shortestWait+time.Duration(len(t.table.sources))*waitForEach, longestWait)
	}
	return answer, nil
}

// sweep does so to the silent, once a second.
func (t *Tracker) sweep(now time.Time) {
	if now.Sub(t.swept) < time.Second {
		return
	}
	t.swept = now
	for _, s := range t.table.places {
		if s == nil {
			continue
		}
		if silent := now.Sub(s.seen); silent > forgetAfter {
			t.table.forget(s)
		} else if silent > lapseAfter {
			for digest := range s.fetches {
				t.table.end(s, digest)
			}
		}
	}
}

// enterSeeders notes who holds everything. One that is so no more is forgotten like a joiner.
func (t *Tracker) enterSeeders(addresses []string, now time.Time) {
	for _, s := range t.table.sources {
		s.seeder = s.seeder && slices.Contains(addresses, s.address)
	}
	for _, address := range addresses {
		host, _, err := net.SplitHostPort(address)
		if err != nil {
			continue // Seeders is our own server's; a name it does not know yet has no port
		}
		if s, _ := t.table.enter(address, host, now); s != nil {
			s.seeder = true
		}
	}
}

// note takes over what a joiner tells of itself and of others.
func (t *Tracker) note(joiner *source, q *question, now time.Time) {
	for _, r := range q.done {
		t.table.end(joiner, r.digest)
		if from := t.table.sources[r.from]; from != nil && from != joiner {
			from.good++
			from.failed.remove(joiner.place)
			delete(joiner.rests, from.place)
		}
	}
	for _, r := range q.failed {
		t.noteFailure(joiner, r, now)
	}
	for _, digest := range q.want {
		t.table.end(joiner, digest) // what it wants it does not take: an answer of ours was lost
	}
	for _, digest := range q.have {
		t.table.end(joiner, digest)
		if b := t.table.blob(digest); b != nil {
			b.holders.add(joiner.place)
		}
	}
}

func (t *Tracker) noteFailure(joiner *source, r report, now time.Time) {
	t.table.end(joiner, r.digest)
	from := t.table.sources[r.from]
	if from == nil || from == joiner {
		return
	}
	rest := joiner.rests[from.place]
	switch r.why {
	case site.WhyBytes:
		rest.ever = true
		from.refuted.add(joiner.place)
	case site.WhyAbsent:
		if b := t.table.blob(r.digest); b != nil {
			b.holders.remove(from.place)
			if from.seeder {
				b.absent.add(from.place)
				b.denied = now
			}
		}
		return
	case site.WhyBusy:
		rest.until = now.Add(busyRest)
	default:
		rest.until = now.Add(min(firstRest<<min(rest.failures, 10), longestRest))
		rest.failures++
		from.failed.add(joiner.place)
	}
	joiner.rests[from.place] = rest
}
