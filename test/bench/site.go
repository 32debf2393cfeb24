package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"airgap/node/config"
)

const (
	nodeName = "node-1"
	nodeIP   = "10.99.0.2"
	// installPatience is how long an install waits for the node, and again for the releases.
	installPatience = 3 * time.Minute
)

// site is a machine with a network that leads nowhere: a network namespace, and a data folder.
type site struct {
	b         *bench
	namespace string
	paths     config.Paths
}

// newSite makes a site; remove takes it down.
func (b *bench) newSite(ctx context.Context) (*site, error) {
	dataDir, err := os.MkdirTemp(b.work, "node-")
	if err != nil {
		return nil, err
	}
	s := &site{b: b, namespace: filepath.Base(b.work) + "-" + filepath.Base(dataDir), paths: config.PathsOf(dataDir)}
	in := []string{"-n", s.namespace}
	for _, args := range [][]string{
		{"netns", "add", s.namespace},
		append(in, "link", "set", "lo", "up"),
		append(in, "link", "add", "eth0", "type", "veth", "peer", "name", "cable"),
		append(in, "address", "add", nodeIP+"/24", "dev", "eth0"),
		append(in, "link", "set", "eth0", "up"),
		append(in, "link", "set", "cable", "up"),
	} {
		if _, err := output(b.command(ctx, "ip", args...)); err != nil {
			return nil, errors.Join(err, s.remove())
		}
	}
	return s, nil
}

// command is a command at this site. Unlike `ip netns exec`, nsenter leaves /sys as it is.
func (s *site) command(ctx context.Context, name string, args ...string) *exec.Cmd {
	return s.b.command(ctx, "nsenter", append([]string{"--net=/run/netns/" + s.namespace, name}, args...)...)
}

// install is `airgap install` of a bundle signed with the development key, as a user runs it, with flags of the node.
func (s *site) install(ctx context.Context, bundle string, flags ...string) *exec.Cmd {
	return s.command(ctx, s.b.built("bin/airgap"), append([]string{"install", bundle, "--key", s.b.built("dist/development.pub"),
		"--init", "none", "--data-dir", s.paths.DataDir, "--node-name", nodeName, "--timeout", installPatience.String()}, flags...)...)
}

// end removes the site after work there. If the work failed, its error gets the end of the node's log.
func (s *site) end(err *error) {
	if *err != nil {
		if log, readErr := os.ReadFile(s.paths.Log()); readErr == nil {
			const most = 6000
			*err = fmt.Errorf("%w\nthe end of the node's log:\n%s", *err, log[max(0, len(log)-most):])
		}
	}
	*err = errors.Join(*err, s.remove())
}

// uninstall removes the node.
func (s *site) uninstall(ctx context.Context) (usage, error) {
	return measured(s.command(ctx, s.b.built("bin/airgap"), "uninstall", "--yes", "--data-dir", s.paths.DataDir), nil)
}

// remove uninstalls what is installed and takes the site down, even when the program is being ended.
func (s *site) remove() error {
	ctx := context.Background()
	var failures []error
	if entries, err := os.ReadDir(s.paths.DataDir); err == nil && len(entries) > 0 {
		_, err := s.uninstall(ctx)
		failures = append(failures, err)
	}
	if _, err := os.Stat("/run/netns/" + s.namespace); err == nil {
		pids, err := output(s.b.command(ctx, "ip", "netns", "pids", s.namespace))
		failures = append(failures, err)
		for field := range strings.FieldsSeq(pids) { // only after an uninstall that failed
			if pid, err := strconv.Atoi(field); err == nil {
				failures = append(failures, fmt.Errorf("process %d was left and is killed: %w", pid, syscall.Kill(pid, syscall.SIGKILL)))
			}
		}
		_, err = output(s.b.command(ctx, "ip", "netns", "delete", s.namespace))
		failures = append(failures, err)
	}
	return errors.Join(append(failures, removeAll(s.paths.DataDir))...)
}
