package main

import (
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"

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
agent never before its servers.

` + bundleHelp,
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
