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
	testKills(t, fromStart, max(few/2, *points*3/10))
}

// An upgrade that is killed at any point leaves a node that goes on, or comes up again, by itself with all that was written, and can be done again.
func TestKilledInUpgrade(t *testing.T) {
	onlyWithPoints(t)
	m := installed(t)
	m.save(t)
	m.upgrade(t)
	run := func(t *testing.T, disturb func(m *machine)) {
		m := m.begin(t)
		m.StartNode("server")
		m.wantHealthy()
		disturb(m)
		m.wantUpgraded()
		m.switchOff()
	}
	m.calls = make(count, len(m.steps))
	run(t, func(m *machine) {
		out := m.trapped(trap.Options{}, func(step, number int, _ trap.Call) trap.Answer {
			m.calls[step] = number + 1
			return trap.Answer{}
		})
		if out.err != nil {
			t.Fatalf("%v\n%s", out.err, out.said)
		}
		t.Logf("calls that change files, by step: %s", m.tell(m.calls))
	})
	kills, undisturbed, began := make(count, len(m.steps)), 0, time.Now()
	for number, p := range m.calls.choose(*points) {
		if !inPart(number) {
			continue
		}
		t.Run(fmt.Sprintf("kill %d", number+1), func(t *testing.T) {
			run(t, func(m *machine) {
				out, at := m.disturb(p, trap.Answer{Signal: unix.SIGKILL}, nil)
				switch {
				case out.err == nil:
					undisturbed++
				case !out.killed():
					t.Fatalf("it ended by itself: %v\n%s", out.err, out.said)
				default:
					kills[out.step]++
				}
				if number%rebooting == rebooting-1 {
					m.unplug()
					m.boot()
				}
				m.wantHealthy()
				m.wantWritten()
				m.wantNoRepair()
				if t.Failed() {
					t.Fatalf("killed in step %s before call %d: %+v", m.steps[out.step], p.number, at)
				}
				m.Airgap(m.args...)
			})
		})
	}
	t.Logf("kills by step: %s; upgrades that ended before their point: %d; %.0f s", m.tell(kills), undisturbed, time.Since(began).Seconds())
}

func testKills(t *testing.T, h half, total int) {
	m := newMachine(t, h)
	kills, undisturbed, began := make(count, len(m.steps)), 0, time.Now()
	for number, chain := range m.chains(total) {
		t.Run(fmt.Sprintf("chain %d", number+1), func(t *testing.T) {
			m := m.begin(t)
			defer m.end(t)
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
				if (number+i)%rebooting == rebooting-1 {
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
