package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"airgap/node/config"
)

const (
	nodeName = "node-1"
	nodeIP   = "10.99.0.2"
)

// site is one machine whose only network is a cable to nowhere: a network namespace, and a data folder.
type site struct {
	program   *program
	work      string
	namespace string
	paths     config.Paths
}

// newSite makes a site; remove takes it down.
func newSite(ctx context.Context, p *program) (*site, error) {
	work, err := os.MkdirTemp("/var/tmp", "ag-conformance-")
	if err != nil {
		return nil, err
	}
	s := &site{program: p, work: work, namespace: filepath.Base(work), paths: config.PathsOf(filepath.Join(work, "node"))}
	in := []string{"-n", s.namespace}
	for _, args := range [][]string{
		{"netns", "add", s.namespace},
		append(in, "link", "set", "lo", "up"),
		append(in, "link", "add", "eth0", "type", "veth", "peer", "name", "cable"),
		append(in, "address", "add", nodeIP+"/24", "dev", "eth0"),
		append(in, "link", "set", "eth0", "up"),
		append(in, "link", "set", "cable", "up"),
	} {
		if _, err := output(exec.CommandContext(ctx, "ip", args...)); err != nil {
			return nil, errors.Join(err, s.remove(""))
		}
	}
	return s, nil
}

// command is a command at this site, in a process group of its own. Unlike `ip netns exec`, nsenter
// leaves /sys as it is.
func (s *site) command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "nsenter", append([]string{"--net=/run/netns/" + s.namespace, name}, args...)...)
	cmd.Env = append(os.Environ(), "AIRGAP_DATA_DIR="+s.paths.DataDir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return cmd
}

// install is `airgap install` of the bundle with the suite's images, as a user runs it on a machine that
// never had a network, and so no resolver.
func (s *site) install(ctx context.Context) error {
	noResolvers := filepath.Join(s.work, "resolv.conf")
	if err := os.WriteFile(noResolvers, nil, 0o644); err != nil {
		return err
	}
	_, err := output(s.command(ctx, s.program.airgap, "install", s.program.bundle,
		"--key", filepath.Join(s.program.repository, "dist/development.pub"),
		"--init", "none", "--data-dir", s.paths.DataDir, "--node-name", nodeName, "--resolv-conf", noResolvers, "--timeout", "5m"))
	return err
}

// remove keeps the node's log, uninstalls what is installed and takes the site down, even when the
// program is being ended.
func (s *site) remove(keepLog string) error {
	ctx := context.Background()
	var failures []error
	if log, err := os.ReadFile(s.paths.Log()); err == nil && keepLog != "" {
		failures = append(failures, os.WriteFile(keepLog, log, 0o644))
	}
	if entries, err := os.ReadDir(s.paths.DataDir); err == nil && len(entries) > 0 {
		_, err := output(s.command(ctx, s.program.airgap, "uninstall", "--yes", "--data-dir", s.paths.DataDir))
		failures = append(failures, err)
	}
	if _, err := os.Stat("/run/netns/" + s.namespace); err == nil {
		failures = append(failures, s.killAll(ctx))
		_, err = output(exec.CommandContext(ctx, "ip", "netns", "delete", s.namespace))
		failures = append(failures, err)
	}
	return errors.Join(append(failures, removeAll(s.work))...)
}

// killAll ends what still runs in the site's network: the suite's own processes after an interrupt, and what
// an uninstall that failed has left.
func (s *site) killAll(ctx context.Context) error {
	pids, err := output(exec.CommandContext(ctx, "ip", "netns", "pids", s.namespace))
	if err != nil {
		return err
	}
	var failures []error
	for field := range strings.FieldsSeq(pids) {
		pid, err := strconv.Atoi(field)
		if err != nil {
			return err
		}
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			failures = append(failures, fmt.Errorf("kill process %d: %w", pid, err))
		}
	}
	time.Sleep(time.Second) // the kernel lets go of their mounts and sockets
	return errors.Join(failures...)
}

// removeAll removes a folder with all that is in it, and unmounts first what is mounted there: nothing may
// be removed through a mount.
func removeAll(folder string) error {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	var points []string
	for line := range strings.Lines(string(mounts)) {
		if fields := strings.Fields(line); len(fields) > 4 && strings.HasPrefix(fields[4], folder+"/") {
			points = append(points, fields[4])
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
