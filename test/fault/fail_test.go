package fault

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"airgap/test/fault/trap"
)

// A disk with a fault fails each of many calls once.
func TestFailingDiskUntilSwitch(t *testing.T) { testFailingDisk(t, untilSwitch) }
func TestFailingDiskFromStart(t *testing.T)   { testFailingDisk(t, fromStart) }

func testFailingDisk(t *testing.T, h half) {
	testFailures(t, h, unix.EIO, "input/output error", nil)
}

// A disk that becomes full fails each of many calls that take space, and all of those after it.
func TestFullDiskUntilSwitch(t *testing.T) { testFullDisk(t, untilSwitch) }
func TestFullDiskFromStart(t *testing.T)   { testFullDisk(t, fromStart) }

func testFullDisk(t *testing.T, h half) {
	taking := []string{"write", "writev", "pwrite", "copy_file_range", "sendfile", "fallocate", "create", "mkdir", "symlink", "link", "mknod"}
	testFailures(t, h, unix.ENOSPC, "no space left on device", func(c trap.Call) bool {
		return slices.Contains(taking, c.Name) && !strings.HasPrefix(c.Path, "/run/")
	})
}

// share is the part of -points that failures take, and interrupts.
const share = 5

// testFailures installs many times, each disturbed by the error. What fails before the switch is undone, what fails after can go on; both
// say what has failed.
func testFailures(t *testing.T, h half, errno unix.Errno, text string, more func(trap.Call) bool) {
	onlyWithPoints(t)
	m := newMachine(t, h)
	switched := slices.Index(m.steps, "switch")
	failures, unharmed, began := make(count, len(m.steps)), 0, time.Now()
	for number, chain := range m.chains(*points / share) {
		t.Run(fmt.Sprintf("chain %d", number+1), func(t *testing.T) {
			m := m.begin(t)
			defer m.end(t)
			furthest := 0
			for _, p := range chain {
				out, at := m.disturb(p, trap.Answer{Errno: errno}, more)
				if at == nil || out.err == nil || out.killed() { // nothing was left to do there, or it could be done without
					unharmed++
					furthest = max(furthest, out.step)
					continue
				}
				step := out.step
				failures[step]++
				furthest = max(furthest, step)
				if out.code() != 1 || !strings.Contains(out.said, text) {
					t.Errorf("exit code %d, want 1 and %q told", out.code(), text)
				}
				if furthest < switched {
					m.wantBare(t)
				}
				m.check(t, furthest)
				if t.Failed() {
					t.Fatalf("%s in step %s at call %d: %+v\n%s", errno, m.steps[step], p.number, at, out.said)
				}
				t.Logf("%s at %s %s:\n%s", errno, at.Name, strings.TrimPrefix(at.Path, m.Paths.DataDir), lastLines(out.said))
			}
			m.converge(t)
		})
	}
	t.Logf("failures by step: %s; installs that came to their end all the same: %d; %.0f s", m.tell(failures), unharmed, time.Since(began).Seconds())
}

// wantBare wants nothing on the machine but the unpacked executable, which any verb leaves.
func (m *machine) wantBare(t *testing.T) {
	t.Helper()
	for _, name := range files(t, m.Paths.DataDir) {
		if name != "data" {
			t.Errorf("%s is left in the data folder", name)
		}
	}
	for _, path := range []string{hostFile, m.Paths.ConfigFile(), m.Paths.Run()} {
		if _, err := os.Lstat(path); err == nil {
			t.Errorf("%s is left", path)
		}
	}
}

// lastLines is what an install says after the last step that it has done.
func lastLines(said string) string {
	lines := strings.Split(strings.TrimSpace(said), "\n")
	for i, line := range slices.Backward(lines) {
		if strings.HasPrefix(line, "[") {
			return strings.Join(lines[i+1:], "\n")
		}
	}
	return strings.Join(lines, "\n")
}
