// Package watchdog finds out whether the parts of a process make progress, and never takes a slow machine for a
// hung one.
//
// Every [Interval] each part is asked for a proof: an answer that only a working part gives. A part counts as hung
// after [Patience] rounds in a row that brought none, each of which waited [ProofTimeout]. Rounds are
// counted, not time: a machine that was suspended, or whose clock jumped, has lost none. A round that began
// late, because this process itself got no processor, does not count: the machine is slow then, and a start would
// make it slower. A part that refuses connections ([syscall.ECONNREFUSED]) is not there yet, or starts again: that is no
// hang either.
package watchdog

import (
	"context"
	"errors"
	"sync"
	"syscall"
	"time"
)

const (
	// Interval is between the end of a round and the begin of the next.
	Interval = 20 * time.Second
	// ProofTimeout is how long one proof may take.
	ProofTimeout = 30 * time.Second
	// Patience is how many rounds without a proof make a part hung: five minutes at least, up to twelve.
	Patience = 15
	// tolerance is how late a round may begin and still count.
	tolerance = 2 * time.Second
)

// Part is what is watched.
type Part struct {
	Name  string
	Proof func(ctx context.Context) error // nil: it works
	Hung  func(err error)                 // called when it is hung, with the last error; afterwards it has all its patience again
}

// Watchdog asks parts for proofs.
type Watchdog struct {
	Parts []Part
	Alive func()        // called after each round: this process itself makes progress; may be nil
	Every time.Duration // Alive is called at least so often; 0: as often as there are rounds

	interval time.Duration    // tests; 0: Interval
	now      func() time.Time // tests; nil: time.Now
}

// Run watches until ctx is done.
func (w *Watchdog) Run(ctx context.Context) {
	interval, now := w.interval, w.now
	if interval == 0 {
		interval = Interval
	}
	if w.Every > 0 { // half for the wait, half for the proofs
		interval = min(interval, w.Every/4)
	}
	if now == nil {
		now = time.Now
	}
	misses := make([]int, len(w.Parts))
	for {
		planned := now().Add(interval)
		select {
		case <-ctx.Done():
			return
		case <-time.After(interval):
		}
		slow := now().Sub(planned) > tolerance
		errs := w.round(ctx)
		if ctx.Err() != nil {
			return
		}
		if w.Alive != nil {
			w.Alive()
		}
		for i, err := range errs {
			switch {
			case err == nil, errors.Is(err, syscall.ECONNREFUSED):
				misses[i] = 0
			case !slow:
				misses[i]++
			}
			if misses[i] >= Patience {
				misses[i] = 0
				w.Parts[i].Hung(err)
			}
		}
	}
}

// round asks all parts at once.
func (w *Watchdog) round(ctx context.Context) []error {
	timeout := ProofTimeout
	if w.Every > 0 {
		timeout = min(timeout, w.Every/4)
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	errs := make([]error, len(w.Parts))
	var all sync.WaitGroup
	for i, part := range w.Parts {
		all.Go(func() { errs[i] = part.Proof(ctx) })
	}
	all.Wait()
	return errs
}
