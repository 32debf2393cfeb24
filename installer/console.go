package installer

import (
	"fmt"
	"io"
	"time"

	"airgap/installer/preflight"
	"airgap/internal/progress"
)

// console tells a person what an install does: a line for each step, "[3/12] import: 412 MB, 5.1 s".
type console struct {
	out      io.Writer
	terminal bool
	total    int
	label    string // of the step that runs: "[3/12] import"
	transfer *progress.Progress
	waiting  string // what stands on the terminal's line
}

func newConsole(out io.Writer, terminal bool, total int) *console {
	return &console{out: out, terminal: terminal, total: total}
}

func (c *console) begin(number int, name string) {
	c.label = fmt.Sprintf("[%*d/%d] %s", len(fmt.Sprint(c.total)), number, c.total, name)
	c.wait("")
}

// wait shows what the running step waits for: on a terminal only, in place of what it showed before.
func (c *console) wait(what string) {
	if !c.terminal {
		return
	}
	c.clear()
	c.waiting = c.label + " …"
	if what != "" {
		c.waiting += " " + what
	}
	fmt.Fprint(c.out, c.waiting)
}

// clear empties the terminal's line.
func (c *console) clear() {
	if c.terminal && c.waiting != "" {
		fmt.Fprint(c.out, "\r\x1b[K")
		c.waiting = ""
	}
}

// bytes shows the progress of a transfer within the running step.
func (c *console) bytes(total int64) *progress.Progress {
	c.clear()
	c.transfer = progress.New(c.out, c.terminal, c.label, total)
	return c.transfer
}

// end tells that the running step is done.
func (c *console) end(detail string, took time.Duration) {
	c.abandon()
	line := c.label
	if detail != "" {
		line += ": " + detail
	}
	fmt.Fprintf(c.out, "%s (%.1f s)\n", line, took.Seconds())
}

// abandon takes the running step's line off the terminal.
func (c *console) abandon() {
	c.transfer.Stop()
	c.transfer = nil
	c.clear()
}

func (c *console) note(text string) {
	c.clear()
	fmt.Fprintln(c.out, text)
}

func (c *console) warn(text string) { c.note("warning: " + text) }

func (c *console) warnings(findings []Finding) {
	for _, f := range preflight.Only(findings, preflight.Warn) {
		c.warn(f.String())
	}
}
