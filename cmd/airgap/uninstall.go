package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"airgap/installer"
	"airgap/node/config"
)

var _ = register(newUninstallCommand)

func newUninstallCommand(e *env) *cobra.Command {
	var dataDir string
	var yes, force bool
	cmd := &cobra.Command{
		Use:   "uninstall",
		Short: "Remove the node from this machine: nothing of it is left",
		Long: `Remove the node from this machine: its service, pods and other processes, mounts, interfaces,
firewall tables, control groups and files, the cluster's data included. What was interrupted or
could not be removed is removed when it is run again.

An agent leaves its cluster first: its pods move to other nodes, as far as their disruption budgets let them, and its
Node is deleted. If no server answers it is removed all the same, and its Node stays.`,
		Example: `  airgap uninstall
  airgap uninstall --yes --data-dir /srv/airgap
  airgap uninstall --force`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return e.uninstall(cmd.Context(), dataDir, yes, force) },
	}
	cmd.Flags().StringVarP(&dataDir, "data-dir", "d", config.DefaultDataDir, "`folder` of everything the node keeps")
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	cmd.Flags().BoolVar(&force, "force", false, "an agent does not wait until its pods have gone elsewhere")
	return cmd
}

func (e *env) uninstall(ctx context.Context, dataDir string, yes, force bool) error {
	if !yes {
		if err := e.confirmRemoval(dataDir); err != nil {
			return err
		}
	}
	err := installer.Uninstall(ctx, installer.UninstallOptions{DataDir: dataDir, Force: force, Out: e.stdout, Terminal: isTerminal(e.stdout)})
	switch {
	case errors.Is(err, installer.ErrNotInstalled):
		p := &printer{w: e.stdout}
		p.line("nothing to remove: %v", err)
		return p.err
	case err != nil:
		return installError(err)
	}
	p := &printer{w: e.stdout}
	p.line("the node is removed")
	return p.err
}

// confirmRemoval asks whether to remove the node.
func (e *env) confirmRemoval(dataDir string) error {
	return e.confirm(fmt.Sprintf("Remove the node in %s, with the cluster's data?", dataDir))
}

// confirm asks at a terminal, and insists on --yes elsewhere.
func (e *env) confirm(question string) error {
	if !isTerminal(e.stdin) {
		return &usageError{errors.New("there is no terminal to ask at: confirm with --yes")}
	}
	fmt.Fprintf(e.stderr, "%s [y/N] ", question)
	answer, err := bufio.NewReader(e.stdin).ReadString('\n')
	if err != nil {
		return err
	}
	if answer = strings.ToLower(strings.TrimSpace(answer)); answer != "y" && answer != "yes" {
		return errors.New("not confirmed: nothing was changed")
	}
	return nil
}
