package payload

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

var fixedTime = time.Unix(1e9, 0)

// TestMain lets the test binary be the process that is killed: with two arguments in the
// environment it stages and ends.
func TestMain(m *testing.M) {
	if executable := os.Getenv("PAYLOAD_TEST_STAGE"); executable != "" {
		if _, err := Stage(executable, os.Getenv("PAYLOAD_TEST_VERSIONS")); err != nil {
			os.Stderr.WriteString(err.Error())
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func stageInProcess(executable, versions string) *exec.Cmd {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "PAYLOAD_TEST_STAGE="+executable, "PAYLOAD_TEST_VERSIONS="+versions)
	return cmd
}

// TestKilledWhileUnpacking kills a process at growing delays: whenever it dies, there is
// either the complete version or nothing but a temporary, and the next run cleans up.
func TestKilledWhileUnpacking(t *testing.T) {
	executable := writeExecutable(t, pack(t, tree(t)))
	sawTemporary := false
	for delay := time.Millisecond; delay < 60*time.Millisecond; delay += 3 * time.Millisecond {
		versions := t.TempDir()
		cmd := stageInProcess(executable, versions)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(delay)
		_ = cmd.Process.Kill()
		_ = cmd.Wait()

		for _, name := range names(t, versions) {
			switch {
			case name == lockName:
			case strings.HasPrefix(name, temporaryPrefix):
				sawTemporary = true
			default:
				if _, err := os.Stat(filepath.Join(versions, name, "lib/libc.so.6")); err != nil {
					t.Errorf("killed after %v: an incomplete version is visible: %v", delay, err)
				}
			}
		}
		if _, err := Stage(executable, versions); err != nil {
			t.Fatalf("killed after %v: the next run fails: %v", delay, err)
		}
		if left := names(t, versions); len(left) != 2 {
			t.Errorf("killed after %v: the next run leaves %v", delay, left)
		}
	}
	if !sawTemporary {
		t.Error("no kill hit the unpacking: the test shows nothing")
	}
}

func TestConcurrentStages(t *testing.T) {
	executable := writeExecutable(t, pack(t, tree(t)))
	versions := t.TempDir()
	var wait sync.WaitGroup
	for range 4 {
		wait.Go(func() {
			if out, err := stageInProcess(executable, versions).CombinedOutput(); err != nil {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
	wait.Wait()
	if left := names(t, versions); len(left) != 2 {
		t.Errorf("left %v", left)
	}
}
