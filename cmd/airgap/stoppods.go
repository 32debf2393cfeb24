//go:build !desk

package main

import (
	"errors"
	"os"

	"github.com/spf13/cobra"

	"airgap/node"
	"airgap/node/config"
)

var _ = register(newStopPodsCommand)

func newStopPodsCommand(e *env) *cobra.Command {
	dataDir := config.DefaultDataDir
	cmd := &cobra.Command{
		Use:   "stop-pods",
		Short: "Stop the pods of a stopped node in order, before the machine is shut down",
		Long: `Stop the pods of a node that does not run any more: their hooks first, then their processes, each within
its termination grace period, and all within --shutdown-grace-period of the node. Pods of kube-system come last. They
are started again with the node.

systemd and OpenRC do this when the machine shuts down, and not when the service alone is stopped. On a host
without either it is what a person or a script does before switching it off.`,
		Example: `  systemctl stop airgap && airgap stop-pods`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if os.Geteuid() != 0 {
				return errors.New("not root: run it with sudo")
			}
			options, err := nodeOptions()
			if err != nil {
				return err
			}
			began := e.now()
			pods, err := node.StopPods(cmd.Context(), config.PathsOf(dataDir), options)
			p := &printer{w: e.stdout}
			for _, pod := range pods {
				p.line("stopped %s", pod)
			}
			p.line("%d pods stopped (%.1f s)", len(pods), e.now().Sub(began).Seconds())
			return errors.Join(err, p.err)
		},
	}
	cmd.Flags().StringVarP(&dataDir, "data-dir", "d", dataDir, "data `folder` of the node")
	return cmd
}
