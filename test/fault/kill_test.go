package fault

import (
	"fmt"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"airgap/test/fault/trap"
)

// rebooting is how often a kill is one of everything on the machine: each time after so many.
const rebooting = 4

// An install that is killed at any point, again and again, breaks no promise at any of them, and comes to its end when it is let.
func TestKilledUntilSwitch(t *testing.T) {
	testKills(t, untilSwitch, max(few, *points*7/10))
}

func TestKilledFromStart(t *testing.T) {
	testKills(t, fromStart, max(few, *points*3/10))
}

func testKills(t *testing.T, h half, total int) {
	m := newMachine(t, h)
	kills, undisturbed, began := make(count, len(m.steps)), 0, time.Now()
	for number, chain := range m.chains(total) {
		t.Run(fmt.Sprintf("chain %d", number+1), func(t *testing.T) {
			m := *m
			m.Node = m.Within(t)
			defer m.uninstall(t)
			furthest := 0
			for i, p := range chain {
				out, at := m.disturb(p, trap.Answer{Signal: unix.SIGKILL}, nil)
				if out.err == nil { // nothing was left to do in the step and after it
					undisturbed++
					continue
				}
				if !out.killed() {
					t.Fatalf("it ended by itself: %v\n%s", out.err, out.said)
				}
				furthest = max(furthest, out.step)
				kills[out.step]++
				what := "killed"
				if i%rebooting == rebooting-1 {
					what = "with all on the machine killed"
					m.Reboot()
				}
				m.check(t, furthest)
				if t.Failed() {
					t.Fatalf("%s in step %s before call %d: %+v", what, m.steps[out.step], p.number, at)
				}
			}
			m.converge(t)
		})
	}
	t.Logf("kills by step: %s; runs that ended before their point: %d; %.0f s", m.tell(kills), undisturbed, time.Since(began).Seconds())
}
