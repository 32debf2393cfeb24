package peer

import (
	"cmp"
	"math/bits"
	"slices"
	"time"
)

const (
	// uploadsPerSource is how many blobs a joiner gives at once, uploadsPerSeeder how many a seeder: those are all different ones.
	uploadsPerSource = 2
	uploadsPerSeeder = 4
	// untriedUploads is the same for a joiner from which nobody has taken anything yet: it may be hostile, or behind a
	// wall.
	untriedUploads = 1
	// untriedPatience is how long others wait for what such a joiner says it has.
	untriedPatience = 5 * time.Second
	// seedPatience is how long the others wait for the joiner that takes a blob from a seeder. A second gets it after that,
	// a third after twice as long, and so on.
	seedPatience = 20 * time.Second
	// doubtful is how many joiners must have got wrong bytes from a joiner, or nothing, for nobody to be sent to it.
	doubtful = 3
)

// choice is one blob to take from one source.
type choice struct {
	digest key
	from   *source
}

// candidate is a wanted blob that can be had at this moment.
type candidate struct {
	choice
	blob   *blob
	rarity int // joiners that have it or take it
}

// choose picks up to n blobs for a joiner, and notes that it takes them.
func (t *Tracker) choose(joiner *source, want []key, n int, now time.Time) (taken []choice) {
	if n <= 0 {
		return nil
	}
	var candidates []candidate
	for _, digest := range want {
		b := t.table.blobs[digest]
		if b == nil {
			b = &blob{}
		}
		candidates = append(candidates, candidate{choice{digest: digest}, b, b.holders.count() + b.fetching})
	}
	// Equally rare ones in another order for each joiner, or all would want the same.
	t.random.Shuffle(len(candidates), func(i, j int) { candidates[i], candidates[j] = candidates[j], candidates[i] })
	slices.SortStableFunc(candidates, func(a, b candidate) int { return cmp.Compare(a.rarity, b.rarity) })
	seeders := t.seeders()
	for _, c := range candidates {
		if len(taken) == n {
			break
		}
		if joiner.fetches[c.digest] != nil {
			continue // named twice
		}
		idle := len(joiner.fetches) == 0
		if c.from = t.sourceOf(joiner, c.blob, seeders, idle, now); c.from == nil {
			continue
		}
		if stored := t.table.blob(c.digest); stored != nil {
			c.blob = stored
		}
		t.table.begin(joiner, c.digest, c.blob, c.from, now)
		taken = append(taken, c.choice)
	}
	return taken
}

// seeders lists them in random order: none is the first for everybody.
func (t *Tracker) seeders() (list []*source) {
	for _, s := range t.table.places {
		if s != nil && s.seeder {
			list = append(list, s)
		}
	}
	t.random.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	return list
}

// sourceOf finds who gives a blob to a joiner; nil if it is better to wait. idle: the joiner has nothing else
// to do.
func (t *Tracker) sourceOf(joiner *source, b *blob, seeders []*source, idle bool, now time.Time) *source {
	var best *source
	worthWaiting := false
	b.holders.each(func(place int) {
		s := t.table.places[place]
		if s == joiner || s.seeder || joiner.rests[place].holds(now) || s.isDoubtful() {
			return
		}
		if s.uploads >= s.limit() {
			worthWaiting = worthWaiting || s.good > 0 || now.Sub(s.oldest) < untriedPatience
			return
		}
		if best == nil || s.rank() < best.rank() {
			best = s
		}
	})
	if best != nil || worthWaiting {
		return best
	}
	if b.seeding > 0 && (!idle || bits.Len(uint(now.Sub(b.seeded)/seedPatience)) < b.seeding) {
		return nil
	}
	if now.Sub(b.denied) > longestRest {
		b.absent = set{}
	}
	for _, s := range seeders {
		if s != joiner && !b.absent.has(s.place) && !joiner.rests[s.place].holds(now) && s.uploads < s.limit() &&
			(best == nil || s.rank() < best.rank()) {
			best = s
		}
	}
	return best
}

func (r rest) holds(now time.Time) bool { return r.ever || now.Before(r.until) }

// limit is how many blobs the source may give at once.
func (s *source) limit() int {
	switch {
	case s.seeder:
		return uploadsPerSeeder
	case s.good == 0:
		return untriedUploads
	}
	return uploadsPerSource
}

// rank orders sources of the same blob: those that failed fewer joiners first, then those that give less now.
func (s *source) rank() int { return (s.failed.count()+s.refuted.count())*(maxUploads+1) + s.uploads }

// isDoubtful tells whether so many joiners had trouble with a joiner that nobody is sent to it. Seeders never are:
// joiners could agree to strike them off.
func (s *source) isDoubtful() bool {
	return !s.seeder && (s.refuted.count() >= doubtful || s.failed.count() >= doubtful && s.failed.count() > s.good)
}
