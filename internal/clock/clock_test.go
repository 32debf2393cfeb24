package clock

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func day(text string) time.Time {
	t, err := time.Parse(time.DateOnly, text)
	if err != nil {
		panic(err)
	}
	return t
}

func TestDecide(t *testing.T) {
	const issued = "2026-11-01"
	for _, test := range []struct{ name, now, last, want string }{
		{"all is well", "2027-03-01", "2027-02-28", "2027-03-01"},
		{"no battery", "1970-01-01", "2027-02-28", "2027-02-28"},
		{"no battery, at the first start", "1970-01-01", "", issued},
		{"the firmware's date", "2024-05-05", "2027-02-28", "2027-02-28"},
		{"a clock that stood still for months", "2027-01-01", "2027-06-01", "2027-06-01"},
		{"put right by a day's minutes", "2027-02-28", "2027-02-28", "2027-02-28"},
		{"the clock was in 2099 and is put right", "2027-03-01", "2099-01-01", "2027-03-01"},
		{"the clock was in 2099 and is in 1970 now", "1970-01-01", "2099-01-01", issued},
		{"the clock was three years ahead and is put right", "2027-03-01", "2030-03-02", "2027-03-01"},
		{"the clock is in 2099", "2099-01-01", "2027-02-28", "2099-01-01"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var last time.Time
			if test.last != "" {
				last = day(test.last)
			}
			if got := decide(day(test.now), last, []time.Time{{}, day(issued), day("2025-01-01")}); !got.Equal(day(test.want)) {
				t.Errorf("%s, want %s", got, test.want)
			}
		})
	}
}

func TestRaise(t *testing.T) {
	file := filepath.Join(t.TempDir(), "clock")
	if err := write(file, day("2027-02-28")); err != nil {
		t.Fatal(err)
	}
	var set time.Time
	o := Options{File: file, Now: func() time.Time { return day("1970-01-02") }, Set: func(t time.Time) error { set = t; return nil }}
	if raised, err := Raise(o); err != nil || !raised.To.Equal(set) || !set.Equal(day("2027-02-28")) {
		t.Errorf("no floor, but a time that was seen: %v, %v", raised, err)
	}
	if err := os.WriteFile(file, []byte("garbage"), 0o600); err != nil {
		t.Fatal(err)
	}
	o.Floors = []time.Time{day("2026-11-01")}
	if raised, err := Raise(o); err != nil || !raised.To.Equal(day("2026-11-01")) {
		t.Errorf("a damaged file: %v, %v", raised, err)
	}
	o.Set = func(time.Time) error { return errors.New("not permitted") }
	if _, err := Raise(o); err == nil || !strings.Contains(err.Error(), "date -u -s") {
		t.Errorf("%v: want what to do", err)
	}
	o.Now, o.Set = func() time.Time { return day("2027-01-01") }, func(time.Time) error { panic("a clock that is right was set") }
	if raised, err := Raise(o); err != nil || !raised.To.IsZero() {
		t.Errorf("%v, %v", raised, err)
	}
}

func TestKeepSeesJumps(t *testing.T) {
	for name, by := range map[string]time.Duration{"ahead": 40 * 365 * 24 * time.Hour, "back": -3 * 365 * 24 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "clock")
			var set atomic.Int64 // nanoseconds by which the clock was set
			boot := time.Now()
			now := func() time.Time { return day("2027-01-01").Add(time.Since(boot) + time.Duration(set.Load())) }
			ctx, cancel := context.WithCancel(t.Context())
			jumps, ended := make(chan time.Duration, 10), make(chan error)
			go func() {
				ended <- keep(ctx, file, time.Millisecond, func(by time.Duration) { jumps <- by }, now, func() time.Duration { return time.Since(boot) })
			}()
			time.Sleep(20 * time.Millisecond)
			if len(jumps) > 0 {
				t.Fatal("a jump was seen that was none")
			}
			set.Store(int64(by))
			if got := <-jumps; (got - by).Abs() > time.Second {
				t.Errorf("by %s, want %s", got, by)
			}
			cancel()
			if err := <-ended; err != nil {
				t.Fatal(err)
			}
			if last, err := read(file); err != nil || last.Sub(now()).Abs() > 2*time.Second {
				t.Errorf("the last time seen is %s, %v", last, err)
			}
		})
	}
}
