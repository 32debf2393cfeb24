package fault

import (
	"fmt"
	"testing"

	"golang.org/x/sys/unix"

	"airgap/test/fault/trap"
)

// Ctrl-C ends an install soon, with the exit code that says so, and the next one goes on where it was.
func TestInterruptedUntilSwitch(t *testing.T) { testInterrupts(t, untilSwitch) }
func TestInterruptedFromStart(t *testing.T)   { testInterrupts(t, fromStart) }

func testInterrupts(t *testing.T, h half) {
	onlyWithPoints(t)
	m := newMachine(t, h)
	interrupts, late := make(count, len(m.steps)), 0
	for number, chain := range m.chains(*points / share) {
		t.Run(fmt.Sprintf("chain %d", number+1), func(t *testing.T) {
			m := m.begin(t)
			defer m.end(t)
			furthest := 0
			for _, p := range chain {
				out, at := m.disturb(p, trap.Answer{Signal: unix.SIGINT}, nil)
				if out.err == nil || out.killed() { // it was done before it could stop
					late++
					furthest = max(furthest, out.step)
					continue
				}
				interrupts[out.step]++
				furthest = max(furthest, out.step)
				if code := out.code(); code != 5 && m.steps[p.step] != "verify" { // the launcher, which unpacks, ends as any program does
					t.Errorf("exit code %d, want 5", code)
				}
				m.check(t, furthest)
				if t.Failed() {
					t.Fatalf("interrupted in step %s at call %d: %+v\n%s", m.steps[out.step], p.number, at, out.said)
				}
			}
			m.converge(t)
		})
	}
	t.Logf("interrupts by step: %s; installs that were done before they stopped: %d", m.tell(interrupts), late)
}
