package peer

import (
	"math/bits"
	"time"
)

// Bounds of what a tracker remembers, whatever it is told: about 20 MB.
const (
	maxPeers        = 512
	maxPeersPerHost = 64      // several share an address only in tests and behind routers
	maxBlobs        = 1 << 16 // of all bundles together
)

// set is a set of peers by their places in the table.
type set [maxPeers / 64]uint64

func (s *set) add(i int)      { s[i/64] |= 1 << (i % 64) }
func (s *set) remove(i int)   { s[i/64] &^= 1 << (i % 64) }
func (s *set) has(i int) bool { return s[i/64]&(1<<(i%64)) != 0 }

func (s *set) count() (n int) {
	for _, word := range s {
		n += bits.OnesCount64(word)
	}
	return n
}

// each calls visit with the members in order.
func (s *set) each(visit func(int)) {
	for i, word := range s {
		for ; word != 0; word &= word - 1 {
			visit(i*64 + bits.TrailingZeros64(word))
		}
	}
}

// source is a machine that has blobs: a joiner, or a seeder.
type source struct {
	place   int
	address string // "address:port"
	host    string
	seeder  bool
	seen    time.Time
	fetches map[key]*fetch // what it is taking now, as a joiner
	uploads int            // what is being taken from it
	oldest  time.Time      // when the first of those began
	good    int            // blobs taken from it since it came
	failed  set            // joiners that could not take from it
	refuted set            // joiners that got wrong bytes from it
	rests   map[int]rest   // joiners for whom it rests, by their place
}

// rest is how long a source is not named to one joiner.
type rest struct {
	until    time.Time
	failures int
	ever     bool // it gave wrong bytes
}

// fetch is one blob on its way to one joiner.
type fetch struct {
	from  *source
	since time.Time
}

// blob is what is known of one digest.
type blob struct {
	holders  set       // joiners that have it
	absent   set       // seeders that do not
	denied   time.Time // when the last of those said so
	fetching int       // joiners that take it now
	seeding  int       // of them from a seeder
	seeded   time.Time // when the first of those began
}

// table is what a tracker remembers.
type table struct {
	sources map[string]*source // by address
	places  [maxPeers]*source
	blobs   map[key]*blob
}

func newTable() table {
	return table{sources: map[string]*source{}, blobs: map[key]*blob{}}
}

// enter finds a source, or makes room for it; nil if there is none.
func (t *table) enter(address, host string, now time.Time) (s *source, known bool) {
	if s = t.sources[address]; s != nil {
		s.seen = now
		return s, true
	}
	sameHost, free := 0, -1
	for i, other := range t.places {
		if other == nil {
			if free < 0 {
				free = i
			}
		} else if other.host == host {
			sameHost++
		}
	}
	if free < 0 || sameHost >= maxPeersPerHost {
		return nil, false
	}
	s = &source{place: free, address: address, host: host, seen: now, fetches: map[key]*fetch{}, rests: map[int]rest{}}
	t.sources[address], t.places[free] = s, s
	return s, false
}

// forget removes a source and every trace of it.
func (t *table) forget(s *source) {
	for digest := range s.fetches {
		t.end(s, digest)
	}
	for _, other := range t.sources {
		for digest, f := range other.fetches {
			if f.from == s {
				t.end(other, digest)
			}
		}
		other.failed.remove(s.place)
		other.refuted.remove(s.place)
		delete(other.rests, s.place)
	}
	for digest, b := range t.blobs {
		b.holders.remove(s.place)
		b.absent.remove(s.place)
		if b.idle() {
			delete(t.blobs, digest)
		}
	}
	delete(t.sources, s.address)
	t.places[s.place] = nil
}

// idle tells whether nothing is known of the blob that another joiner's question would not bring back.
func (b *blob) idle() bool { return b.fetching == 0 && b.holders == set{} && b.absent == set{} }

// blob finds a digest, or makes room for it; nil if there is none.
func (t *table) blob(digest key) *blob {
	b := t.blobs[digest]
	if b == nil && len(t.blobs) < maxBlobs {
		b = &blob{}
		t.blobs[digest] = b
	}
	return b
}

// begin notes that joiner takes a blob from a source.
func (t *table) begin(joiner *source, digest key, b *blob, from *source, now time.Time) {
	joiner.fetches[digest] = &fetch{from: from, since: now}
	if from.uploads == 0 {
		from.oldest = now
	}
	from.uploads++
	b.fetching++
	if from.seeder {
		if b.seeding == 0 {
			b.seeded = now
		}
		b.seeding++
	}
}

// end notes that it does not any more, whatever came of it.
func (t *table) end(joiner *source, digest key) {
	f := joiner.fetches[digest]
	if f == nil {
		return
	}
	delete(joiner.fetches, digest)
	f.from.uploads--
	if b := t.blobs[digest]; b != nil {
		b.fetching--
		if f.from.seeder {
			b.seeding--
		}
	}
	f.from.oldest = time.Time{}
	if f.from.uploads == 0 {
		return
	}
	for _, other := range t.sources {
		for _, still := range other.fetches {
			if still.from == f.from && (f.from.oldest.IsZero() || still.since.Before(f.from.oldest)) {
				f.from.oldest = still.since
			}
		}
	}
}

// key is a digest in few bytes.
type key [32]byte
