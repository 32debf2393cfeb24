package progress_test

import (
	"bytes"
	"testing"
	"time"

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
	if n := bytes.Count([]byte(got), []byte("\r")); n != 23 {
		t.Errorf("drawn %d times, want 23", n)
	}
}

func TestStopClearsTheLine(t *testing.T) {
	got := transfer(true, (*progress.Progress).Stop)
	if !bytes.HasSuffix([]byte(got), []byte(" \r")) {
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

func TestNilPrintsNothing(t *testing.T) {
	var p *progress.Progress
	p.Add(1)
	p.Set(1, 2)
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
