package main

import (
	"github.com/spf13/cobra"

	"airgap/installer"
	"airgap/node/config"
)

var _ = register(newGuardCommand)

func newGuardCommand(e *env) *cobra.Command {
	opts := installer.Options{Server: config.NewServer()}
	var init string
	cmd := &cobra.Command{
		Use:    installer.GuardVerb,
		Short:  "Start the node again if the install that stopped it is killed (what an install runs beside itself)",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			opts.Init = installer.Init(init)
			return installer.Guard(cmd.Context(), opts, e.stdin, e.stderr)
		},
	}
	cmd.Flags().StringVarP(&opts.Server.DataDir, "data-dir", "d", config.DefaultDataDir, "`folder` of everything the node keeps")
	cmd.Flags().StringVar(&init, "init", "", "what runs the node: systemd, openrc or none")
	return cmd
}
