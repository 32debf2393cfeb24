package installer

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/Masterminds/semver/v3"

	"airgap/internal/atomicfile"
	"airgap/node/config"
	"airgap/registry"
)

// trial is a new version that has yet to show that it works, or one that is being left again. While its file,
// <data-dir>/install/trial.json, exists, the machine can go back to From by what the file and the install's journal say.
//
//	          images visible           trial.json                     links, start, Ready, probation
//	(journal) ──────────────► stopped ───────────► configuration … ─────────────────────────────────► proven
//	     │                       │                     │                        │                         │
//	     │ failure, other bundle │                     │ failure, deadline,     │ the same, or a crash    │ airgap rollback
//	     ▼                       ▼                     ▼ power cut              ▼                         ▼
//	  rollBack: as before, the old version runs       undo: as before, the old version runs  ◄── trial.json, deliberate
//
// proven is previous.json: the same record, with what the journal knew of how to go back, for `airgap rollback`.
//
// # Invariants
//
//   - While trial.json exists, the folder of From is whole and `previous` leads to it, and so does the snapshot exist if Restore.
//   - Everything that differs from what From ran with is changed after trial.json was durable, but for the names of
//     images, which the journal has; and every change is in the journal before it is made.
//   - trial.json goes last: undoing may be cut off at any point and is done again, by whoever comes first. Each of its steps
//     may be repeated.
//   - One process decides: the one that holds the installer's lock. While an installer does, it watches, and
//     `airgap trial` does nothing; a trial without one is undone by the next start of the service, before the node starts, by the
//     executable of From, unless it is so old that it counts as proven (abandonedAfter).
//
// What a power cut meets: before trial.json the old version starts as if nothing were (`previous` may name it twice); between
// trial.json and the new link it is undone and the old version starts, having been the only one to run; after the link it is
// undone and the old version starts; during undo it is undone; after proven the new version starts.
//
// The file is read by the executable of From, which is the older one: fields are added, never renamed.
type trial struct {
	Bundle  string `json:"bundle"`
	Version string `json:"version"` // of the bundle
	Digest  string `json:"digest"`  // of its manifest

	From version `json:"from"`
	To   version `json:"to"`

	Snapshot string `json:"snapshot,omitempty"` // file, of the datastore as From left it; empty: there is no SQLite here
	// Restore says that going back puts the snapshot back: To may have written what From cannot read, or somebody asked for it.
	Restore bool `json:"restore,omitempty"`

	Well wellBefore `json:"well"`

	Begun      time.Time `json:"begun"`
	Deliberate bool      `json:"deliberate,omitempty"` // nothing is tried: somebody goes back

	// Once it is proven, what the journal knew, and what the commit changed.
	Placed   []placed            `json:"placed,omitempty"`
	Images   []registry.Standing `json:"images,omitempty"`
	Accepted accepted            `json:"accepted"`        // of the bundle, before; zero: it had never been accepted
	Files    []hostFile          `json:"files,omitempty"` // that bundles had put on the host
}

// version is an unpacked distribution.
type version struct {
	Folder     string `json:"folder"` // its name in [config.Paths.Versions]: the digest of its payload
	Airgap     string `json:"airgap,omitempty"`
	Kubernetes string `json:"kubernetes,omitempty"`
}

func (v version) String() string {
	if v.Airgap == "" {
		return "the version in " + v.Folder[:min(12, len(v.Folder))]
	}
	return fmt.Sprintf("airgap %s, Kubernetes %s", v.Airgap, v.Kubernetes)
}

func provenPath(p config.Paths) string { return filepath.Join(p.Install(), "previous.json") }

// readTrial reads one of the two files; nil if there is none.
func readTrial(path string) (*trial, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	t := new(trial)
	if err := json.Unmarshal(data, t); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if !isVersionFolder(t.From.Folder) || !isVersionFolder(t.To.Folder) {
		return nil, fmt.Errorf("%s: names no version to go back to", path)
	}
	return t, nil
}

// isVersionFolder says whether a name can be that of a version's folder: it is joined to a path.
func isVersionFolder(name string) bool {
	return name != "" && filepath.IsLocal(name) && filepath.Base(name) == name
}

func (t *trial) write(path string) error { return atomicfile.WriteJSON(path, t, 0o600) }

// linkTo is what a link in the data folder to a version's folder holds.
func linkTo(p config.Paths, folder string) string {
	return filepath.Join(filepath.Base(p.Versions()), folder)
}

// versionAt is the folder that a link in the data folder leads to; empty if there is no such link.
func versionAt(link string) (string, error) {
	to, err := os.Readlink(link)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return filepath.Base(to), err
}

// runningVersion is the installed version, as the reports tell of it.
func runningVersion(p config.Paths) (version, error) {
	folder, err := versionAt(p.Current())
	if err != nil || folder == "" {
		return version{}, err
	}
	v := version{Folder: folder}
	reports, err := readReports(p)
	for _, report := range slices.Backward(reports) {
		if report.Airgap != "" {
			v.Airgap, v.Kubernetes = report.Airgap, report.Kubernetes
			break
		}
	}
	return v, err
}

// sameData says whether two versions of Kubernetes read and write the same data: those of one minor do.
func sameData(a, b string) bool {
	va, errA := semver.NewVersion(a)
	vb, errB := semver.NewVersion(b)
	return errA == nil && errB == nil && va.Major() == vb.Major() && va.Minor() == vb.Minor()
}
