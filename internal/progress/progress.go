// Package progress tells a person how far a long transfer has come: one line that
// is redrawn with rate and time left on a terminal, and plain lines, seconds apart,
// where the output is a file or a log.
//
// It knows no terminal and no clock of its own: both are handed in, so that what it
// prints can be tested to the byte.
package progress

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
)

const (
	redrawEvery = 100 * time.Millisecond // on a terminal
	lineEvery   = 10 * time.Second       // elsewhere
	rateWindow  = 5 * time.Second        // the rate shown is the mean over about this long
)

// Progress reports one transfer of a known number of bytes. Its methods may be
// called by several goroutines. A nil Progress accepts every call and prints nothing.
type Progress struct {
	mu       sync.Mutex
	out      io.Writer
	terminal bool
	label    string
	now      func() time.Time

	total, done int64
	began       time.Time
	printed     time.Time // when the last line went out
	width       int       // of the line standing on the terminal, in columns
	finished    bool

	sampled     time.Time // when rate was last brought up to date
	sampledDone int64
	rate        float64 // bytes per second, smoothed
}

// New starts a report of a transfer of total bytes (0 if not known) called label, as
// in "verify". Nothing is printed before the first byte has been counted.
func New(w io.Writer, terminal bool, label string, total int64) *Progress {
	return (&Progress{out: w, terminal: terminal, label: label, total: total}).WithClock(time.Now)
}

// WithClock replaces the clock and starts the transfer at its present time.
func (p *Progress) WithClock(now func() time.Time) *Progress {
	p.now, p.began = now, now()
	p.printed, p.sampled = p.began, p.began
	return p
}

// Add counts n more bytes.
func (p *Progress) Add(n int64) {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.update(p.done+n, p.total)
}

// Set says that done of total bytes have been moved: the signature of a callback.
func (p *Progress) Set(done, total int64) {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.update(done, total)
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
	line := fmt.Sprintf("%s: %s in %s", p.label, Bytes(p.done), seconds(took))
	if took > 0 {
		line += fmt.Sprintf(" (%s/s)", Bytes(int64(float64(p.done)/took.Seconds())))
	}
	p.print(line)
	if p.terminal {
		fmt.Fprintln(p.out)
	}
}

// Stop ends a report that did not come to its end: it clears the terminal's line,
// so that an error can be printed there.
func (p *Progress) Stop() {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.finished && p.terminal && p.width > 0 {
		fmt.Fprintf(p.out, "\r%s\r", strings.Repeat(" ", p.width))
	}
	p.finished = true
}

// update stores the new state and prints it if a line is due.
func (p *Progress) update(done, total int64) {
	p.done, p.total = done, total
	now, every := p.now(), lineEvery
	if p.terminal {
		every = redrawEvery
	}
	if p.finished || now.Sub(p.printed) < every {
		return
	}
	p.sample(now)
	p.printed = now
	p.print(p.line())
}

// sample brings the smoothed rate up to date: an exponential mean whose weight
// depends on the time passed, so that it does not matter how often it is called.
func (p *Progress) sample(now time.Time) {
	passed := now.Sub(p.sampled)
	if passed <= 0 {
		return
	}
	latest := float64(p.done-p.sampledDone) / passed.Seconds()
	weight := min(1, passed.Seconds()/rateWindow.Seconds())
	if p.rate == 0 {
		weight = 1
	}
	p.rate += weight * (latest - p.rate)
	p.sampled, p.sampledDone = now, p.done
}

// line is the state of a running transfer.
func (p *Progress) line() string {
	rate := fmt.Sprintf("%s/s", Bytes(int64(p.rate)))
	if p.total <= 0 {
		return fmt.Sprintf("%s: %s, %s", p.label, Bytes(p.done), rate)
	}
	line := fmt.Sprintf("%s: %3d %%, %s of %s, %s", p.label, 100*p.done/p.total, Bytes(p.done), Bytes(p.total), rate)
	if p.rate > 0 && p.done < p.total {
		left := time.Duration(float64(p.total-p.done) / p.rate * float64(time.Second))
		line += ", " + seconds(left) + " left"
	}
	return line
}

// print writes a line: over the last one on a terminal, below it elsewhere.
func (p *Progress) print(line string) {
	if !p.terminal {
		fmt.Fprintln(p.out, line)
		return
	}
	fmt.Fprintf(p.out, "\r%-*s", p.width, line)
	p.width = len(line)
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
