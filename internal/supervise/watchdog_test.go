package supervise

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestWatchdog supervises this test's own executable, which says as much as its environment tells it.
func TestWatchdog(t *testing.T) {
	tests := []struct {
		name, mode string
		ends       bool
	}{
		{"says nothing from the start, as while it starts", "silent", false},
		{"goes silent", "once", true},
		{"goes on talking", "always", false},
		{"asks for its end", "trigger", true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Setenv("SUPERVISE_TEST_MODE", test.mode)
			watch, err := ListenWatchdog(filepath.Join(t.TempDir(), "s"), 600*time.Millisecond)
			if err != nil {
				t.Fatal(err)
			}
			defer watch.Close()
			log := &buffer{}
			if err := Run(Options{
				Command: []string{"/proc/self/exe", "-test.run=TestWatchedProcess"}, Log: log, Watch: watch,
				After: func(time.Duration) <-chan time.Time {
					os.Setenv("SUPERVISE_TEST_MODE", "done")
					return time.After(0)
				},
			}); err != nil {
				t.Fatal(err)
			}
			if ended := strings.Contains(log.String(), "no sign of life"); ended != test.ends {
				t.Errorf("ended = %v, want %v:\n%s", ended, test.ends, log.String())
			}
			if test.ends && !strings.Contains(log.String(), "goroutine ") {
				t.Errorf("what it waited for is not in the log:\n%s", log.String())
			}
		})
	}
}

// TestWatchedProcess is the process that TestWatchdog supervises.
func TestWatchedProcess(t *testing.T) {
	mode := os.Getenv("SUPERVISE_TEST_MODE")
	if mode == "" || mode == "done" {
		return
	}
	if usec := os.Getenv("WATCHDOG_USEC"); usec != "600000" {
		t.Errorf("WATCHDOG_USEC = %q", usec)
	}
	say := func(text string) {
		conn, err := net.Dial("unixgram", os.Getenv("NOTIFY_SOCKET"))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := conn.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	for end := time.Now().Add(2 * time.Second); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		switch mode {
		case "once":
			say("READY=1\nSTATUS=up")
			time.Sleep(20 * time.Second)
		case "always":
			say("WATCHDOG=1")
		case "trigger":
			say("READY=1")
			say("WATCHDOG=trigger")
			time.Sleep(20 * time.Second)
		}
	}
}

// TestBefore runs the first command before each start, and goes on whatever comes of it.
func TestBefore(t *testing.T) {
	runs := filepath.Join(t.TempDir(), "runs")
	log := &buffer{}
	err := Run(Options{
		Command: []string{"/bin/sh", "-c", `echo start >>"$0"; test $(grep -c start "$0") = 2`, runs},
		Before:  []string{"/bin/sh", "-c", `echo before >>"$0"; exit 7`, runs},
		Log:     log,
		Count:   runs + ".restarts",
		After:   func(time.Duration) <-chan time.Time { return time.After(0) },
	})
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(runs)
	if err != nil || string(data) != "before\nstart\nbefore\nstart\n" {
		t.Errorf("%v: %q", err, data)
	}
	if count, err := os.ReadFile(runs + ".restarts"); err != nil || string(count) != "1\n" {
		t.Errorf("restarts: %q, %v", count, err)
	}
	if !strings.Contains(log.String(), "exit status 7") {
		t.Errorf("its failure is not logged:\n%s", log.String())
	}
}
