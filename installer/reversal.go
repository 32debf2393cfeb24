package installer

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"airgap/internal/atomicfile"
	"airgap/internal/journal"
	"airgap/internal/snapshot"
	"airgap/node/config"
	"airgap/registry"
)

// reversal takes a machine back to the version that ran before a trial, while its node is stopped: see [trial].
type reversal struct {
	paths   config.Paths
	trial   *trial
	why     string // what made it necessary, for the report
	journal *journal.Journal
	undone  transaction // whose changes are taken back, if it is the trial's own
	fault   func(point string) error
}

// run takes every step, the last of which ends the trial. It may be repeated.
func (v *reversal) run(ctx context.Context) error {
	for _, step := range []struct {
		name string
		do   func(context.Context) error
	}{
		// The old version never finds data that it cannot read: they go first, and the link after them.
		{"datastore", v.putDatastoreBack},
		{"files", v.takeFilesBack},
		{"switch", v.switchBack},
		{"images", v.putImagesBack},
		{"version", v.removeVersion},
		{"commit", v.takeCommitBack},
		{"report", v.report},
		{"end", v.end},
	} {
		if err := step.do(ctx); err != nil {
			return fmt.Errorf("go back to %s: %s: %w", v.trial.From, step.name, err)
		}
		if err := v.fault("back: " + step.name); err != nil {
			return err
		}
	}
	return nil
}

// own says whether the journal's last transaction is the trial's.
func (v *reversal) own() bool { return !v.trial.Deliberate && v.undone.Digest == v.trial.Digest }

func (v *reversal) putDatastoreBack(ctx context.Context) error {
	if !v.trial.Restore || v.trial.Snapshot == "" {
		return nil
	}
	_, err := snapshot.Restore(ctx, snapshot.RestoreOptions{File: v.trial.Snapshot, Database: v.paths.Database(), Parts: v.paths.Identity()})
	return err
}

// takeFilesBack restores configuration, content and service.
func (v *reversal) takeFilesBack(context.Context) error {
	files := v.trial.Placed
	if v.own() {
		files = v.undone.placed
	}
	var errs []error
	for _, file := range slices.Backward(files) {
		errs = append(errs, file.undo())
	}
	return errors.Join(errs...)
}

func (v *reversal) switchBack(context.Context) error {
	if _, err := os.Stat(filepath.Join(v.paths.Versions(), v.trial.From.Folder, "bin", "airgap")); err != nil {
		return fmt.Errorf("it is not there any more: %w", err)
	}
	return atomicfile.Link(linkTo(v.paths, v.trial.From.Folder), v.paths.Current())
}

func (v *reversal) putImagesBack(ctx context.Context) error {
	images := v.trial.Images
	if v.own() {
		images = v.undone.images
	}
	if len(images) == 0 {
		return nil
	}
	store, err := openFreedStore(ctx, v.paths.Containerd())
	if err != nil {
		return err
	}
	return errors.Join(store.PutBack(ctx, images), store.Close())
}

// openFreedStore opens containerd's store when the containerd that has just been told to end has ended.
func openFreedStore(ctx context.Context, root string) (*registry.Store, error) {
	for {
		store, err := registry.OpenStore(root) // waits for two seconds itself
		if !errors.Is(err, registry.ErrInUse) {
			return store, err
		}
		if ctx.Err() != nil {
			return nil, errors.Join(err, ctx.Err())
		}
	}
}

// removeVersion removes the version that did not prove itself, unless it was there before or pods have their monitors from it.
func (v *reversal) removeVersion(context.Context) error {
	if !v.own() || v.undone.staged != v.trial.To.Folder {
		return nil
	}
	used, err := versionsInUse(v.paths)
	if err != nil || used[v.trial.To.Folder] {
		return err
	}
	return os.RemoveAll(filepath.Join(v.paths.Versions(), v.trial.To.Folder))
}

// takeCommitBack makes the machine know of bundles and host files what it knew before they were committed. The version floor stays: it is
// what a signed bundle has said.
func (v *reversal) takeCommitBack(context.Context) error {
	if v.own() {
		return nil // there was no commit
	}
	all, err := readAccepted(v.paths)
	if err != nil {
		return err
	}
	now, before := all[v.trial.Bundle], v.trial.Accepted
	before.keepFloors(now)
	if all[v.trial.Bundle] = before; before.Version == "" {
		delete(all, v.trial.Bundle)
	}
	if err := atomicfile.WriteJSON(acceptedPath(v.paths), all, 0o644); err != nil {
		return err
	}
	if err := atomicfile.WriteJSON(hostFilesPath(v.paths), v.trial.Files, 0o644); err != nil {
		return err
	}
	return putBundlesBack(v.paths)
}

// report tells what was tried and what runs now. It is written once: the journal then knows of the end.
func (v *reversal) report(context.Context) error {
	t := v.trial
	if v.own() && !v.undone.open {
		return nil
	}
	r := &Report{
		Bundle: t.Bundle, Version: t.Version, Digest: t.Digest, Airgap: t.From.Airgap, Kubernetes: t.From.Kubernetes,
		RolledBack: v.why, DatastoreRestored: t.Restore && t.Snapshot != "", Started: t.Begun, Finished: time.Now().UTC(),
		Signers: []string{}, Steps: []StepReport{},
	}
	if _, err := r.write(v.paths); err != nil {
		return err
	}
	if !v.own() || v.journal == nil {
		return nil
	}
	return v.journal.Append(recordEnd, "rolled back")
}

// end forgets the trial, last of all, and what only it needed.
func (v *reversal) end(context.Context) error {
	proven, err := readTrial(provenPath(v.paths))
	if err == nil && proven != nil && (v.trial.Deliberate || proven.Digest == v.trial.Digest) {
		err = removeIfThere(provenPath(v.paths)) // what it says has been done
	}
	if err != nil {
		return err
	}
	if err := os.RemoveAll(filepath.Join(v.paths.Install(), stagingName)); err != nil {
		return err
	}
	return errors.Join(removeIfThere(v.paths.Trial()), atomicfile.SyncDir(v.paths.Install()))
}

// UndoTrial takes the machine back to the version that ran before, if a new one was being tried and no installer watches any more: after
// a power cut, or when the installer was killed. It is what the service does before each start of the node, by that
// version's executable. Nothing is done, and undone is false, if there is no trial.
func UndoTrial(ctx context.Context, dataDir string) (undone bool, err error) {
	p := config.PathsOf(dataDir)
	if t, err := readTrial(p.Trial()); t == nil || err != nil {
		return false, err
	}
	lock, err := acquireLock(p)
	if errors.Is(err, ErrBusy) {
		return false, nil // an installer watches
	}
	if err != nil {
		return false, err
	}
	defer lock.Close()
	t, err := readTrial(p.Trial()) // as it is now that nobody changes it
	if t == nil || err != nil {
		return false, err
	}
	if abandoned(p, t) {
		return false, errors.Join(t.write(provenPath(p)), os.Remove(p.Trial()))
	}
	j, opened, err := journal.Open(filepath.Join(p.Install(), "journal"))
	if err != nil {
		return false, err
	}
	defer j.Close()
	last, err := lastTransaction(opened.Records)
	if err != nil {
		return false, err
	}
	v := reversal{paths: p, trial: t, why: interruptedWhy(t), journal: j, undone: last, fault: func(string) error { return nil }}
	return true, v.run(ctx)
}

// abandonedAfter is how old a trial may become before it counts as proven, if its version runs: to undo what a cluster did for longer than that
// would be worse than what the version may still hide.
const abandonedAfter = 24 * time.Hour

func abandoned(p config.Paths, t *trial) bool {
	now, err := versionAt(p.Current())
	return err == nil && now == t.To.Folder && !t.Deliberate && time.Since(t.Begun) > abandonedAfter
}

func interruptedWhy(t *trial) string {
	if t.Deliberate {
		return "as asked for"
	}
	return "the upgrade was interrupted before the new version had proven itself"
}
