package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"

	machines "airgap/test/site"
)

// site is one machine whose network leads nowhere.
type site struct {
	*machines.Machine
	program *program
	whole   *machines.Site
}

// newSite makes a site; remove takes it down.
func newSite(p *program) (*site, error) {
	whole, err := machines.Make("node-1")
	if err != nil {
		return nil, err
	}
	return &site{Machine: whole.Machines[0], program: p, whole: whole}, nil
}

// install is `airgap install` of the bundle with the suite's images, as a user runs it on a machine that
// never had a network, and so no resolver.
func (s *site) install(ctx context.Context) error {
	noResolvers := filepath.Join(s.whole.Folder, "resolv.conf")
	if err := os.WriteFile(noResolvers, nil, 0o644); err != nil {
		return err
	}
	_, err := machines.Output(s.Command(ctx, s.program.airgap, "install", s.program.bundle,
		"--key", filepath.Join(s.program.repository, "dist/development.pub"),
		"--init", "none", "--data-dir", s.Paths.DataDir, "--node-name", s.Name, "--resolv-conf", noResolvers, "--timeout", "5m"))
	return err
}

// remove keeps the node's log and takes the site down, with the suite's own processes after an interrupt.
func (s *site) remove(keepLog string) error {
	var failures []error
	if log, err := os.ReadFile(s.Paths.Log()); err == nil {
		failures = append(failures, os.WriteFile(keepLog, log, 0o644))
	}
	return errors.Join(append(failures, s.whole.Remove())...)
}
