package bundle

import (
	"sync"

	"airgap/internal/progress"
)

// transferBytes is above what an entry must have for a report of its own: shorter ones are there before anybody has read it.
const transferBytes = 1 << 20

// reports tell of what moves.
type reports struct {
	moved    func(n int)                                        // of the whole
	transfer func(label string, bytes int64) *progress.Transfer // may be nil
}

// begin returns the report of one entry, nil if it has none.
func (r reports) begin(e Entry) *progress.Transfer {
	if r.transfer == nil || e.Size <= transferBytes {
		return nil
	}
	return r.transfer(e.Label(), e.Size)
}

// reports tell of the bytes of all items.
func (p *plan) reports(whole func(done, total int64), transfer func(label string, bytes int64) *progress.Transfer) reports {
	var total int64
	for _, item := range p.items {
		total += item.size
	}
	return reports{newReporter(total, whole), transfer}
}

// newReporter returns a function that adds to the bytes done and passes the sum on to progress, which may be nil.
func newReporter(total int64, progress func(done, total int64)) func(n int) {
	if progress == nil {
		return func(int) {}
	}
	var mu sync.Mutex
	var done int64
	return func(n int) {
		mu.Lock()
		defer mu.Unlock()
		done += int64(n)
		progress(done, total)
	}
}
