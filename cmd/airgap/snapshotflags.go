package main

import (
	"github.com/spf13/pflag"

	"airgap/node/config"
)

// addSnapshotFlags binds K3s' flags of snapshots, which are about etcd there.
func addSnapshotFlags(fs *pflag.FlagSet, s *config.Snapshots) {
	fs.BoolVar(&s.Disabled, "etcd-disable-snapshots", s.Disabled, "make no snapshots of the datastore by schedule")
	fs.StringVar(&s.Cron, "etcd-snapshot-schedule-cron", s.Cron, "`times` of the snapshots of the datastore (SQLite), as in cron")
	fs.IntVar(&s.Retention, "etcd-snapshot-retention", s.Retention, "`number` of these snapshots that are kept")
	fs.StringVar(&s.Dir, "etcd-snapshot-dir", s.Dir, "`folder` of the snapshots (default: server/db/snapshots in the data folder)")
	fs.StringVar(&s.Name, "etcd-snapshot-name", s.Name, "what the `names` of these snapshots begin with")
	fs.BoolVar(&s.Compress, "etcd-snapshot-compress", true, "compress snapshots, which is always done; accepted for K3s' sake")
}
