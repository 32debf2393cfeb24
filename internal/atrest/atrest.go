// Package atrest makes a process that mostly waits cost little: fewer wake-ups, and no more of
// its executable mapped than it uses.
package atrest

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// NormalTimerSlack is the kernel's own (prctl(2), PR_SET_TIMERSLACK).
const NormalTimerSlack = 50 * time.Microsecond

// SetTimerSlack lets the kernel end this process's waits up to d late, so that those which end
// about the same time end together. It holds for all threads of the process, those to come
// included, and for the processes that they start. What waits for input or output is not delayed.
//
// It needs CAP_SYS_NICE.
func SetTimerSlack(d time.Duration) error {
	set := map[string]bool{}
	// A thread made by one that has not been reached yet has the old slack: look until there is none.
	for more := true; more; {
		threads, err := os.ReadDir("/proc/self/task")
		if err != nil {
			return fmt.Errorf("timer slack: %w", err)
		}
		more = false
		for _, thread := range threads {
			id := thread.Name()
			if set[id] {
				continue
			}
			set[id], more = true, true
			err := setThreadSlack(id, d)
			if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ESRCH) {
				return fmt.Errorf("timer slack: %w", err)
			}
		}
	}
	return nil
}

// SetMonitorSlack is SetTimerSlack for one thread only: the one on which Go's runtime looks after the
// others (sysmon). It starts no process, though the threads that it makes, and so what these start,
// inherit its slack.
func SetMonitorSlack(d time.Duration) error {
	id, err := monitorThread()
	if err != nil {
		return fmt.Errorf("timer slack of the monitor: %w", err)
	}
	if err := setThreadSlack(id, d); err != nil {
		return fmt.Errorf("timer slack of the monitor: %w", err)
	}
	return nil
}

// setThreadSlack writes to a file that is there for every thread, and is listed for the first one of a process only.
func setThreadSlack(id string, d time.Duration) error {
	return os.WriteFile("/proc/"+id+"/timerslack_ns", []byte(strconv.FormatInt(d.Nanoseconds(), 10)), 0)
}

// monitorThread is the first thread that the runtime makes, before any package is initialised. The
// kernel lists threads in the order of their making.
func monitorThread() (string, error) {
	tasks, err := os.Open("/proc/self/task")
	if err != nil {
		return "", err
	}
	defer tasks.Close()
	first, err := tasks.Readdirnames(2)
	if err != nil {
		return "", err
	}
	if len(first) < 2 {
		return "", errors.New("there is none")
	}
	return first[1], nil
}

// FollowLoad sets the slack rest while this process uses less than a tenth of a core, and busy
// otherwise, until stop is closed or set fails. It looks at every interval.
func FollowLoad(stop <-chan struct{}, set func(time.Duration) error, busy, rest, interval time.Duration) error {
	const share = 10
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	var slack time.Duration
	used, at := processorTime(), time.Now()
	for {
		select {
		case <-stop:
			return nil
		case <-ticker.C:
		}
		usedBefore, before := used, at
		used, at = processorTime(), time.Now()
		want := rest
		if share*(used-usedBefore) > at.Sub(before) {
			want = busy
		}
		if want == slack {
			continue
		}
		if err := set(want); err != nil {
			return err
		}
		slack = want
	}
}

// processorTime is what all threads of this process have used, those that have ended included.
func processorTime() time.Duration {
	var usage unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &usage); err != nil {
		panic(err) // it has no other reason than a bad argument
	}
	return time.Duration(unix.TimevalToNsec(usage.Utime) + unix.TimevalToNsec(usage.Stime))
}

// UnmapUnused takes the pages of this process's executable out of its memory. They stay in the
// kernel's page cache, and those that are still used come back at their next use, without being
// read. Only pages that are as in the file are touched: what the linker's relocations or the
// program itself have changed has no other copy. It returns the bytes mapped.
func UnmapUnused() (int64, error) {
	executable, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return 0, err
	}
	smaps, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		return 0, err
	}
	var total int64
	for _, m := range parseMappings(string(smaps)) {
		if m.file != executable || m.mode[1] == 'w' || m.mode[3] != 'p' || m.changed {
			continue
		}
		if err := madvise(m.start, m.end-m.start, unix.MADV_DONTNEED); err != nil {
			return total, fmt.Errorf("madvise %x-%x: %w", m.start, m.end, err)
		}
		total += int64(m.end - m.start)
	}
	return total, nil
}

// mapping is a part of a process's memory as /proc/<pid>/smaps tells it (proc(5)).
type mapping struct {
	start, end uintptr
	mode       string // "r-xp"
	file       string // empty if it has none
	changed    bool   // some pages differ from the file's, or are not known to be the same
}

// parseMappings reads a smaps file: a line with the range, then lines "Key: value" about it.
func parseMappings(smaps string) []mapping {
	var list []mapping
	for line := range strings.Lines(smaps) {
		if m, ok := parseMapping(line); ok {
			list = append(list, m)
			continue
		}
		if value, ok := strings.CutPrefix(line, "Anonymous:"); ok && len(list) > 0 {
			list[len(list)-1].changed = strings.TrimSpace(value) != "0 kB"
		}
	}
	return list
}

func parseMapping(line string) (mapping, bool) {
	fields := strings.Fields(line)
	if len(fields) < 5 || len(fields[1]) != 4 {
		return mapping{}, false
	}
	from, to, _ := strings.Cut(fields[0], "-")
	start, err1 := strconv.ParseUint(from, 16, 64)
	end, err2 := strconv.ParseUint(to, 16, 64)
	if err1 != nil || err2 != nil || end <= start {
		return mapping{}, false
	}
	m := mapping{start: uintptr(start), end: uintptr(end), mode: fields[1], changed: true}
	if _, path, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "/"); ok {
		m.file = "/" + path
	}
	return m, true
}

// madvise is unix.Madvise for memory that no slice is of.
func madvise(start, size uintptr, advice int) error {
	if _, _, errno := unix.Syscall(unix.SYS_MADVISE, start, size, uintptr(advice)); errno != 0 {
		return errno
	}
	return nil
}
