package installer

import (
	"fmt"
	"os"
	"strings"
	"time"

	"airgap/node/config"
)

// repairsShownFor is how long a repair stays on the screen.
const repairsShownFor = 14 * 24 * time.Hour

// tellRepairs tells what starts of the node have repaired, and complains of snapshots that cannot be made.
func (s *Status) tellRepairs(p config.Paths, now time.Time) {
	list, err := config.ReadRepairs(p)
	s.cannotSee("repairs", err)
	for _, r := range list {
		if now.Sub(r.Time) < repairsShownFor {
			s.Repairs = append(s.Repairs, r)
		}
	}
	snapshots, err := config.ReadSnapshotState(p)
	s.cannotSee("snapshots", err)
	if snapshots.Made == nil && snapshots.Failure == "" {
		return
	}
	s.Snapshots = &snapshots
	if snapshots.Failure != "" {
		s.complain("the datastore's snapshot could not be made: %s", firstLine(snapshots.Failure))
	}
}

// tellIdentity notes where the machine is no longer called, or no longer is, what it was when its node began.
func (s *Status) tellIdentity(p config.Paths) {
	was, err := config.ReadNodeIdentity(p)
	s.cannotSee("the node's identity", err)
	if was.Name == "" {
		return
	}
	if host, err := os.Hostname(); err == nil && host != was.Host {
		s.Notes = append(s.Notes, fmt.Sprintf("the host was called %s and is called %s; the node stays %s", was.Host, host, was.Name))
	}
	if id, err := os.ReadFile("/etc/machine-id"); err == nil && was.MachineID != "" && strings.TrimSpace(string(id)) != was.MachineID {
		s.Notes = append(s.Notes, "the machine ID is another than when the node began: if this disk is a copy of another machine's, uninstall and install here anew")
	}
}
