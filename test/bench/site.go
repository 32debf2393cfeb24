package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"time"

	"airgap/node/config"
	machines "airgap/test/site"
)

const (
	nodeName = "node-1"
	// installPatience is how long an install waits for the node, and again for the releases.
	installPatience = 3 * time.Minute
)

// site is a machine with a network that leads nowhere.
type site struct {
	*machines.Machine
	b     *bench
	whole *machines.Site
	paths config.Paths
}

// newSite makes a site; end takes it down.
func (b *bench) newSite() (*site, error) {
	whole, err := machines.Make(nodeName)
	if err != nil {
		return nil, err
	}
	m := whole.Machines[0]
	return &site{Machine: m, b: b, whole: whole, paths: m.Paths}, nil
}

// command is a command at this site, with the environment of those that are run elsewhere.
func (s *site) command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := s.Command(ctx, name, args...)
	cmd.Env = s.b.environment()
	return cmd
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
	*err = errors.Join(*err, s.whole.Remove())
}

// uninstall removes the node.
func (s *site) uninstall(ctx context.Context) (usage, error) {
	return measured(s.command(ctx, s.b.built("bin/airgap"), "uninstall", "--yes", "--data-dir", s.paths.DataDir), nil)
}
