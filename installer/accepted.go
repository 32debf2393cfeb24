package installer

import (
	"maps"
	"slices"
	"time"

	"airgap/installer/preflight"
	"airgap/internal/atomicfile"
	"airgap/node/config"
)

// accepted is the highest version of a bundle that a machine has run.
type accepted struct {
	Version string    `json:"version"`
	Floor   string    `json:"floor,omitempty"` // highest version floor seen
	Digest  string    `json:"digest"`
	Time    time.Time `json:"time"`
	Issued  time.Time `json:"issued"` // when it was made: certainly past, which a machine without a clock goes by

	Marks map[string]mark `json:"marks,omitempty"` // by the ID of the key that signed; those of a key count until it is revoked
}

// mark is the highest version, and the highest version floor, that a key has signed and this machine has run.
type mark struct {
	Version string `json:"version"`
	Floor   string `json:"floor,omitempty"`
}

// raised is the higher of each of two marks.
func (m mark) raised(other mark) mark {
	if m.Version == "" || preflight.Older(m.Version, other.Version) {
		m.Version = other.Version
	}
	if m.Floor == "" || preflight.Older(m.Floor, other.Floor) {
		m.Floor = other.Floor
	}
	return m
}

// under is what counts of a when keys have been revoked: what those who are left have signed. Else whoever
// stole a key could lock the repair out, with a version or a floor of 99.0.
func (a accepted) under(revoked []string) mark {
	all := mark{a.Version, a.Floor}
	if len(a.Marks) == 0 || !slices.ContainsFunc(revoked, func(id string) bool { _, signed := a.Marks[id]; return signed }) {
		return all
	}
	var left mark
	for id, m := range a.Marks {
		if !slices.Contains(revoked, id) {
			left = left.raised(m)
		}
	}
	return left
}

// signedBy adds what signers vouch for.
func (a *accepted) signedBy(signers []string, m mark) {
	marks := maps.Clone(a.Marks)
	if marks == nil {
		marks = map[string]mark{}
	}
	for _, id := range signers {
		marks[id] = marks[id].raised(m)
	}
	a.Marks = marks
}

func acceptedPath(p config.Paths) string { return p.Accepted() }

// readAccepted returns the accepted versions by bundle name.
func readAccepted(p config.Paths) (map[string]accepted, error) {
	all := map[string]accepted{}
	return all, readJSON(acceptedPath(p), &all)
}

// accept remembers the version, unless a higher one is remembered.
func (r *run) accept() error {
	all, err := readAccepted(r.paths)
	if err != nil {
		return err
	}
	m, now := r.manifest, all[r.manifest.Name]
	counts := now.under(r.trust.Revoked())
	now.Version, now.Floor = counts.Version, counts.Floor
	if !preflight.Older(m.Version, now.Version) {
		now.Version, now.Digest, now.Time = m.Version, r.digest, time.Now().UTC()
		if issued, err := time.Parse(time.RFC3339, m.IssuedAt); err == nil { // checked with the manifest
			now.Issued = issued
		}
	}
	now.Floor = mark{Floor: now.Floor}.raised(mark{Floor: m.VersionFloor}).Floor
	now.signedBy(r.report.Signers, mark{m.Version, m.VersionFloor})
	all[m.Name] = now
	return atomicfile.WriteJSON(acceptedPath(r.paths), all, 0o644)
}

// keepFloors takes over the floors of a later state: they are what a signed bundle has said, whatever became of it.
func (a *accepted) keepFloors(later accepted) {
	a.Floor = later.Floor
	for id, m := range later.Marks {
		a.signedBy([]string{id}, mark{Floor: m.Floor})
	}
}
