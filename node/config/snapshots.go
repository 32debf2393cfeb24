package config

import (
	"fmt"
	"path/filepath"
	"regexp"
	"time"

	"github.com/robfig/cron/v3"
)

// Snapshots are the settings of the snapshots that a server with SQLite makes by itself. Their flags are K3s' for etcd.
type Snapshots struct {
	Disabled  bool   // --etcd-disable-snapshots
	Cron      string // --etcd-snapshot-schedule-cron, five fields in the machine's time zone, or @daily…
	Retention int    // --etcd-snapshot-retention: how many of them are kept
	Dir       string // --etcd-snapshot-dir; empty: per DataDir, see Paths
	Name      string // --etcd-snapshot-name: what their names begin with
	Compress  bool   // --etcd-snapshot-compress; they always are
}

// Defaults of snapshots; K3s'.
const (
	DefaultSnapshotCron      = "0 */12 * * *"
	DefaultSnapshotRetention = 5
	DefaultSnapshotName      = "etcd-snapshot"
)

var snapshotName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

// Schedule is when the snapshots are made.
func (s Snapshots) Schedule() (cron.Schedule, error) { return cron.ParseStandard(s.Cron) }

// Next is the time of the first snapshot after t, zero if there will be none.
func (s Snapshots) Next(t time.Time) time.Time {
	schedule, err := s.Schedule()
	if s.Disabled || err != nil {
		return time.Time{}
	}
	return schedule.Next(t)
}

// complete fills in the folder, and reports each field that is wrong.
func (s *Snapshots) complete(p Paths) (errs []error) {
	if s.Dir == "" {
		s.Dir = p.Snapshots()
	}
	if !filepath.IsAbs(s.Dir) {
		errs = append(errs, fmt.Errorf("etcd-snapshot-dir: %q is not an absolute path", s.Dir))
	}
	s.Dir = filepath.Clean(s.Dir)
	if _, err := s.Schedule(); err != nil {
		errs = append(errs, fmt.Errorf("etcd-snapshot-schedule-cron: %q: %w; want minute, hour, day, month and weekday, such as %q", s.Cron, err, DefaultSnapshotCron))
	}
	if s.Retention < 1 {
		errs = append(errs, fmt.Errorf("etcd-snapshot-retention: %d: keep at least one, or set etcd-disable-snapshots", s.Retention))
	}
	if !snapshotName.MatchString(s.Name) {
		errs = append(errs, fmt.Errorf("etcd-snapshot-name: %q: want letters, digits, dots, dashes and underscores", s.Name))
	}
	return errs
}

// SnapshotState is what a server says of its scheduled snapshots, in [Paths.SnapshotState].
type SnapshotState struct {
	Last    string     `json:"last,omitempty"` // name of the newest
	Made    *time.Time `json:"made,omitempty"` // when
	Next    *time.Time `json:"next,omitempty"`
	Failure string     `json:"failure,omitempty"` // why the last one could not be made
}

// SnapshotState is the file of a [SnapshotState].
func (p Paths) SnapshotState() string { return filepath.Join(p.Run(), "snapshots.json") }

// ReadSnapshotState reads what the running server says; zero if none runs.
func ReadSnapshotState(p Paths) (SnapshotState, error) {
	return readState[SnapshotState](p.SnapshotState())
}

// DatastoreSettings are the settings, by flag, that the content of the datastore depends on.
func (s *Server) DatastoreSettings() map[string]string {
	return map[string]string{"cluster-cidr": s.ClusterCIDR, "service-cidr": s.ServiceCIDR, "cluster-domain": s.ClusterDomain}
}
