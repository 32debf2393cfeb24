package peer

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"airgap/internal/site"
)

const (
	// directBytes is the size up to which a blob is taken straight from a node that holds everything.
	directBytes = 16 << 10
	// directSlots is how many of those are taken at once.
	directSlots = 4
	// directTries is how often, before the tracker is asked about one of them too.
	directTries = 4
	// absentRest is when peers are asked again that did not have a blob, if there is no tracker.
	absentRest = 5 * time.Second
	// heartbeat is how often the tracker hears of this machine.
	heartbeat = 3 * time.Second
	// trackerPatience is how long the tracker may be silent before peers are asked without it.
	trackerPatience = 10 * time.Second
	// exchangeTimeout bounds one question to the tracker.
	exchangeTimeout = 10 * time.Second
	// shortestBackoff and longestBackoff are before another question to a tracker that did not answer.
	shortestBackoff = 500 * time.Millisecond
	longestBackoff  = 8 * time.Second
	// waitingLonger is how many times the stall timeout a machine waits while the tracker tells it to.
	waitingLonger = 3
	// hopelessAfter is how long to wait for a peer that can be believed when all nodes that hold everything have given wrong bytes.
	hopelessAfter = 30 * time.Second
)

// errLiars is a tracker's answer that names nobody but those who gave wrong bytes.
var errLiars = errors.New("it names only machines that gave other bytes")

// run decides what to take until ctx is done.
func (f *Fetcher) run(ctx context.Context) {
	var asked, next time.Time // of the last question to the tracker; before when not to ask for more
	var backoff time.Duration
	for ctx.Err() == nil {
		f.checkStall()
		f.startDirect(ctx)
		now := time.Now()
		if f.options.Tracker != nil {
			request, urgent := f.question()
			wanting := request.Slots > 0 && len(request.Want) > 0
			if backoff == 0 && (urgent || now.Sub(asked) >= heartbeat) || wanting && !now.Before(next) || backoff > 0 && !now.Before(next) {
				wait, err := f.exchange(ctx, request)
				if backoff = 0; err != nil {
					backoff = min(max(2*backoff, shortestBackoff), longestBackoff)
					wait = backoff
				}
				asked = time.Now()
				next = asked.Add(jitter(wait))
				continue
			}
		}
		select {
		case <-ctx.Done():
		case <-f.wake:
		case <-time.After(min(heartbeat, max(time.Until(next), 100*time.Millisecond))):
		}
	}
}

// jitter spreads the questions of machines that were told the same.
func jitter(d time.Duration) time.Duration {
	return time.Duration(float64(d) * (0.75 + rand.Float64()/2))
}

// question is what to tell the tracker, and whether that should not wait.
func (f *Fetcher) question() (request site.ExchangeRequest, urgent bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	request = site.ExchangeRequest{
		Address: f.options.Address,
		Have:    slices.Clone(f.have[f.told:min(len(f.have), f.told+maxDigests)]),
		Done:    slices.Clone(f.done[:min(len(f.done), maxReports)]),
		Failed:  slices.Clone(f.failed[:min(len(f.failed), maxReports)]),
		Slots:   f.free(),
	}
	for _, digest := range f.order {
		if w := f.blobs[digest]; w.state == missing && !w.direct() && len(request.Want) < maxDigests {
			request.Want = append(request.Want, digest)
		}
	}
	return request, len(request.Done)+len(request.Failed) > 0
}

// free is how many large blobs more can be taken now. The lock is held.
func (f *Fetcher) free() int {
	if f.err != nil || f.waiting >= maxSpooledBytes {
		return 0
	}
	return max(f.options.Slots-f.large, 0)
}

// direct tells whether the blob is not worth a question to the tracker.
func (w *wanted) direct() bool { return w.Size <= directBytes && w.failures < directTries }

// exchange talks to the tracker once, starts what it says, and returns when to ask for more.
func (f *Fetcher) exchange(ctx context.Context, request site.ExchangeRequest) (time.Duration, error) {
	asking, cancel := context.WithTimeout(ctx, exchangeTimeout)
	defer cancel()
	answer, err := f.options.Tracker.Exchange(asking, request)
	f.mu.Lock()
	defer f.mu.Unlock()
	if err != nil {
		f.reasons["the server"] = err.Error()
		return 0, err
	}
	delete(f.reasons, "the server")
	f.heard = time.Now()
	knew := f.told > 0
	f.told += len(request.Have)
	if answer.Forgot && knew {
		f.told = 0
	}
	f.done, f.failed = f.done[len(request.Done):], f.failed[len(request.Failed):]
	liars := 0
	for _, take := range answer.Take {
		w := f.blobs[take.Digest]
		switch {
		case w == nil || w.state != missing || f.free() == 0:
			// It is among what is wanted the next time, which tells the tracker.
		case f.rests[take.From].ever:
			f.failed = append(f.failed, site.Take{Digest: take.Digest, From: take.From, Why: site.WhyBytes})
			liars++
		default:
			f.start(ctx, w, take.From, true)
		}
	}
	if liars > 0 && liars == len(answer.Take) {
		f.reasons["the server"] = errLiars.Error()
		return 0, errLiars
	}
	return max(answer.Wait, 0), nil
}

// startDirect takes blobs from nodes that hold everything, without a question: small ones, and all while there is
// no tracker.
func (f *Fetcher) startDirect(ctx context.Context) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := time.Now()
	alone := f.options.Tracker == nil || now.Sub(f.heard) > trackerPatience
	for _, digest := range f.order {
		w := f.blobs[digest]
		switch {
		case w.state != missing || f.err != nil:
			continue
		case w.Size <= directBytes && (f.tiny >= directSlots || !alone && !w.direct()):
			continue
		case w.Size > directBytes && (!alone || f.free() == 0):
			continue
		}
		if from := f.pick(w, now); from != "" {
			f.start(ctx, w, from, false)
		}
	}
	f.order = slices.DeleteFunc(f.order, func(digest string) bool { s := f.blobs[digest].state; return s == spooled || s == held })
}

// pick chooses a node that holds everything at random; empty if none can be asked now.
func (f *Fetcher) pick(w *wanted, now time.Time) string {
	var able []string
	for _, from := range f.options.Peers {
		if !f.rests[from].holds(now) && !now.Before(w.absent[from]) {
			able = append(able, from)
		}
	}
	if len(able) == 0 {
		return ""
	}
	return able[rand.IntN(len(able))]
}

// checkStall gives up when nothing has come for a long time.
func (f *Fetcher) checkStall() {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := time.Now()
	if f.left == len(f.ready) || f.waiting >= maxSpooledBytes {
		f.moved = now
		return
	}
	limit := f.options.StallTimeout
	if f.options.Tracker != nil && now.Sub(f.heard) < trackerPatience {
		limit *= waitingLonger
	}
	if f.allLied() && f.large+f.tiny == 0 {
		limit = min(limit, f.hopeless)
	}
	if silent := now.Sub(f.moved); silent > limit && f.err == nil {
		f.err = fmt.Errorf("%w: %d blobs are missing, and nothing came for %v%s", ErrStalled, f.left-len(f.ready), silent.Round(time.Second), f.explain())
		poke(f.news)
	}
}

// allLied tells whether every node that holds everything has given wrong bytes. The lock is held.
func (f *Fetcher) allLied() bool {
	return len(f.options.Peers) > 0 && !slices.ContainsFunc(f.options.Peers, func(from string) bool { return !f.rests[from].ever })
}

// explain lists why peers gave nothing, ordered by peer.
func (f *Fetcher) explain() string {
	var list strings.Builder
	for _, from := range slices.Sorted(maps.Keys(f.reasons)) {
		fmt.Fprintf(&list, "; %s: %s", from, f.reasons[from])
	}
	return list.String()
}
