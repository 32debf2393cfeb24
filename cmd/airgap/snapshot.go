//go:build !desk

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"airgap/internal/progress"
	"airgap/internal/snapshot"
	"airgap/node/config"
	"airgap/node/snapshots"
)

var _ = register(newSnapshotCommand)

func newSnapshotCommand(e *env) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "snapshot",
		Aliases: []string{"etcd-snapshot"}, // K3s'
		Short:   "Save the server to a file, and restore it on this machine or another",
		Long: `Save the server to a file, and restore it on this machine or another.

A snapshot is the whole of a cluster but its images and volumes: the datastore (SQLite), the
certificate authorities, the tokens and the key of the secrets. Whoever has it has the cluster:
keep it as you keep a key. A running server makes one every 12 hours and keeps five.`,
		Example: `  airgap snapshot save --to /mnt/stick
  airgap snapshot ls
  airgap snapshot restore on-demand-node-1-1795399200`,
		Args: noVerb,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newSnapshotSaveCommand(e), newSnapshotListCommand(e), newSnapshotRestoreCommand(e),
		newSnapshotDeleteCommand(e), newSnapshotPruneCommand(e), newSnapshotScheduleCommand(e))
	return cmd
}

// snapshotServer is the server whose snapshots are meant.
type snapshotServer struct {
	dataDir, configFile, output string
}

func (s *snapshotServer) add(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&s.dataDir, "data-dir", "d", nodeDataDir(), "`folder` of everything the server keeps")
	cmd.Flags().StringVarP(&s.configFile, "config", "c", "", "the server's configuration `file` (default: "+config.DefaultConfigFile+")")
	addOutputFlag(cmd, &s.output, "o")
}

func (s *snapshotServer) paths() config.Paths { return config.PathsOf(s.dataDir) }

// read reads the server's configuration, and the name of its node where that is known.
func (s *snapshotServer) read(e *env) (*config.Server, error) {
	if err := checkOutput(s.output); err != nil {
		return nil, err
	}
	cfg := config.NewServer()
	flags := pflag.NewFlagSet("server", pflag.ContinueOnError)
	addServerFlags(flags, cfg)
	if _, err := e.readServerConfig(flags, cfg, configFile(s.configFile, s.dataDir)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, &usageError{err}
	}
	cfg.DataDir = s.dataDir
	if err := cfg.Complete(); err != nil {
		return nil, &usageError{err}
	}
	if was, err := config.ReadNodeIdentity(s.paths()); err == nil && cfg.NodeName == "" {
		cfg.NodeName = was.Name
	}
	if cfg.NodeName == "" {
		name, err := os.Hostname()
		if err != nil {
			return nil, err
		}
		cfg.NodeName = strings.ToLower(name)
	}
	return cfg, nil
}

func newSnapshotSaveCommand(e *env) *cobra.Command {
	s := &snapshotServer{}
	var to, name string
	cmd := &cobra.Command{
		Use:   "save",
		Short: "Make a snapshot now, whether the server runs or not",
		Example: `  airgap snapshot save
  airgap snapshot save --name before-the-move --to /mnt/stick`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return e.snapshotSave(cmd.Context(), s, to, name) },
	}
	s.add(cmd)
	cmd.Flags().StringVar(&to, "to", "", "`folder` to write it to, such as a stick's (default: the server's folder of snapshots)")
	cmd.Flags().StringVar(&name, "name", snapshot.OnDemand, "what its `name` begins with; node and time follow")
	return cmd
}

func (e *env) snapshotSave(ctx context.Context, s *snapshotServer, to, name string) error {
	cfg, err := s.read(e)
	if err != nil {
		return err
	}
	store, err := cfg.Datastore()
	if err != nil {
		return &usageError{err}
	}
	if err := snapshots.Supported(store, s.paths()); err != nil {
		return err
	}
	o := snapshots.Options(cfg, snapshots.Versions{Airgap: stampedVersions().Airgap, Kubernetes: stampedVersions().Kubernetes})
	o.Prefix = name
	if err := snapshot.CheckName(name); err != nil {
		return &usageError{err}
	}
	if to != "" {
		// A stick that is not plugged in must not become a folder of the system's disk.
		if info, err := os.Stat(to); err != nil || !info.IsDir() {
			return &usageError{fmt.Errorf("--to %s: no such folder", to)}
		}
		if o.Folder, err = filepath.Abs(to); err != nil {
			return err
		}
	}
	info, err := snapshot.Save(ctx, o)
	if errors.Is(err, fs.ErrPermission) {
		return withHint(err, "run this as root")
	}
	if errors.Is(err, fs.ErrNotExist) {
		return withHint(err, "name the server's folder with --data-dir")
	}
	if err != nil {
		return err
	}
	if info.Open {
		fmt.Fprintf(e.stderr, "warning: others can read %s, for this file system has no permissions: it holds the cluster's keys\n", info.File)
	}
	if s.output == outputJSON {
		return e.printJSON(info)
	}
	p := &printer{w: e.stdout}
	p.line("%s  %s, revision %d", info.File, progress.Bytes(info.Bytes), info.Revision)
	return p.err
}

func newSnapshotListCommand(e *env) *cobra.Command {
	s := &snapshotServer{}
	var from string
	cmd := &cobra.Command{
		Use: "ls", Aliases: []string{"list"}, Short: "List the snapshots, the newest first",
		Example: "  airgap snapshot ls\n  airgap snapshot ls --from /mnt/stick --output json",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			cfg, err := s.read(e)
			if err != nil {
				return err
			}
			if from == "" {
				from = cfg.Snapshots.Dir
			}
			list, err := snapshot.List(from)
			if err != nil {
				return err
			}
			if s.output == outputJSON {
				if list == nil {
					list = []snapshot.Info{}
				}
				return e.printJSON(list)
			}
			return e.printSnapshots(list)
		},
	}
	s.add(cmd)
	cmd.Flags().StringVar(&from, "from", "", "`folder` to look in, such as a stick's (default: the server's folder of snapshots)")
	return cmd
}

func (e *env) printSnapshots(list []snapshot.Info) error {
	table := tabwriter.NewWriter(e.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "NAME\tMADE\tNODE\tKUBERNETES\tSIZE\tREVISION")
	for _, i := range list {
		if i.Error != "" {
			fmt.Fprintf(table, "%s\t-\t-\t-\t%s\tcannot be used: %s\n", i.Name, progress.Bytes(i.Bytes), i.Error)
			continue
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%d\n", i.Name, i.Created.Format(time.RFC3339), i.About.Node, i.About.Kubernetes, progress.Bytes(i.Bytes), i.Revision)
	}
	return table.Flush()
}

func newSnapshotDeleteCommand(e *env) *cobra.Command {
	s := &snapshotServer{}
	cmd := &cobra.Command{
		Use: "delete NAME...", Short: "Delete snapshots of the server's folder",
		Example: "  airgap snapshot delete on-demand-node-1-1795399200",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(_ *cobra.Command, names []string) error {
			cfg, err := s.read(e)
			if err != nil {
				return err
			}
			return snapshot.Delete(cfg.Snapshots.Dir, names...)
		},
	}
	s.add(cmd)
	return cmd
}

func newSnapshotPruneCommand(e *env) *cobra.Command {
	s := &snapshotServer{}
	var name string
	var keep int
	cmd := &cobra.Command{
		Use: "prune", Short: "Delete all but the newest snapshots of one name",
		Example: "  airgap snapshot prune --snapshot-retention 3\n  airgap snapshot prune --name before-the-move",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			cfg, err := s.read(e)
			if err != nil {
				return err
			}
			if keep < 0 {
				return &usageError{fmt.Errorf("--snapshot-retention %d: want 0 or more", keep)}
			}
			removed, err := snapshot.Prune(cfg.Snapshots.Dir, name, keep)
			p := &printer{w: e.stdout}
			for _, info := range removed {
				p.line("%s", info.Name)
			}
			return errors.Join(err, p.err)
		},
	}
	s.add(cmd)
	cmd.Flags().StringVar(&name, "name", snapshot.OnDemand, "what the `names` of those that are meant begin with")
	cmd.Flags().IntVar(&keep, "snapshot-retention", config.DefaultSnapshotRetention, "`number` of them that are kept")
	return cmd
}

// snapshotSchedule is what `airgap snapshot schedule` tells.
type snapshotSchedule struct {
	Disabled  bool                 `json:"disabled"`
	Cron      string               `json:"cron"`
	Retention int                  `json:"retention"`
	Folder    string               `json:"folder"`
	Name      string               `json:"name"`
	Next      *time.Time           `json:"next,omitempty"`
	State     config.SnapshotState `json:"state"` // of the running server
}

func newSnapshotScheduleCommand(e *env) *cobra.Command {
	s := &snapshotServer{}
	cmd := &cobra.Command{
		Use: "schedule", Short: "Show when the server makes snapshots, and how the last went",
		Long: `Show when the server makes snapshots, and how the last went. It is set in the server's
configuration, and taken over at its next start: etcd-snapshot-schedule-cron, etcd-snapshot-retention,
etcd-snapshot-dir, etcd-snapshot-name, etcd-disable-snapshots.`,
		Example: "  airgap snapshot schedule",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			cfg, err := s.read(e)
			if err != nil {
				return err
			}
			out := snapshotSchedule{
				Disabled: cfg.Snapshots.Disabled, Cron: cfg.Snapshots.Cron, Retention: cfg.Snapshots.Retention,
				Folder: cfg.Snapshots.Dir, Name: cfg.Snapshots.Name,
			}
			if next := cfg.Snapshots.Next(e.now()); !next.IsZero() {
				out.Next = &next
			}
			if out.State, err = config.ReadSnapshotState(s.paths()); err != nil {
				return err
			}
			if s.output == outputJSON {
				return e.printJSON(out)
			}
			return e.printSchedule(out)
		},
	}
	s.add(cmd)
	return cmd
}

func (e *env) printSchedule(s snapshotSchedule) error {
	p := &printer{w: e.stdout}
	if s.Disabled {
		p.line("times    none (etcd-disable-snapshots)")
		return p.err
	}
	p.line("times    %s, %d are kept", s.Cron, s.Retention)
	p.line("folder   %s", s.Folder)
	if s.Next != nil {
		p.line("next     %s", s.Next.Format(time.RFC3339))
	}
	if s.State.Made != nil {
		p.line("last     %s, %s", s.State.Made.Format(time.RFC3339), s.State.Last)
	}
	if s.State.Failure != "" {
		p.line("failed   %s", s.State.Failure)
	}
	return p.err
}
