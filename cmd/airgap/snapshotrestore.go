//go:build !desk

package main

import (
	"context"
	"errors"
	"strings"

	"github.com/spf13/cobra"

	"airgap/internal/snapshot"
	"airgap/node"
	"airgap/node/snapshots"
)

func newSnapshotRestoreCommand(e *env) *cobra.Command {
	s := &snapshotServer{}
	var force bool
	cmd := &cobra.Command{
		Use:   "restore NAME|FILE",
		Short: "Put a snapshot in the place of this machine's datastore, authorities and tokens",
		Long: `Put a snapshot in the place of this machine's datastore, authorities and tokens. The server must
be stopped. The whole snapshot is verified before anything is replaced; what is replaced is kept in
server/db/replaced-<time>.

On another machine, install the same bundle first, stop the server, restore, and start it: it makes its own
certificates anew under the restored authority. The node that the snapshot is of stays in the cluster's list
until somebody deletes it; agents that have joined go on if they reach the server under an address they know.

` + exitCodes,
		Example: `  systemctl stop airgap
  airgap snapshot restore etcd-snapshot-node-1-1795399200
  airgap snapshot restore /mnt/stick/on-demand-node-1-1795399200.tar.zst
  systemctl start airgap`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return e.snapshotRestore(cmd.Context(), s, args[0], force)
		},
	}
	s.add(cmd)
	cmd.Flags().BoolVar(&force, "force", false, "restore also where this machine's networks are others than the snapshot's")
	return cmd
}

func (e *env) snapshotRestore(ctx context.Context, s *snapshotServer, name string, force bool) error {
	cfg, err := s.read(e)
	if err != nil {
		return err
	}
	store, err := cfg.Datastore()
	if err != nil {
		return &usageError{err}
	}
	p := s.paths()
	if err := snapshots.Supported(store, p); err != nil {
		return err
	}
	info, err := snapshot.Find(cfg.Snapshots.Dir, name)
	if errors.Is(err, snapshot.ErrNotFound) {
		return withHint(err, "`airgap snapshot ls` lists them; one elsewhere is named by its path")
	}
	if err != nil {
		return err
	}
	if other := info.Differences(cfg.DatastoreSettings()); len(other) > 0 && !force {
		return withHint(&usageError{errors.New("this server is set up otherwise than the one of the snapshot: " + strings.Join(other, "; "))},
			"write the snapshot's values into %s first", p.ConfigFile())
	}
	unlock, err := node.Lock(p)
	if err != nil {
		return withHint(err, "stop the node first: `systemctl stop %s`", p.UnitName())
	}
	defer unlock()
	done, err := snapshot.Restore(ctx, snapshot.RestoreOptions{File: info.File, Database: p.Database(), Parts: p.Identity()})
	if err != nil {
		return err
	}
	if s.output == outputJSON {
		return e.printJSON(done)
	}
	out := &printer{w: e.stdout}
	out.line("restored %s: revision %d of %s", info.Name, info.Revision, info.Created.Format("2006-01-02 15:04:05 MST"))
	if done.Aside != "" {
		out.line("what was there is in %s", done.Aside)
	}
	if was := info.About.Node; was != cfg.NodeName {
		out.line("the snapshot is of node %s, and this machine is %s: when the server runs, `airgap kubectl delete node %[1]s` unless that machine runs on", was, cfg.NodeName)
	}
	out.line("now start the node: `systemctl start %s`", p.UnitName())
	return out.err
}
