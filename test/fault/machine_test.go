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
	steps []string // of an install, as it names them
	half  half
	bare  site.Traces
	good  state // after the half of an install that nothing has disturbed
	calls count // of that one
}

// half is what a test looks at of an install: all up to the switch, where no node runs yet, or all from the node's start on.
type half int

const (
	untilSwitch half = iota
	fromStart
)

// newMachine makes a machine, and installs and uninstalls once to know what that is like.
func newMachine(t *testing.T, h half) *machine {
	t.Helper()
	m := &machine{Node: site.New(t, "node-1")[0], half: h}
	t.Cleanup(func() { os.Remove(hostFile) })
	m.readSteps()
	// Not even the executable is unpacked on a new machine.
	if err := os.RemoveAll(m.Paths.Versions()); err != nil {
		t.Fatal(err)
	}
	m.bare = m.Traces()
	m.calls = make(count, len(m.steps))
	began := time.Now()
	out := m.trapped(trap.Options{}, func(step, number int, _ trap.Call) trap.Answer {
		if (step >= m.start()) == (h == fromStart) {
			m.calls[step] = number + 1
		}
		return trap.Answer{}
	})
	if !m.came(out) {
		t.Fatalf("%v\n%s", out.err, out.said)
	}
	t.Logf("an install that nothing disturbs: %.1f s; calls that change files, by step: %s\n%s", time.Since(began).Seconds(), m.tell(m.calls), out.said)
	m.good = m.look(t)
	m.uninstall(t)
	return m
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

// readSteps asks for the steps of an install.
func (m *machine) readSteps() {
	m.T.Helper()
	var plan []struct{ Name string }
	if err := json.Unmarshal([]byte(m.Airgap(append(m.InstallArgs(demo), "--dry-run", "--output", "json")...)), &plan); err != nil {
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

// trapped installs, and asks decide before each call that changes a file, with the step that makes it and the call's number in
// that step, both from 0. Where no node is wanted it is killed before it starts one.
func (m *machine) trapped(o trap.Options, decide func(step, number int, c trap.Call) trap.Answer) outcome {
	m.T.Helper()
	return m.trappedCommand(o, decide, m.InstallArgs(demo)...)
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

// disturb installs, and answers the call at the point, or, if the step makes fewer calls than that, the first one of a later step; more: and every
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

// chains spreads points over the half. Before the switch each chain begins on a bare machine and has one point of each step; from the
// node's start on there is one, of those of the part that is asked for.
func (m *machine) chains(total int) (list [][]point) {
	if m.half == untilSwitch {
		for number, chain := range chains(m.calls.choose(total)) {
			if inPart(number) {
				list = append(list, chain)
			}
		}
		return list
	}
	list = make([][]point, 1)
	for number, p := range m.calls.choose(total) {
		if inPart(number) {
			list[0] = append(list[0], p)
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
		m.Within(t).Airgap("uninstall", "--yes", "--data-dir", m.Paths.DataDir)
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
