package installer

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"airgap/installer/preflight"
	"airgap/internal/atomicfile"
	"airgap/internal/journal"
	"airgap/internal/snapshot"
	"airgap/node/config"
)

// DefaultProbation is how long a new version must go on after it was Ready.
const DefaultProbation = 30 * time.Second

// RolledBackError says that a new version did not prove itself and that the one before runs again.
type RolledBackError struct {
	Err error  // what was wrong with the new version
	Now string // what runs: "airgap 0.1.0, Kubernetes v1.37.1"
}

func (e *RolledBackError) Error() string {
	return fmt.Sprintf("%v\nrolled back: %s runs again, and all is as it was before", e.Err, e.Now)
}

func (e *RolledBackError) Unwrap() error { return e.Err }

// beginTrial stops the node, keeps what it leaves, and notes how to go back, if the bundle brings another version than the one that
// runs. From here on a failure of the install, or of the machine, brings that one back.
func (r *run) beginTrial(ctx context.Context) (string, error) {
	folder, err := r.bundledVersion()
	if err != nil {
		return "", err
	}
	from, err := runningVersion(r.paths)
	if err != nil {
		return "", err
	}
	if folder == "" || folder == from.Folder {
		return "none: nothing that runs is replaced", nil
	}
	if r.moreFollow() {
		return "none: the node starts with the next bundle", nil
	}
	d := r.distribution()
	t := &trial{
		Bundle: r.manifest.Name, Version: r.manifest.Version, Digest: r.digest, Begun: time.Now().UTC(),
		From: from, To: version{Folder: folder, Airgap: d.Version, Kubernetes: d.Kubernetes},
		Well: r.well,
	}
	all, err := readAccepted(r.paths)
	if err := errors.Join(err, readJSON(hostFilesPath(r.paths), &t.Files)); err != nil {
		return "", err
	}
	t.Accepted = all[t.Bundle]
	ctx = context.WithoutCancel(ctx)
	if err := r.stopNode(ctx); err != nil {
		return "", err
	}
	r.changed = true
	if err := r.fault("trial: stopped"); err != nil {
		return "", err
	}
	detail := fmt.Sprintf("%s, from %s", t.To, t.From)
	if exists(r.paths.Database()) {
		info, err := snapshot.Save(ctx, snapshot.Options{
			Database: r.paths.Database(), Parts: r.paths.Identity(), Folder: r.paths.Snapshots(), Prefix: snapshotPrefix,
			About: snapshot.About{Node: r.snapshotNode(), Airgap: from.Airgap, Kubernetes: from.Kubernetes, Reason: fmt.Sprintf("before %s %s", t.Bundle, t.Version)},
		})
		if err != nil {
			return "", fmt.Errorf("keep the datastore: %w", err)
		}
		t.Snapshot, t.Restore = info.File, !sameData(from.Kubernetes, t.To.Kubernetes)
		detail += "; datastore kept as " + info.Name
	}
	if err := r.fault("trial: datastore kept"); err != nil {
		return "", err
	}
	if err := atomicfile.Link(linkTo(r.paths, t.From.Folder), r.paths.Previous()); err != nil {
		return "", err
	}
	if err := t.write(r.paths.Trial()); err != nil {
		return "", err
	}
	r.trial = t
	return detail, r.fault("trial: noted")
}

// snapshotPrefix begins the names of the snapshots that upgrades make, of which keptSnapshots stay.
const (
	snapshotPrefix = "pre-upgrade"
	keptSnapshots  = 2
)

// snapshotNode is the node's name as it stands in a snapshot's.
func (r *run) snapshotNode() string {
	name, err := r.nodeName()
	if err != nil || name == "" {
		return "node"
	}
	return name
}

// resumeTrial looks for a trial that was left alone. This run goes on with it if it is of the same bundle and its version has been
// switched to; else it is undone first.
func (r *run) resumeTrial(ctx context.Context) error {
	t, err := readTrial(r.paths.Trial())
	if t == nil || err != nil {
		return err
	}
	if !t.Deliberate && r.unfinish.open && r.unfinish.Digest == r.digest && t.Digest == r.digest && r.unfinish.done["switch"] {
		r.trial = t
		return nil
	}
	r.console.note(fmt.Sprintf("going back to %s: the upgrade to %s was interrupted", t.From, t.To))
	if err := r.undoTrial(ctx, t, interruptedWhy(t)); err != nil {
		return err
	}
	if _, err := r.startNode(ctx); err != nil {
		return fmt.Errorf("start the node again: %w", err)
	}
	r.unfinish = transaction{}
	return nil
}

// undoTrial goes back to the version of before, with the node stopped afterwards.
func (r *run) undoTrial(ctx context.Context, t *trial, why string) error {
	if err := r.stopNode(ctx); err != nil {
		return err
	}
	if err := r.closeImport(); err != nil {
		return err
	}
	v := reversal{paths: r.paths, trial: t, why: why, journal: r.journal, undone: r.unfinish, fault: r.fault}
	if err := v.run(ctx); err != nil {
		return err
	}
	r.trial = nil
	return nil
}

// giveUp brings the old version back after the new one has failed, and says so.
func (r *run) giveUp(ctx context.Context, failure error) error {
	t := r.trial
	r.console.note(fmt.Sprintf("going back to %s", t.From))
	err := r.undoTrial(ctx, t, firstLine(failure.Error()))
	if err == nil {
		err = r.runAgain(ctx)
	}
	if errors.Is(err, errKilled) {
		return err
	}
	if err != nil {
		return errors.Join(failure, fmt.Errorf("going back to %s failed as well: %w; the next start of the service tries again, as does this command", t.From, err))
	}
	return &RolledBackError{Err: failure, Now: t.From.String()}
}

// runAgain starts the node and waits until it is Ready, also if little patience was asked for with the new version.
func (r *run) runAgain(ctx context.Context) error {
	r.Timeout = max(r.Timeout, DefaultTimeout)
	r.started = time.Now()
	tried, err := r.startNode(ctx)
	if err != nil || !tried {
		return err
	}
	_, err = r.awaitNode(ctx)
	return err
}

// proveTrial watches the new version for its probation, and then makes it the one that stays.
func (r *run) proveTrial(ctx context.Context) (string, error) {
	if r.trial == nil {
		return "nothing that runs was replaced", nil
	}
	if !r.report.NotStarted {
		if err := r.watch(ctx); err != nil {
			return "", err
		}
	}
	if err := r.fault("health: proven"); err != nil {
		return "", err
	}
	if err := keepBundlesBefore(r.paths); err != nil {
		return "", err
	}
	t := *r.trial
	t.Placed, t.Images = r.unfinish.placed, r.unfinish.images
	if err := t.write(provenPath(r.paths)); err != nil {
		return "", err
	}
	if err := r.fault("health: noted"); err != nil {
		return "", err
	}
	if err := errors.Join(removeIfThere(r.paths.Trial()), atomicfile.SyncDir(r.paths.Install())); err != nil {
		return "", err
	}
	r.trial = nil
	return fmt.Sprintf("%s has proven itself", t.To), r.fault("health: trial ended")
}

// RollbackOptions say how a machine goes back to the version before.
type RollbackOptions struct {
	Options
	KeepData bool // the datastore stays as it is
}

// WayBack is what a rollback would do.
type WayBack struct {
	Bundle   string    `json:"bundle"`
	Version  string    `json:"version"`            // of the bundle that is left
	From, To string    `json:"-"`                  // versions: what runs, and what will
	Since    time.Time `json:"since"`              // when the upgrade began: what was written to the datastore since is what a restore loses
	Snapshot string    `json:"snapshot,omitempty"` // file, of the datastore; empty: there is none to restore
}

// FindWayBack says what [Rollback] would go back to; the error is [ErrUsage] if there is nothing.
func FindWayBack(dataDir string) (*WayBack, error) {
	p := config.PathsOf(dataDir)
	t, err := readTrial(provenPath(p))
	if err != nil {
		return nil, err
	}
	if t == nil {
		return nil, fmt.Errorf("%w: there is nothing to go back to: no upgrade of the node with the data folder %s has been completed, or it was left already", ErrUsage, p.DataDir)
	}
	return &WayBack{Bundle: t.Bundle, Version: t.Version, From: t.To.String(), To: t.From.String(), Since: t.Begun, Snapshot: t.Snapshot}, nil
}

// Rollback goes back to the version that ran before the last upgrade, and to the datastore of then, and waits until the node is Ready. Cut
// off at any point, it is completed by the next start of the service.
func Rollback(ctx context.Context, opts RollbackOptions) error {
	if _, err := FindWayBack(opts.Server.DataDir); err != nil {
		return err
	}
	r, err := newRun(opts.Options)
	if err != nil {
		return err
	}
	defer r.close()
	if err := r.awaitTurn(ctx); err != nil {
		return err
	}
	if r.lock, err = acquireLock(r.paths); err != nil {
		return err
	}
	t, err := readTrial(provenPath(r.paths))
	if err != nil || t == nil {
		return errors.Join(err, errors.New("somebody else has gone back meanwhile"))
	}
	if err := r.allowBack(t); err != nil {
		return err
	}
	t.Deliberate, t.Restore = true, !opts.KeepData && t.Snapshot != ""
	opened, _, err := journal.Open(r.journalPath())
	if err != nil {
		return err
	}
	r.journal = opened
	if err := t.write(r.paths.Trial()); err != nil {
		return err
	}
	if err := r.fault("back: noted"); err != nil {
		return err
	}
	ctx = context.WithoutCancel(ctx) // it is short, and half of it is nothing anybody wants
	r.console.note("going back to " + t.From.String())
	if err := r.undoTrial(ctx, t, interruptedWhy(t)); err != nil {
		return err
	}
	return r.runAgain(ctx)
}

// allowBack refuses to go below a bundle's version floor.
func (r *run) allowBack(t *trial) error {
	all, err := readAccepted(r.paths)
	if err != nil {
		return err
	}
	if before := t.Accepted; before.Version != "" && preflight.Older(before.Version, all[t.Bundle].Floor) {
		return fmt.Errorf("%w: %s %s is below %s, the lowest version of it that this machine may run", ErrRefused, t.Bundle, before.Version, all[t.Bundle].Floor)
	}
	if _, err := os.Stat(filepath.Join(r.paths.Versions(), t.From.Folder)); err != nil {
		return fmt.Errorf("the version to go back to: %w", err)
	}
	return nil
}
