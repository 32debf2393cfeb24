// Package progress tells a person how far a long transfer has come, as a whole and in its parts: lines that
// are redrawn with rate and time left on a terminal, and plain lines for the whole, seconds apart,
// where the output is a file or a log.
//
// It knows no terminal and no clock of its own: both are handed in, so that what it
// prints can be tested to the byte.
package progress

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	redrawEvery = 100 * time.Millisecond // on a terminal
	lineEvery   = 10 * time.Second       // elsewhere
	// mostTransfers is how many of the transfers under way are drawn: a terminal has 24 lines at least.
	mostTransfers = 8
	// mostColumns is how long a drawn line may be: one that wraps could not be drawn over.
	mostColumns = 79
)

// Progress reports a known number of bytes that move. Its methods may be
// called by several goroutines. A nil Progress accepts every call and prints nothing.
type Progress struct {
	mu       sync.Mutex
	out      io.Writer
	terminal bool
	now      func() time.Time

	whole     meter
	transfers []*Transfer // under way, in the order in which they began
	began     time.Time
	printed   time.Time // when the last line went out
	height    int       // lines standing on the terminal
	paused    bool      // nothing is drawn
	finished  bool
}

// New starts a report of a transfer of total bytes (0 if not known) called label, as
// in "verify". Nothing is printed before the first byte has been counted.
func New(w io.Writer, terminal bool, label string, total int64) *Progress {
	p := &Progress{out: w, terminal: terminal, whole: meter{label: label, total: total}}
	return p.WithClock(time.Now)
}

// WithClock replaces the clock and starts the transfer at its present time.
func (p *Progress) WithClock(now func() time.Time) *Progress {
	p.now, p.began = now, now()
	p.printed, p.whole.sampled = p.began, p.began
	return p
}

// Add counts n more bytes.
func (p *Progress) Add(n int64) {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.whole.done += n
	p.show()
}

// Set says that done of total bytes have been moved: the signature of a callback.
func (p *Progress) Set(done, total int64) {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.whole.done, p.whole.total = done, total
	p.show()
}

// Transfer is one of the things that move while a [Progress] reports the whole. A nil Transfer accepts every call. What it counts is
// not added to the whole: that is the callers' to do, who may know more of it.
type Transfer struct {
	of *Progress
	meter
}

// Begin starts the report of a transfer of total bytes within the whole. On a terminal it has a line until [Transfer.End].
func (p *Progress) Begin(label string, total int64) *Transfer {
	if p == nil || !p.terminal {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	t := &Transfer{p, meter{label: label, total: total, sampled: p.now()}}
	p.transfers = append(p.transfers, t)
	return t
}

// Add counts n more bytes of the transfer.
func (t *Transfer) Add(n int64) {
	if t == nil {
		return
	}
	t.of.mu.Lock()
	defer t.of.mu.Unlock()
	t.done += n
	t.of.show()
}

// End takes the transfer's line away.
func (t *Transfer) End() {
	if t == nil {
		return
	}
	t.of.mu.Lock()
	defer t.of.mu.Unlock()
	t.of.transfers = slices.DeleteFunc(t.of.transfers, func(other *Transfer) bool { return other == t })
}

// Pause takes what is drawn off the terminal, so that somebody else can write there, until Resume.
func (p *Progress) Pause() {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.clear()
	p.paused = true
}

// Resume draws again, where the cursor is then.
func (p *Progress) Resume() {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.paused = false
}

// Done ends the report with the bytes, the time they took, and the mean rate. Calls
// after the first do nothing, so that it can be deferred as well.
func (p *Progress) Done() {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.finished {
		return
	}
	p.finished = true
	took := p.now().Sub(p.began)
	line := fmt.Sprintf("%s: %s in %s", p.whole.label, Bytes(p.whole.done), seconds(took))
	if took > 0 {
		line += fmt.Sprintf(" (%s/s)", Bytes(int64(float64(p.whole.done)/took.Seconds())))
	}
	p.clear()
	fmt.Fprintln(p.out, line)
}

// Stop ends a report that did not come to its end: it clears the terminal,
// so that an error can be printed there.
func (p *Progress) Stop() {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.clear()
	p.finished = true
}

// show prints how far it all is, if that is due.
func (p *Progress) show() {
	now, every := p.now(), lineEvery
	if p.terminal {
		every = redrawEvery
	}
	if p.finished || p.paused || now.Sub(p.printed) < every {
		return
	}
	p.printed = now
	p.whole.sample(now)
	if !p.terminal {
		fmt.Fprintln(p.out, p.whole.line())
		return
	}
	lines := []string{p.whole.line()}
	for i, t := range p.transfers {
		t.sample(now)
		if i < mostTransfers {
			lines = append(lines, "  "+t.line())
		}
	}
	if more := len(p.transfers) - mostTransfers; more > 0 {
		lines = append(lines, fmt.Sprintf("  and %d more", more))
	}
	for i, line := range lines {
		if columns := []rune(line); len(columns) > mostColumns {
			lines[i] = string(columns[:mostColumns])
		}
	}
	fmt.Fprint(p.out, p.erase(), strings.Join(lines, "\n"))
	p.height = len(lines)
}

// clear takes what is drawn off the terminal. The cursor is then where it began.
func (p *Progress) clear() {
	if erase := p.erase(); erase != "" {
		fmt.Fprint(p.out, erase)
	}
	p.height = 0
}

// erase is what moves the cursor to the beginning of what is drawn and erases all from there (ECMA-48: CUU, ED); nothing if
// nothing is drawn.
func (p *Progress) erase() string {
	switch p.height {
	case 0:
		return ""
	case 1:
		return "\r\x1b[J"
	}
	return fmt.Sprintf("\r\x1b[%dA\x1b[J", p.height-1)
}

// Bytes writes a number of bytes in decimal units with three significant digits:
// "812 B", "1.24 GB".
func Bytes(n int64) string {
	if n < 1000 {
		return fmt.Sprintf("%d B", n)
	}
	value, units := float64(n), "kMGTPE"
	unit := -1
	for value >= 999.5 && unit < len(units)-1 {
		value /= 1000
		unit++
	}
	decimals := 2
	if value >= 99.95 {
		decimals = 0
	} else if value >= 9.995 {
		decimals = 1
	}
	return fmt.Sprintf("%.*f %cB", decimals, value, units[unit])
}

// seconds writes a duration as a person reads it: "0.4 s", "12 s", "3 min 05 s", "2 h 10 min".
func seconds(d time.Duration) string {
	switch {
	case d < 10*time.Second:
		return fmt.Sprintf("%.1f s", d.Seconds())
	case d < time.Minute:
		return fmt.Sprintf("%.0f s", d.Seconds())
	case d < time.Hour:
		return fmt.Sprintf("%d min %02d s", int(d.Minutes()), int(d.Seconds())%60)
	}
	return fmt.Sprintf("%d h %02d min", int(d.Hours()), int(d.Minutes())%60)
}
