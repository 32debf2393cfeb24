package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"airgap/installer"
)

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
