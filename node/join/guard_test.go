package join

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"airgap/internal/site"
)

func newGuard() (*guard, *clock, *logBuffer) {
	c, log := &clock{now: time.Now()}, &logBuffer{}
	return &guard{now: c.Now, log: slog.New(slog.NewTextHandler(log, nil))}, c, log
}

func TestDelayGrows(t *testing.T) {
	g, clock, _ := newGuard()
	const thief = "10.0.0.66:1000"
	for i, want := range []time.Duration{time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second, 16 * time.Second, 32 * time.Second, time.Minute, time.Minute} {
		if err := g.mayTry(thief); err != nil {
			t.Fatalf("try %d: %v", i, err)
		}
		g.wrong(thief)
		clock.advance(want - time.Millisecond)
		var wait *waitError
		var refused *site.Error
		if err := g.mayTry("10.0.0.66:2000"); !errors.As(err, &wait) || !errors.As(err, &refused) || refused.Code != site.CodeBusy {
			t.Fatalf("%s after wrong token %d from another port: %v", want, i+1, err)
		}
		clock.advance(time.Millisecond)
	}
	if err := g.mayTry("10.0.0.67:1000"); err != nil {
		t.Errorf("a neighbour: %v", err)
	}
	// When the time is up one may try, and the others of the same moment wait for what comes of it.
	if g.mayTry(thief) != nil || g.mayTry(thief) == nil {
		t.Error("many tokens at once are looked at after a wrong one")
	}
	g.right(thief)
	if g.mayTry(thief) != nil || g.mayTry(thief) != nil {
		t.Error("the right token does not open the door")
	}
	g.wrong(thief)
	clock.advance(forgetAfter + time.Second)
	g.wrong(thief)
	clock.advance(firstDelay)
	if err := g.mayTry(thief); err != nil {
		t.Errorf("an old fault is held against the address: %v", err)
	}
}

func TestOneMachineHasManyIPv6Addresses(t *testing.T) {
	g, _, _ := newGuard()
	g.wrong("[2001:db8::1]:1000")
	if g.mayTry("[2001:db8::2]:1000") == nil {
		t.Error("another address of the same network is another asker")
	}
	if err := g.mayTry("[2001:db8:0:1::1]:1000"); err != nil {
		t.Error(err)
	}
	if source("10.0.0.1:5") != source("[::ffff:10.0.0.1]:6") || source("nowhere").IsValid() {
		t.Error("addresses are not told apart by what they are")
	}
}

func TestPlacesAreBounded(t *testing.T) {
	g, clock, _ := newGuard()
	var leave []func()
	for range maxUnknown {
		l, ok := g.enter("10.0.0.66:1")
		if !ok {
			t.Fatal("no place")
		}
		leave = append(leave, l)
	}
	if _, ok := g.enter("10.0.0.66:1"); ok {
		t.Error("an address has any number of places")
	}
	if _, ok := g.enter("10.0.0.67:1"); !ok {
		t.Error("one address takes the places of another")
	}
	for _, l := range leave {
		l()
	}
	if _, ok := g.enter("10.0.0.66:1"); !ok {
		t.Error("places are not given back")
	}
	// Memory is bounded, and who has just shown a wrong token is not forgotten for those who show none.
	g.wrong("10.0.0.66:1")
	for i := range 2 * maxAddresses {
		clock.advance(time.Microsecond)
		if l, ok := g.enter(fmt.Sprintf("10.1.%d.%d:1", i/256, i%256)); ok {
			l()
		}
	}
	if len(g.askers) > maxAddresses || g.mayTry("10.0.0.66:1") == nil {
		t.Errorf("%d addresses are remembered", len(g.askers))
	}
	for i := range 2 * maxAddresses {
		clock.advance(time.Microsecond)
		g.wrong(fmt.Sprintf("10.2.%d.%d:1", i/256, i%256))
	}
	if len(g.askers) > maxAddresses {
		t.Errorf("%d addresses are remembered", len(g.askers))
	}
}

func TestLogIsBounded(t *testing.T) {
	g, clock, log := newGuard()
	for range 1000 {
		g.wrong("10.0.0.66:1")
		clock.advance(10 * time.Millisecond)
	}
	if lines := strings.Count(log.String(), "\n"); lines < 2 || lines > 3 {
		t.Errorf("ten seconds of wrong tokens are %d lines: %s", lines, log)
	}
}
