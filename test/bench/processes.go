package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// process is one process of a node.
type process struct {
	pid  int
	role string   // supervise, server, agent, containerd; shim
	args []string // its command line
}

// processes lists what runs of the site's node, without its pods: all that names the data folder, or the
// folder of its sockets, on its command line.
func (s *site) processes() []process {
	var list []process
	folders, _ := filepath.Glob("/proc/[0-9]*")
	for _, folder := range folders {
		line, err := os.ReadFile(filepath.Join(folder, "cmdline"))
		if err != nil || !bytes.Contains(line, []byte(s.paths.DataDir)) && !bytes.Contains(line, []byte(s.paths.Run()+"/")) {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(folder))
		args := strings.Split(strings.TrimSuffix(string(line), "\x00"), "\x00")
		if err != nil || len(args) < 2 {
			continue
		}
		role := args[1]
		if strings.HasPrefix(filepath.Base(args[0]), "containerd-shim") {
			role = "shim"
		}
		list = append(list, process{pid: pid, role: role, args: args})
	}
	return list
}

var pssLine = regexp.MustCompile(`(?m)^Pss: +(\d+) kB$`)

// pssMB is the process's share of memory: its own pages, and its part of those it shares.
func (p process) pssMB() (float64, error) {
	path := fmt.Sprintf("/proc/%d/smaps_rollup", p.pid)
	data, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	match := pssLine.FindSubmatch(data)
	if match == nil {
		return 0, fmt.Errorf("%s has no Pss", path)
	}
	kib, err := strconv.ParseFloat(string(match[1]), 64)
	return kib * 1024 / 1e6, err
}

// cpuSeconds is the processor time that the process has used.
func (p process) cpuSeconds() (float64, error) {
	path := fmt.Sprintf("/proc/%d/stat", p.pid)
	stat, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	// The second field, the name, may hold anything; the third is the first after it: proc_pid_stat(5).
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	const utime, stime = 14 - 3, 15 - 3
	if len(fields) <= stime {
		return 0, fmt.Errorf("%s: %q", path, stat)
	}
	user, err := strconv.ParseFloat(fields[utime], 64)
	if err != nil {
		return 0, err
	}
	system, err := strconv.ParseFloat(fields[stime], 64)
	const ticksPerSecond = 100 // USER_HZ, on every architecture that Go runs on
	return (user + system) / ticksPerSecond, err
}

// awaitEnd waits until a process has ended, as seen through a pidfd; see pidfd_open(2).
func awaitEnd(pidfd int, patience time.Duration) error {
	end := time.Now().Add(patience)
	for {
		left := time.Until(end)
		if left <= 0 {
			return fmt.Errorf("it still runs after %s", patience)
		}
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}, int(left.Milliseconds())+1)
		if err == unix.EINTR {
			continue
		}
		if n > 0 || err != nil {
			return err
		}
	}
}
