package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"airgap/installer"
	"airgap/node/config"
)

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
