// Package clock keeps a machine without a good clock from living in the wrong year.
//
// A board without a battery begins in 1970 at each start, and no network tells it better. What it may go by is kept on its disk:
// times that are certainly past ([Floors]: when what it runs was made) and the last time that it has seen itself, which [Keep]
// writes down. [Raise] sets a clock that is behind those before certificates are judged by it. A clock is only
// ever raised: one that is ahead may be right.
package clock

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"airgap/internal/atomicfile"
)

const (
	// slack is how far behind the last time seen a clock may be: it may have been put right by that much.
	slack = 10 * time.Minute
	// believed bounds how far the last time seen may be ahead of a clock that is not certainly wrong. A clock that was years
	// ahead, and has been put right while the machine was off, must not be spoilt again.
	believed = 2 * 365 * 24 * time.Hour
	// absurd is a last time seen that is so long after everything certain that the clock must have been wrong then.
	absurd = 20 * 365 * 24 * time.Hour
	// Jump is how far a clock must be set, in one go, to count as one that was wrong.
	Jump = time.Hour
)

// written is when this package was: no machine that runs it lives before.
var written = time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)

// SystemEpoch is a file whose time systemd takes for certainly past (systemd-timesyncd.service(8)).
const SystemEpoch = "/usr/lib/clock-epoch"

// Raised is what Raise did; the zero value: nothing.
type Raised struct{ From, To time.Time }

// Options say where time is kept. The functions are for tests; nil is the machine's clock.
type Options struct {
	File   string      // the last time seen
	Floors []time.Time // that are certainly past; zero ones say nothing
	Now    func() time.Time
	Set    func(time.Time) error
}

// Raise sets the clock if it is behind. The error is of a clock that is and cannot be set.
func Raise(o Options) (Raised, error) {
	now := time.Now
	if o.Now != nil {
		now = o.Now
	}
	last, err := read(o.File)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		last = time.Time{} // it is written anew
	}
	is := now()
	should := decide(is, last, o.Floors)
	if !should.After(is) {
		return Raised{}, nil
	}
	set := setSystem
	if o.Set != nil {
		set = o.Set
	}
	if err := set(should); err != nil {
		return Raised{}, fmt.Errorf("the clock says %s, it is after %s, and the clock cannot be set: %w; set it with date -u -s", is.UTC().Format(time.RFC3339), should.UTC().Format(time.RFC3339), err)
	}
	return Raised{is, should}, nil
}

// decide returns the time to go by.
func decide(now, last time.Time, floors []time.Time) time.Time {
	floor := written
	for _, f := range floors {
		if f.After(floor) {
			floor = f
		}
	}
	if last.Sub(floor) > absurd {
		last = time.Time{}
	}
	if now.Before(floor) {
		if last.After(floor) {
			return last
		}
		return floor
	}
	if behind := last.Sub(now); behind > slack && behind < believed {
		return last
	}
	return now
}

// Keep writes the time down at the interval, and at its end, until ctx is done. It calls jumped, once, when somebody sets the clock by more
// than [Jump]: time since the machine's start goes on as before, a suspended machine's included.
func Keep(ctx context.Context, file string, interval time.Duration, jumped func(by time.Duration)) error {
	return keep(ctx, file, interval, jumped, time.Now, sinceBoot)
}

// looks is between two looks for a jump.
const looks = 10 * time.Second

func keep(ctx context.Context, file string, interval time.Duration, jumped func(time.Duration), now func() time.Time, sinceBoot func() time.Duration) error {
	offset := func() time.Duration { return time.Duration(now().UnixNano()) - sinceBoot() }
	begin, told := offset(), false
	err := write(file, now())
	tick := time.NewTicker(min(interval, looks))
	defer tick.Stop()
	for last := sinceBoot(); ; {
		select {
		case <-ctx.Done():
			return errors.Join(err, write(file, now()))
		case <-tick.C:
		}
		by := offset() - begin
		if by.Abs() > Jump && !told {
			told = true
			err = write(file, now()) // whoever sets a clock while it is looked at is believed
			jumped(by)
		}
		if sinceBoot()-last >= interval {
			err, last = write(file, now()), sinceBoot()
		}
	}
}

func read(file string) (time.Time, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return time.Time{}, err
	}
	return time.Parse(time.RFC3339, strings.TrimSpace(string(data)))
}

func write(file string, t time.Time) error {
	return atomicfile.Write(file, []byte(t.UTC().Format(time.RFC3339)+"\n"), 0o644)
}

func setSystem(t time.Time) error {
	tv := unix.NsecToTimeval(t.UnixNano())
	return unix.Settimeofday(&tv)
}

func sinceBoot() time.Duration {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts) // Linux has had it since 2.6.39
	return time.Duration(ts.Nano())
}
