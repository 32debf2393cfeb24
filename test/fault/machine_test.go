package fault

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"airgap/test/fault/trap"
	"airgap/test/site"
)

// machine is one that is installed again and again.
type machine struct {
	*site.Node
	steps []string // of an install, as it names them
	bare  site.Traces
	good  state // after an install that nothing has disturbed
	calls count // of that one
}

// newMachine makes a machine, and installs and uninstalls once to know what that is like.
func newMachine(t *testing.T) *machine {
	t.Helper()
	m := &machine{Node: site.New(t, "node-1")[0]}
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
		m.calls[step] = number + 1
		return trap.Answer{}
	})
	if out.err != nil {
		t.Fatalf("%v\n%s", out.err, out.said)
	}
	t.Logf("an install that nothing disturbs: %.1f s; calls that change files, by step: %s\n%s", time.Since(began).Seconds(), m.tell(m.calls), out.said)
	m.good = m.look(t)
	m.uninstall(t)
	return m
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
		list = append(list, m.steps[step]+" "+itoa(n))
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
// that step, both from 0.
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
	m.Within(t).Airgap(m.InstallArgs(demo)...)
	if err := m.Ready(); err != nil {
		t.Error(err)
	}
	if got := m.look(t); !slices.Equal(got, m.good) {
		t.Errorf("after it went on undisturbed the machine is not as after an undisturbed install:\n%s", difference(m.good, got))
	}
}

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
		t.Errorf("after an uninstall: %s", change)
	}
}
