package fault

import (
	"fmt"
	"testing"

	"golang.org/x/sys/unix"

	"airgap/test/fault/trap"
)

// Ctrl-C ends an install soon, with the exit code that says so, and the next one goes on where it was.
func TestInterrupted(t *testing.T) {
	onlyWithPoints(t)
	m := newMachine(t)
	interrupts, late := make(count, len(m.steps)), 0
	for number, chain := range chains(m.calls.choose(*points / share)) {
		if !inPart(number) {
			continue
		}
		t.Run(fmt.Sprintf("chain %d", number+1), func(t *testing.T) {
			m := *m
			m.Node = m.Within(t)
			defer m.uninstall(t)
			furthest := 0
			for _, p := range chain {
				out, at := m.disturb(p, trap.Answer{Signal: unix.SIGINT}, nil)
				if out.err == nil { // it was done before it could stop
					late++
					furthest = len(m.steps)
					continue
				}
				interrupts[out.step]++
				furthest = max(furthest, out.step)
				if code := out.code(); code != 5 && m.steps[p.step] != "verify" { // the launcher, which unpacks, ends as any program does
					t.Errorf("exit code %d, want 5", code)
				}
				m.check(t, furthest)
				if t.Failed() {
					t.Fatalf("interrupted in step %s at call %d: %s %s\n%s", m.steps[out.step], p.number, at.Name, at.Path, out.said)
				}
			}
			m.converge(t)
		})
	}
	t.Logf("interrupts by step: %s; installs that were done before they stopped: %d", m.tell(interrupts), late)
}
