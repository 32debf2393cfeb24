package main

import (
	"io"
	"os"
	"os/exec"

	"github.com/spf13/cobra"

	"airgap/installer"
	"airgap/node/config"
)

var _ = register(newGuardCommand)

const guardVerb = "guard"

// guardOf returns how an install starts its guard, which has the install's own executable, and says on log what it does.
func guardOf(log io.Writer) (func(dataDir string, init installer.Init) *exec.Cmd, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	return func(dataDir string, init installer.Init) *exec.Cmd {
		cmd := exec.Command(self, guardVerb, "--data-dir", dataDir, "--init", string(init))
		cmd.Stderr = log
		return cmd
	}, nil
}

func newGuardCommand(e *env) *cobra.Command {
	opts := installer.Options{Server: config.NewServer()}
	var init string
	cmd := &cobra.Command{
		Use:    guardVerb,
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
