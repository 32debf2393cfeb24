package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// removeAll removes a folder with all that is in it. What is mounted there is unmounted first: a containerd
// that was killed leaves mounts, and nothing may be removed through one.
func removeAll(folder string) error {
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
	slices.Reverse(points) // the latest lies on top
	for _, point := range points {
		if err := unix.Unmount(point, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) {
			return fmt.Errorf("unmount %s: %w; %s is left", point, err, folder)
		}
	}
	return os.RemoveAll(folder)
}
