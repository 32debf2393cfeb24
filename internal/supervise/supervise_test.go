package supervise

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// buffer is a bytes.Buffer that two goroutines may use.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// waitFor returns once the log contains text.
func (b *buffer) waitFor(t *testing.T, text string) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(2 * time.Millisecond) {
		if strings.Contains(b.String(), text) {
			return
		}
	}
	t.Fatalf("the log never says %q:\n%s", text, b.String())
}

func TestRestartsUntilExitZero(t *testing.T) {
	// The first run fails, the second is killed, the third is content.
	script := `n=$(cat "$0" 2>/dev/null | wc -l); echo >>"$0"; echo run $n
case $n in 0) exit 3;; 1) kill -9 $$;; esac`
	var waits []time.Duration
	log := &buffer{}
	err := Run(Options{
		Command: []string{"/bin/sh", "-c", script, filepath.Join(t.TempDir(), "runs")},
		Log:     log,
		After: func(d time.Duration) <-chan time.Time {
			waits = append(waits, d)
			return time.After(0)
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(waits) != "[1s 2s]" {
		t.Errorf("waited %v", waits)
	}
	for _, want := range []string{"run 0", "run 1", "run 2", "exit status 3", "signal: killed", "is done"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log lacks %q:\n%s", want, log.String())
		}
	}
}

func TestWaitIsBounded(t *testing.T) {
	var waits []time.Duration
	stop := make(chan os.Signal, 1)
	never := make(chan time.Time)
	err := Run(Options{
		Command: []string{"/nonexistent/command"},
		Log:     &buffer{},
		Stop:    stop,
		After: func(d time.Duration) <-chan time.Time {
			waits = append(waits, d)
			if len(waits) == 6 {
				stop <- syscall.SIGTERM
				return never
			}
			return time.After(0)
		},
	})
	if err != nil || fmt.Sprint(waits) != "[1s 2s 4s 8s 10s 10s]" {
		t.Errorf("waited %v, %v", waits, err)
	}
}

func TestStopIsPassedOnAndWaitedFor(t *testing.T) {
	for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		t.Run(signal.String(), func(t *testing.T) {
			log, stop, done := &buffer{}, make(chan os.Signal, 1), make(chan error, 1)
			script := `trap 'sleep 0.2; echo orderly; exit 1' TERM INT; echo ready; while :; do sleep 0.02; done`
			go func() {
				done <- Run(Options{Command: []string{"/bin/sh", "-c", script}, Log: log, Stop: stop})
			}()
			log.waitFor(t, "ready")
			stop <- signal
			if err := <-done; err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(log.String(), "orderly") || !strings.Contains(log.String(), "stopped as asked") {
				t.Errorf("log:\n%s", log.String())
			}
		})
	}
}

// TestGrandchildDoesNotHoldTheEnd has the command leave a process behind that keeps its output open,
// as containerd's shims do.
func TestGrandchildDoesNotHoldTheEnd(t *testing.T) {
	start := time.Now()
	log := &buffer{}
	if err := Run(Options{Command: []string{"/bin/sh", "-c", "sleep 4 & echo left"}, Log: log}); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(start); took > 3*time.Second {
		t.Errorf("waited %v for a process that is not its own", took)
	}
	if !strings.Contains(log.String(), "left") {
		t.Errorf("log:\n%s", log.String())
	}
}

func TestLogIsBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	log, err := OpenLog(path)
	if err != nil {
		t.Fatal(err)
	}
	log.maxBytes = 1000
	for i := range 100 {
		fmt.Fprintf(log, "line %03d %s\n", i, strings.Repeat(".", 30))
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	current, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	old, err := os.ReadFile(path + ".1")
	if err != nil {
		t.Fatal(err)
	}
	if len(current) > 1000 || len(old) > 1000 {
		t.Errorf("%d and %d bytes", len(current), len(old))
	}
	if !strings.Contains(string(current), "line 099") || !bytes.HasSuffix(old, []byte("\n")) {
		t.Errorf("the newest lines are missing or one is torn:\n%s", current)
	}

	// Opened again it goes on where it was.
	again, err := OpenLog(path)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if again.size != int64(len(current)) {
		t.Errorf("size %d, want %d", again.size, len(current))
	}
}

func TestPIDFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pid")
	if err := os.WriteFile(path, []byte("99999999 stale\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	first, err := CreatePIDFile(path)
	if err != nil {
		t.Fatalf("a stale file stands in the way: %v", err)
	}
	pid := strconv.Itoa(os.Getpid())
	if got, _ := os.ReadFile(path); string(got) != pid+"\n" {
		t.Errorf("content %q", got)
	}
	if _, err := CreatePIDFile(path); err == nil || !strings.Contains(err.Error(), pid) {
		t.Errorf("a second one got it, or the error does not name the first: %v", err)
	}
	if err := first.Remove(); err != nil {
		t.Fatal(err)
	}
	again, err := CreatePIDFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Remove(); err != nil {
		t.Error(err)
	}
}
