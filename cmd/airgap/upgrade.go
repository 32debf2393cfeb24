package main

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"airgap/installer"
	"airgap/node/config"
)

var _ = register(newUpgradeCommand)

func newUpgradeCommand(e *env) *cobra.Command {
	f := &installFlags{getenv: e.getenv, needsBundle: true}
	cmd := &cobra.Command{
		Use:   "upgrade BUNDLE",
		Short: "Bring a node a newer bundle, and the old version back if the new one does not work",
		Long: `Bring a node a newer bundle. It is what install does on a machine that has a node.

The bundle is imported beside the version that runs. If it brings another version of airgap, the node
is stopped, its datastore kept, and the new version started in its place; pods run on. The new version
must become Ready with everything as well as before, and go on for the time of --probation. If it
does not, or the machine loses power before, the old version comes back by itself.

A bundle of content only restarts nothing. Kubernetes goes up one minor version at a time, and an
agent never before its servers.`,
		Example: `  airgap upgrade /media/stick/site-1.5.airgap
  airgap upgrade site-1.5.airgap --timeout 20m --probation 5m
  airgap upgrade site-1.5.airgap --dry-run`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := requireNode(f.server.DataDir); err != nil {
				return err
			}
			return e.install(cmd.Context(), args[0], f)
		},
	}
	f.addInstall(cmd)
	return cmd
}

// requireNode refuses to upgrade what is not there.
func requireNode(dataDir string) error {
	_, err := filepath.EvalSymlinks(config.PathsOf(dataDir).Current())
	if err != nil {
		return &usageError{fmt.Errorf("there is no node with the data folder %s to upgrade; airgap install makes one", dataDir)}
	}
	return nil
}

var _ = register(newRollbackCommand)

// rollbackFlags are those of `airgap rollback`.
type rollbackFlags struct {
	install  installFlags
	keepData bool
	yes      bool
}

func newRollbackCommand(e *env) *cobra.Command {
	f := &rollbackFlags{install: installFlags{getenv: e.getenv}}
	cmd := &cobra.Command{
		Use:   "rollback",
		Short: "Go back to the version that ran before the last upgrade",
		Long: `Go back to the version of airgap that ran before the last upgrade, with its configuration, content
and images, and with the datastore of then: what was written since is lost, as the question says that
is asked first. With --keep-data the datastore stays as it is. What is replaced of it is kept
beside.

Interrupted at any point it is completed when the service next starts.`,
		Example: `  airgap rollback
  airgap rollback --keep-data --yes`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return e.rollback(cmd.Context(), f) },
	}
	f.install.addNode(cmd)
	cmd.Flags().StringVar(&f.install.init, "init", "", "what runs the node: systemd or none (default: systemd where it runs)")
	cmd.Flags().BoolVar(&f.keepData, "keep-data", false, "leave the datastore as it is")
	cmd.Flags().BoolVarP(&f.yes, "yes", "y", false, "do not ask")
	cmd.Flags().DurationVar(&f.install.timeout, "timeout", installer.DefaultTimeout, "how long to wait for the node")
	addOutputFlag(cmd, &f.install.output, "")
	return cmd
}

func (e *env) rollback(ctx context.Context, f *rollbackFlags) error {
	opts, err := f.install.options(ctx, "")
	if err != nil {
		return err
	}
	way, err := installer.FindWayBack(opts.Server.DataDir)
	if err != nil {
		return installError(err)
	}
	if !f.yes {
		lost := "the datastore stays as it is"
		if !f.keepData && way.Snapshot != "" {
			lost = fmt.Sprintf("what was written to the cluster in the %s since is lost; --keep-data keeps it", e.now().Sub(way.Since).Round(time.Second))
		}
		question := fmt.Sprintf("Go back from %s to %s, as before %s %s of %s (%s)?", way.From, way.To, way.Bundle, way.Version,
			way.Since.Format(time.RFC3339), lost)
		if err := e.confirm(question); err != nil {
			return err
		}
	}
	opts.Out, opts.Terminal = e.steps(f.install.output)
	began := e.now()
	if err := installer.Rollback(ctx, installer.RollbackOptions{Options: opts, KeepData: f.keepData}); err != nil {
		return installError(err)
	}
	if f.install.output == outputJSON {
		return e.printJSON(way)
	}
	p := &printer{w: e.stdout}
	p.line("%s runs again (%.1f s)", way.To, e.now().Sub(began).Seconds())
	return p.err
}

var _ = register(newTrialCommand)

// trialPatience bounds what a service does before it starts the node.
const trialPatience = 2 * time.Minute

func newTrialCommand(e *env) *cobra.Command {
	var dataDir string
	cmd := &cobra.Command{
		Use:    "trial",
		Short:  "Go back to the version before if an upgrade was cut off (what the service runs before the node)",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), trialPatience)
			defer cancel()
			undone, err := installer.UndoTrial(ctx, dataDir)
			if err != nil || !undone {
				return err
			}
			p := &printer{w: e.stdout}
			p.line("the upgrade was cut off before the new version had proven itself: the version before runs again")
			return p.err
		},
	}
	cmd.Flags().StringVarP(&dataDir, "data-dir", "d", config.DefaultDataDir, "`folder` of everything the node keeps")
	return cmd
}
