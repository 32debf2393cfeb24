package fault

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"airgap/test/fault/trap"
	"airgap/test/site"
)

// machine is one that is installed again and again.
type machine struct {
	*site.Node
	*supply          // nil: its files are on the host's disk
	args    []string // of airgap, for what is disturbed: an install, or an upgrade
	steps   []string // of that, as it names them
	half    half
	bare    site.Traces
	good    state // after the half of an install that nothing has disturbed
	calls   count // of that one
}

// half is what a test looks at of an install: all up to the switch, where no node runs yet, or all from the node's start on.
type half int

const (
	untilSwitch half = iota
	fromStart
)

// newMachine makes a machine, and installs the half once to know what that is like.
func newMachine(t *testing.T, h half) *machine {
	t.Helper()
	m := &machine{half: h}
	if h == fromStart {
		m = newPowered(t)
	} else {
		m.Node = site.New(t, "node-1")[0]
		t.Cleanup(func() { os.Remove(hostFile) })
		m.readSteps(m.InstallArgs(demo)...)
	}
	// Not even the executable is unpacked on a new machine.
	if err := os.RemoveAll(m.Paths.Versions()); err != nil {
		t.Fatal(err)
	}
	m.bare = m.Traces()
	if h == fromStart {
		m.switchVersions(t)
	}
	m.calls = make(count, len(m.steps))
	began := time.Now()
	out := m.trapped(trap.Options{}, func(step, number int, _ trap.Call) trap.Answer {
		m.calls[step] = number + 1
		return trap.Answer{}
	})
	if !m.came(out) {
		t.Fatalf("%v\n%s", out.err, out.said)
	}
	if h == fromStart {
		clear(m.calls[:m.start()]) // of steps that find all done
	}
	t.Logf("an install that nothing disturbs: %.1f s; calls that change files, by step: %s\n%s", time.Since(began).Seconds(), m.tell(m.calls), out.said)
	m.good = m.look(t)
	m.end(t)
	return m
}

// switchVersions installs all before the node's start, and saves the disk as it is then: every chain of points begins with that.
func (m *machine) switchVersions(t *testing.T) {
	t.Helper()
	m.half = untilSwitch
	out := m.trapped(trap.Options{}, func(int, int, trap.Call) trap.Answer { return trap.Answer{} })
	if !m.came(out) {
		t.Fatalf("%v\n%s", out.err, out.said)
	}
	m.half = fromStart
	m.unplug()
	if err := m.disk.Flush(); err != nil {
		t.Fatal(err)
	}
	m.save(t)
	m.switchOn()
}

// within is the machine in the hands of a subtest.
func (m *machine) within(t *testing.T) *machine {
	now := *m
	now.Node = m.Within(t)
	return &now
}

// begin is the machine in the hands of a subtest, bare or with the versions switched.
func (m *machine) begin(t *testing.T) *machine {
	t.Helper()
	now := m.within(t)
	if now.supply == nil {
		return now
	}
	if err := m.disk.Restore(m.saved); err != nil {
		t.Fatal(err)
	}
	now.switchOn()
	return now
}

// end takes away what was installed, and wants the machine to be as it was. A machine with a disk of its own is off then.
func (m *machine) end(t *testing.T) {
	t.Helper()
	m.uninstall(t)
	if m.supply != nil {
		m.Within(t).Reboot()
		m.unplug()
	}
}

// start is the number of the step that starts the node.
func (m *machine) start() int { return slices.Index(m.steps, "start") }

// came says whether an install has come to the end of the half.
func (m *machine) came(o outcome) bool {
	if m.half == untilSwitch {
		return o.killed() && o.step == m.start()
	}
	return o.err == nil
}

// readSteps asks for the steps of what is to be disturbed on the machine from now on.
func (m *machine) readSteps(args ...string) {
	m.T.Helper()
	m.args = args
	var plan []struct{ Name string }
	if err := json.Unmarshal([]byte(m.Airgap(append(slices.Clone(args), "--dry-run", "--output", "json")...)), &plan); err != nil {
		m.T.Fatal(err)
	}
	m.steps = nil
	for _, step := range plan {
		m.steps = append(m.steps, step.Name)
	}
}

// tell names the steps of a count.
func (m *machine) tell(c count) string {
	var list []string
	for step, n := range c {
		if n > 0 {
			list = append(list, m.steps[step]+" "+itoa(n))
		}
	}
	return strings.Join(list, ", ")
}

// outcome is how an install ended.
type outcome struct {
	err  error  // nil: exit code 0
	said string // on both outputs
	step int    // at which it was, when it ended
}

// code is the exit code; -1: a signal ended it.
func (o outcome) code() int {
	var exit *exec.ExitError
	if errors.As(o.err, &exit) {
		return exit.ExitCode()
	}
	return 0
}

// killed says whether SIGKILL ended it.
func (o outcome) killed() bool {
	var exit *exec.ExitError
	return errors.As(o.err, &exit) && exit.Sys().(syscall.WaitStatus).Signal() == syscall.SIGKILL
}

// trapped runs what is to be disturbed, and asks decide before each call that changes a file, with the step that makes it and the call's number in
// that step, both from 0. Where no node is wanted it is killed before it starts one.
func (m *machine) trapped(o trap.Options, decide func(step, number int, c trap.Call) trap.Answer) outcome {
	m.T.Helper()
	return m.trappedCommand(o, decide, m.args...)
}

// trappedCommand is trapped for other arguments.
func (m *machine) trappedCommand(o trap.Options, decide func(step, number int, c trap.Call) trap.Answer, args ...string) outcome {
	m.T.Helper()
	console := newConsole(m.T.(*testing.T), m.steps)
	defer console.file.Close()
	cmd := m.Command(args...)
	cmd.Stdout, cmd.Stderr = console.file, console.file
	step, number := 0, 0
	err := trap.Start(cmd, o, func(c trap.Call) trap.Answer {
		if c.Path == console.file.Name() {
			return trap.Answer{}
		}
		if now := console.step(); now != step {
			step, number = now, 0
		}
		number++
		if m.half == untilSwitch && step >= m.start() {
			return trap.Answer{Signal: unix.SIGKILL}
		}
		return decide(step, number-1, c)
	})
	if err != nil {
		m.T.Fatal(err)
	}
	err = cmd.Wait()
	return outcome{err, console.text(), console.step()}
}

// disturb does so, and answers the call at the point, or, if the step makes fewer calls than that, the first one of a later step; more: and every
// one after it that more agrees to. It returns what was to be done at that point.
func (m *machine) disturb(p point, answer trap.Answer, more func(trap.Call) bool) (out outcome, at *trap.Call) {
	m.T.Helper()
	out = m.trapped(trap.Options{}, func(step, number int, c trap.Call) trap.Answer {
		reached := step > p.step || step == p.step && number >= p.number
		switch {
		case at == nil && reached && (more == nil || more(c)):
			at = &c
			return answer
		case at != nil && more != nil && more(c):
			return answer
		}
		return trap.Answer{}
	})
	return out, at
}

// converge installs once more, undisturbed, and wants what a first undisturbed install has come to.
func (m *machine) converge(t *testing.T) {
	t.Helper()
	out := m.trapped(trap.Options{}, func(int, int, trap.Call) trap.Answer { return trap.Answer{} })
	if !m.came(out) {
		t.Errorf("undisturbed at last, it does not come to its end: %v\n%s", out.err, out.said)
		return
	}
	if m.half == fromStart {
		if err := m.Ready(); err != nil {
			t.Error(err)
		}
	}
	if got := m.look(t); !slices.Equal(got, m.good) {
		t.Errorf("after it went on undisturbed the machine is not as after an undisturbed install:\n%s", difference(m.good, got))
	}
}

// chains spreads points over the half, and returns those of the part that is asked for. Before the switch a chain has one point of each
// step; from the node's start on, where a run that was killed leaves little to the next, it is one point.
func (m *machine) chains(total int) (list [][]point) {
	all := chains(m.calls.choose(total))
	if m.half == fromStart {
		all = nil
		for _, p := range m.calls.choose(total) {
			all = append(all, []point{p})
		}
	}
	for number, chain := range all {
		if inPart(number) {
			list = append(list, chain)
		}
	}
	return list
}

// ofNodes are folders that all nodes of a host have in common; see package airgap/test/site.
var ofNodes = regexp.MustCompile(`/run/containerd|/var/lib/(cni|kubelet)|/var/log/(containers|pods)|/run/netns|control group: .*/(airgap|kubepods)`)

// uninstall takes the node off the machine and wants it to be as it was.
func (m *machine) uninstall(t *testing.T) {
	t.Helper()
	if entries, _ := os.ReadDir(m.Paths.DataDir); len(entries) > 0 {
		m.Within(t).Verb("uninstall", "--yes")
	}
	if err := os.MkdirAll(m.Paths.DataDir, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, change := range m.Within(t).Traces().Since(m.bare) {
		if m.half == untilSwitch && ofNodes.MatchString(change) {
			continue // no node of ours has run, but others may on this host
		}
		t.Errorf("after an uninstall: %s", change)
	}
}
