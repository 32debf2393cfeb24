package atrest

import (
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestSetTimerSlackReachesEveryThreadAndChild(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs CAP_SYS_NICE")
	}
	const slack = 3 * time.Millisecond
	want := strconv.FormatInt(slack.Nanoseconds(), 10)
	release := make(chan struct{})
	for range 5 {
		go func() { runtime.LockOSThread(); <-release; runtime.UnlockOSThread() }()
	}
	time.Sleep(20 * time.Millisecond)
	if err := SetTimerSlack(slack); err != nil {
		t.Fatal(err)
	}
	defer func() {
		close(release)
		if err := SetTimerSlack(NormalTimerSlack); err != nil {
			t.Error(err)
		}
	}()
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil || len(threads) < 6 {
		t.Fatalf("%d threads, %v", len(threads), err)
	}
	for _, thread := range threads {
		got, err := os.ReadFile("/proc/" + thread.Name() + "/timerslack_ns")
		if err != nil || strings.TrimSpace(string(got)) != want {
			t.Errorf("thread %s has %s, %v", thread.Name(), got, err)
		}
	}
	got, err := exec.Command("cat", "/proc/self/timerslack_ns").Output()
	if err != nil || strings.TrimSpace(string(got)) != want {
		t.Errorf("a child has %s, %v", got, err)
	}
}

// TestSetMonitorSlack starts more goroutines that keep a thread each than there are threads: none of
// them may get the one whose slack was set.
func TestSetMonitorSlack(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs CAP_SYS_NICE")
	}
	const slack = 3 * time.Millisecond
	if err := SetMonitorSlack(slack); err != nil {
		t.Fatal(err)
	}
	monitor, err := monitorThread()
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := SetTimerSlack(NormalTimerSlack); err != nil {
			t.Error(err)
		}
	}()
	got, err := os.ReadFile("/proc/" + monitor + "/timerslack_ns")
	if want := strconv.FormatInt(slack.Nanoseconds(), 10); err != nil || strings.TrimSpace(string(got)) != want {
		t.Errorf("the monitor has %s, %v", got, err)
	}
	const goroutines = 64
	threads, release := make(chan string), make(chan struct{})
	defer close(release)
	for range goroutines {
		go func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			threads <- strconv.Itoa(unix.Gettid())
			<-release
		}()
	}
	for range goroutines {
		if <-threads == monitor {
			t.Fatalf("thread %s runs goroutines", monitor)
		}
	}
}

func TestFollowLoad(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs CAP_SYS_NICE")
	}
	const busy, rest = 2 * time.Millisecond, 4 * time.Millisecond
	stop, done := make(chan struct{}), make(chan error)
	go func() { done <- FollowLoad(stop, SetTimerSlack, busy, rest, 200*time.Millisecond) }()
	defer func() {
		close(stop)
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := SetTimerSlack(NormalTimerSlack); err != nil {
			t.Error(err)
		}
	}()
	eventually := func(want time.Duration, meanwhile func()) {
		t.Helper()
		for end := time.Now().Add(20 * time.Second); ; meanwhile() {
			got, err := os.ReadFile("/proc/self/timerslack_ns")
			if err != nil {
				t.Fatal(err)
			}
			if strings.TrimSpace(string(got)) == strconv.FormatInt(want.Nanoseconds(), 10) {
				return
			}
			if time.Now().After(end) {
				t.Fatalf("the slack stays %s ns, want %s", strings.TrimSpace(string(got)), want)
			}
		}
	}
	eventually(rest, func() { time.Sleep(50 * time.Millisecond) })
	eventually(busy, func() {
		for end := time.Now().Add(10 * time.Millisecond); time.Now().Before(end); {
		}
	})
	eventually(rest, func() { time.Sleep(50 * time.Millisecond) })
}

func TestUnmapUnusedTouchesOnlyWhatTheFileHas(t *testing.T) {
	before, changed := memory(t)
	mapped, err := UnmapUnused()
	if err != nil {
		t.Fatal(err)
	}
	after, changedAfter := memory(t)
	if mapped == 0 || after >= before {
		t.Errorf("%d bytes mapped; %d of files in memory before, %d after", mapped, before, after)
	}
	if changed == 0 || changedAfter < changed {
		t.Errorf("%d bytes of the executable's mappings were changed, %d are left", changed, changedAfter)
	}
}

// memory returns the bytes of this process's executable that are in its memory, and those
// of its mappings that are no longer as in the file.
func memory(t *testing.T) (file, changed int) {
	t.Helper()
	executable, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	smaps, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		t.Fatal(err)
	}
	own := false
	for line := range strings.Lines(string(smaps)) {
		if m, ok := parseMapping(line); ok {
			own = m.file == executable
			continue
		}
		for key, sum := range map[string]*int{"Rss:": &file, "Anonymous:": &changed} {
			if value, ok := strings.CutPrefix(line, key); ok && own {
				kB, err := strconv.Atoi(strings.Fields(value)[0])
				if err != nil {
					t.Fatal(err)
				}
				*sum += kB * 1024
			}
		}
	}
	return file, changed
}

func TestParseMappings(t *testing.T) {
	const smaps = `00400000-0d1cf000 r-xp 00000000 fe:00 851974                             /a b/bin/airgap
Rss:              512 kB
Anonymous:          0 kB
0d1cf000-0d4e2000 r--p 0cdcf000 fe:00 851974                             /a b/bin/airgap
Anonymous:          4 kB
7ffc8d9f0000-7ffc8da11000 rw-p 00000000 00:00 0                          [stack]
7ffc8da20000-7ffc8da30000 r--p 00000000 00:00 0
`
	want := []mapping{
		{0x400000, 0xd1cf000, "r-xp", "/a b/bin/airgap", false},
		{0xd1cf000, 0xd4e2000, "r--p", "/a b/bin/airgap", true},
		{0x7ffc8d9f0000, 0x7ffc8da11000, "rw-p", "", true},
		{0x7ffc8da20000, 0x7ffc8da30000, "r--p", "", true},
	}
	if got := parseMappings(smaps); !slices.Equal(got, want) {
		t.Errorf("got %+v", got)
	}
	for _, line := range []string{"", "00400000-00400000 r-xp 0 0 0 /x", "7f00 rw-p 00000000 00:00 0\n", "x-y r-xp 0 0 0 /x"} {
		if got, ok := parseMapping(line); ok {
			t.Errorf("%q: %+v", line, got)
		}
	}
}
