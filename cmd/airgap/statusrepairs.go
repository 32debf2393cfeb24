package main

import (
	"airgap/installer"
)

// repairs tells of the newest snapshot, of what was damaged and put right, and of what is unusual.
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
	for _, note := range s.Notes {
		d.row("note", "%s", note)
	}
}
