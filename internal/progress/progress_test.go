package progress_test

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"airgap/internal/progress"
)

// clock is moved by hand.
type clock struct{ time.Time }

func (c *clock) now() time.Time { return c.Time }

// transfer moves 4 GB in steps of 100 MB, one each second.
func transfer(terminal bool, finish func(*progress.Progress)) string {
	var out bytes.Buffer
	c := &clock{time.Unix(0, 0)}
	p := progress.New(&out, terminal, "import", 4e9).WithClock(c.now)
	for range 22 {
		c.Time = c.Add(time.Second)
		p.Add(100e6)
	}
	finish(p)
	return out.String()
}

func TestPlainLinesAreSecondsApart(t *testing.T) {
	got := transfer(false, (*progress.Progress).Done)
	want := "import:  25 %, 1.00 GB of 4.00 GB, 100 MB/s, 30 s left\n" +
		"import:  50 %, 2.00 GB of 4.00 GB, 100 MB/s, 20 s left\n" +
		"import: 2.20 GB in 22 s (100 MB/s)\n"
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestTerminalRedrawsOneLine(t *testing.T) {
	got := transfer(true, (*progress.Progress).Done)
	if n := bytes.Count([]byte(got), []byte("\n")); n != 1 {
		t.Errorf("%d line ends, want 1: %q", n, got)
	}
	if n := bytes.Count([]byte(got), []byte("\r\x1b[J")); n != 22 { // 22 times drawn and the last line; nothing before the first
		t.Errorf("drawn over %d times, want 22", n)
	}
}

func TestStopClearsTheLine(t *testing.T) {
	got := transfer(true, (*progress.Progress).Stop)
	if !bytes.HasSuffix([]byte(got), []byte("left\r\x1b[J")) {
		t.Errorf("the line still stands: %q", got)
	}
}

func TestUnknownTotal(t *testing.T) {
	var out bytes.Buffer
	c := &clock{time.Unix(0, 0)}
	p := progress.New(&out, false, "hash", 0).WithClock(c.now)
	c.Time = c.Add(time.Minute)
	p.Add(120e6)
	if got, want := out.String(), "hash: 120 MB, 2.00 MB/s\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// screen is what a terminal shows after what was written to it.
func screen(written string) []string {
	lines, at, column := []string{""}, 0, 0
	for len(written) > 0 {
		var up int
		switch n, _ := fmt.Sscanf(written, "\x1b[%dA", &up); {
		case n == 1:
			at -= up
			written = written[strings.Index(written, "A")+1:]
			continue
		case strings.HasPrefix(written, "\x1b[J"):
			lines = append(lines[:at:at], lines[at][:column])
			written = written[len("\x1b[J"):]
			continue
		}
		switch c := written[0]; c {
		case '\r':
			column = 0
		case '\n':
			if at++; at == len(lines) {
				lines = append(lines, "")
			}
			column = 0
		default:
			lines[at] = lines[at][:column] + string(c)
			column++
		}
		written = written[1:]
	}
	return lines
}

// TestTransfers draws the whole and what moves of it.
func TestTransfers(t *testing.T) {
	var out bytes.Buffer
	c := &clock{time.Unix(0, 0)}
	p := progress.New(&out, true, "build", 4e9).WithClock(c.now)
	a, b := p.Begin("layer a", 1e9), p.Begin("layer b", 2e9)
	step := func() {
		c.Time = c.Add(time.Second)
		a.Add(100e6)
		b.Add(50e6)
		p.Add(150e6)
	}
	show := func(want ...string) {
		t.Helper()
		if got := screen(out.String()); !slices.Equal(got, want) {
			t.Errorf("got\n%q\nwant\n%q", got, want)
		}
	}
	c.Time = c.Add(time.Second)
	a.Add(100e6)
	show("build:   0 %, 0 B of 4.00 GB, 0 B/s",
		"  layer a:  10 %, 100 MB of 1.00 GB, 100 MB/s, 9.0 s left",
		"  layer b:   0 %, 0 B of 2.00 GB, 0 B/s")
	b.Add(50e6)
	p.Add(150e6)
	for range 4 {
		step()
	}
	a.End()
	c.Time = c.Add(time.Second)
	p.Add(0)
	lines := screen(out.String())
	if len(lines) != 2 || !strings.HasPrefix(lines[0], "build:  18 %, 750 MB of 4.00 GB, ") || !strings.HasPrefix(lines[1], "  layer b:  12 %, 250 MB of 2.00 GB, ") {
		t.Errorf("after the end of one: %q", lines)
	}
	p.Pause()
	out.WriteString("Wanted: site.airgap.002\n")
	step()
	show("Wanted: site.airgap.002", "")
	p.Resume()
	step()
	if lines = screen(out.String()); len(lines) != 3 || lines[0] != "Wanted: site.airgap.002" || !strings.HasPrefix(lines[2], "  layer b: ") {
		t.Errorf("after a pause: %q", lines)
	}
	b.End()
	p.Done()
	show("Wanted: site.airgap.002", "build: 1.05 GB in 8.0 s (131 MB/s)", "")
}

// TestManyTransfers draws no more of them than fit a screen, and no line that wraps.
func TestManyTransfers(t *testing.T) {
	var out bytes.Buffer
	c := &clock{time.Unix(0, 0)}
	p := progress.New(&out, true, "build", 4e9).WithClock(c.now)
	for range 20 {
		p.Begin(strings.Repeat("ä", 100), 1e9)
	}
	c.Time = c.Add(time.Second)
	p.Add(1)
	lines := strings.Split(out.String(), "\n")
	if len(lines) != 10 || lines[9] != "  and 12 more" || utf8.RuneCountInString(lines[1]) != 79 {
		t.Errorf("%q", lines)
	}
}

// TestTransfersOfALog are not printed: there the whole is.
func TestTransfersOfALog(t *testing.T) {
	var out bytes.Buffer
	c := &clock{time.Unix(0, 0)}
	p := progress.New(&out, false, "build", 4e9).WithClock(c.now)
	layer := p.Begin("layer a", 1e9)
	c.Time = c.Add(time.Minute)
	layer.Add(1e9)
	p.Add(1e9)
	layer.End()
	if got, want := out.String(), "build:  25 %, 1.00 GB of 4.00 GB, 16.7 MB/s, 3 min 00 s left\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestNilPrintsNothing(t *testing.T) {
	var p *progress.Progress
	p.Add(1)
	p.Set(1, 2)
	layer := p.Begin("layer", 1)
	layer.Add(1)
	layer.End()
	p.Pause()
	p.Resume()
	p.Done()
	p.Stop()
}

func TestBytes(t *testing.T) {
	for n, want := range map[int64]string{
		0: "0 B", 999: "999 B", 1000: "1.00 kB", 12345: "12.3 kB", 999499: "999 kB",
		999500: "1.00 MB", 1238700000: "1.24 GB", 1 << 62: "4.61 EB",
	} {
		if got := progress.Bytes(n); got != want {
			t.Errorf("Bytes(%d) = %q, want %q", n, got, want)
		}
	}
}
