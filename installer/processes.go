package installer

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"airgap/internal/hostinfo"
)

// killTimeout bounds the time in which killed processes must be gone.
const killTimeout = 15 * time.Second

// endAll kills every process of the node: those in its control groups, which are its pods,
// those that run from its executables, and the shims that serve its containerd.
func (u *removal) endAll(ctx context.Context) (string, error) {
	killed := map[int]bool{}
	deadline := time.Now().Add(killTimeout)
	for {
		pids, err := u.processes()
		if err != nil {
			return "", err
		}
		if len(pids) == 0 {
			return fmt.Sprintf("%d ended", len(killed)), nil
		}
		for _, pid := range pids {
			if err := unix.Kill(pid, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
				return "", fmt.Errorf("kill process %d: %w", pid, err)
			}
			killed[pid] = true
		}
		if time.Now().After(deadline) {
			return "", fmt.Errorf("processes %v do not end: a disk or network they wait for may be gone; a reboot ends them", pids)
		}
		select {
		case <-ctx.Done():
			return "", ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// processes lists the node's processes, this one and those it was started by left out.
func (u *removal) processes() ([]int, error) {
	found := map[int]bool{}
	groups, err := u.cgroups()
	if err != nil {
		return nil, err
	}
	for _, group := range groups {
		if err := addProcesses(group, found); err != nil {
			return nil, err
		}
	}
	all, err := u.host.Processes()
	if err != nil {
		return nil, err
	}
	for _, p := range all {
		if u.runsOurs(p) {
			found[p.PID] = true
		}
	}
	for _, pid := range ancestors(u.host, os.Getpid()) {
		delete(found, pid)
	}
	var pids []int
	for pid := range found {
		if state(u.host, pid) != "Z" { // its parent, not we, must collect a zombie
			pids = append(pids, pid)
		}
	}
	slices.Sort(pids)
	return pids, nil
}

// runsOurs says whether a process runs one of the node's executables or serves its containerd. In a container
// the executable has another path: those are found by their control group.
func (u *removal) runsOurs(p hostinfo.Process) bool {
	exe, err := fs.ReadLink(u.host.FS, fmt.Sprintf("proc/%d/exe", p.PID))
	if err == nil && hostinfo.Within(strings.TrimSuffix(exe, " (deleted)"), u.paths.Versions()) {
		return true
	}
	return slices.Contains(p.Args, u.paths.ContainerdSocket())
}

// addProcesses adds the processes of a control group and those below it.
func addProcesses(group string, found map[int]bool) error {
	err := filepath.WalkDir(group, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.IsDir() {
			return ignoreNotExist(err)
		}
		data, err := os.ReadFile(filepath.Join(path, "cgroup.procs"))
		if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENODEV) { // threaded, or just removed
			return nil
		}
		if err != nil {
			return ignoreNotExist(err)
		}
		scanner := bufio.NewScanner(strings.NewReader(string(data)))
		for scanner.Scan() {
			if pid, err := strconv.Atoi(scanner.Text()); err == nil && pid > 1 { // 0: of another PID namespace
				found[pid] = true
			}
		}
		return scanner.Err()
	})
	if err != nil {
		return fmt.Errorf("control group %s: %w", group, err)
	}
	return nil
}

// ancestors returns pid and the processes that it descends from.
func ancestors(h hostinfo.Host, pid int) []int {
	var all []int
	for pid > 1 && !slices.Contains(all, pid) {
		all = append(all, pid)
		fields := statFields(h, pid)
		if len(fields) < 2 {
			break
		}
		parent, err := strconv.Atoi(fields[1])
		if err != nil {
			break
		}
		pid = parent
	}
	return all
}

// state returns a process's state, "R", "Z" …; nothing if it has ended.
func state(h hostinfo.Host, pid int) string {
	fields := statFields(h, pid)
	if len(fields) == 0 {
		return ""
	}
	return fields[0]
}

// statFields returns the fields of /proc/<pid>/stat from the third, the state, on (proc_pid_stat(5)).
func statFields(h hostinfo.Host, pid int) []string {
	data, err := fs.ReadFile(h.FS, fmt.Sprintf("proc/%d/stat", pid))
	if err != nil {
		return nil
	}
	end := strings.LastIndexByte(string(data), ')') // the name before it may hold anything
	return strings.Fields(string(data[end+1:]))
}

// cgroups lists the node's control groups, one for each hierarchy that has it.
func (u *removal) cgroups() ([]string, error) {
	mounts, err := u.host.Mounts()
	if err != nil {
		return nil, err
	}
	var groups []string
	for _, point := range u.host.Cgroups(mounts).Hierarchies() {
		group := filepath.Join(point, u.paths.CgroupRoot())
		if info, err := os.Stat(group); err == nil && info.IsDir() {
			groups = append(groups, group)
		}
	}
	return groups, nil
}

// removeCgroups removes the node's control groups, the innermost first.
func (u *removal) removeCgroups(context.Context) (string, error) {
	groups, err := u.cgroups()
	if err != nil {
		return "", err
	}
	removed := 0
	for _, group := range groups {
		var folders []string
		err := filepath.WalkDir(group, func(path string, entry fs.DirEntry, err error) error {
			if err == nil && entry.IsDir() {
				folders = append(folders, path)
			}
			return ignoreNotExist(err)
		})
		if err != nil {
			return "", err
		}
		for _, folder := range slices.Backward(folders) {
			if err := removeCgroup(folder); err != nil {
				return "", err
			}
			removed++
		}
	}
	return fmt.Sprintf("%d removed", removed), nil
}

// removeCgroup removes a control group. The kernel takes a moment to let go of one whose last
// process has just ended.
func removeCgroup(folder string) error {
	var err error
	for range 100 {
		if err = unix.Rmdir(folder); err == nil || errors.Is(err, unix.ENOENT) {
			return nil
		}
		if !errors.Is(err, unix.EBUSY) {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	return &fs.PathError{Op: "rmdir", Path: folder, Err: err}
}

func ignoreNotExist(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
