package site

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"airgap/node/config"
)

// uninstallPatience is for an uninstall whose node, or whose server, does not answer any more.
const uninstallPatience = 3 * time.Minute

// uninstall uninstalls what is installed on the machine.
func (m *Machine) uninstall() error {
	if _, err := os.Lstat(m.Paths.Current()); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), uninstallPatience)
	defer cancel()
	_, err := Output(m.Command(ctx, Built("bin/airgap"), "uninstall", "--yes", "--data-dir", m.Paths.DataDir))
	return err
}

// clear takes the machine down with what an uninstall that failed, or never came, has left.
func (m *Machine) clear() error {
	failures := []error{m.KillAll(), m.Unmount(), os.RemoveAll(m.Paths.Run()), removeClaim(m.Paths.DataDir)}
	groups, _ := filepath.Glob("/sys/fs/cgroup/*" + m.Paths.CgroupRoot())
	for _, group := range append(groups, "/sys/fs/cgroup"+m.Paths.CgroupRoot()) {
		failures = append(failures, removeGroups(group))
	}
	return errors.Join(append(failures, removeNamespace(m.Namespace))...)
}

// removeNamespace removes a network namespace by name, with the processes in it.
func removeNamespace(name string) error {
	if _, err := os.Stat(namespaceFile(name)); err != nil {
		return nil
	}
	pids, err := Output(exec.Command("ip", "netns", "pids", name))
	if err != nil {
		return err
	}
	if list := strings.Fields(pids); len(list) > 0 {
		_ = exec.Command("kill", append([]string{"-KILL"}, list...)...).Run() // some may have ended
	}
	_, err = Output(exec.Command("ip", "netns", "delete", name))
	return err
}

// removeGroups removes a control group and those below it, which have no processes any more.
func removeGroups(group string) error {
	var groups []string
	err := filepath.WalkDir(group, func(path string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil && entry.IsDir() {
			groups = append(groups, path)
		}
		return err
	})
	failures := []error{err}
	for _, path := range slices.Backward(groups) {
		if err := unix.Rmdir(path); err != nil && !errors.Is(err, unix.ENOENT) {
			failures = append(failures, &os.PathError{Op: "rmdir", Path: path, Err: err})
		}
	}
	return errors.Join(failures...)
}

// removeClaim removes the claim that the node with a data folder has left on its network namespace.
func removeClaim(dataDir string) error {
	claims, err := filepath.Glob(filepath.Join(config.NetworkClaims, "*"))
	failures := []error{err}
	for _, claim := range claims {
		if owner, _ := os.ReadFile(claim); string(owner) == dataDir {
			failures = append(failures, os.Remove(claim))
		}
	}
	return errors.Join(failures...)
}

// RemoveAll removes a folder with all that is in it. What is mounted there is unmounted first: a containerd
// that was killed leaves mounts, and nothing may be removed through one.
func RemoveAll(folder string) error {
	if err := unmountBelow(folder); err != nil {
		return fmt.Errorf("%w; %s is left", err, folder)
	}
	return os.RemoveAll(folder)
}

// unmountBelow unmounts all that is mounted below a folder.
func unmountBelow(folder string) error {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	var points []string
	for line := range strings.Lines(string(mounts)) {
		if fields := strings.Fields(line); len(fields) > 4 && strings.HasPrefix(fields[4], folder+"/") {
			points = append(points, fields[4]) // our own names need none of proc_pid_mountinfo(5)'s escapes
		}
	}
	var failures []error
	for _, point := range slices.Backward(points) { // the latest lies on top
		if err := unix.Unmount(point, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) {
			failures = append(failures, fmt.Errorf("unmount %s: %w", point, err))
		}
	}
	return errors.Join(failures...)
}
