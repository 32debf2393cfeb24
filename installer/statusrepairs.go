package installer

import (
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
