package main

import (
	"airgap/installer"
)

// repairs tells what was damaged and put right, and of the newest snapshot.
func (d *statusScreen) repairs(s *installer.Status) {
	if s.Snapshots != nil && s.Snapshots.Made != nil {
		d.row("snapshot", "%s ago: %s", age(d.now.Sub(*s.Snapshots.Made)), s.Snapshots.Last)
	}
	for _, r := range s.Repairs {
		d.row("repaired", "%s, %s: %s", r.What, moment(r.Time), r.Done)
		if r.Remedy != "" {
			d.row("", "%s", r.Remedy)
		}
	}
}
