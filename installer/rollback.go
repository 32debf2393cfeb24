package installer

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"airgap/registry"
)

// rollBack undoes an install that has not come to its switch, and ends its transaction: files it
// placed, the version it unpacked, the blobs it imported, everything in the data folder that was
// not there before. A node that ran before runs again. It may be repeated.
func (r *run) rollBack(ctx context.Context) error {
	t := r.unfinish
	var errs []error
	for _, p := range slices.Backward(t.placed) {
		errs = append(errs, p.undo())
	}
	if t.staged != "" {
		errs = append(errs, os.RemoveAll(filepath.Join(r.paths.Versions(), t.staged)))
	}
	if !slices.Contains(t.Absent, containerdEntry) && !slices.Contains(t.Absent, "agent") {
		errs = append(errs, r.abortImport(ctx, t.Digest))
	} else {
		errs = append(errs, r.closeImport())
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	errs = []error{r.putImagesBack(ctx), os.RemoveAll(r.staging())}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	if r.installed() {
		if _, err := r.startNode(ctx); err != nil {
			return fmt.Errorf("start the node again: %w", err)
		}
	}
	return r.forget(t)
}

// putImagesBack makes references stand for what they stood for, if there was anything before that they could stand for.
func (r *run) putImagesBack(ctx context.Context) error {
	t := r.unfinish
	if len(t.images) == 0 || slices.Contains(t.Absent, containerdEntry) || slices.Contains(t.Absent, "agent") {
		return nil
	}
	if err := r.stopNode(ctx); err != nil {
		return err
	}
	store, err := openFreedStore(ctx, r.paths.Containerd())
	if err != nil {
		return err
	}
	return errors.Join(store.PutBack(ctx, t.images), store.Close())
}

// abortImport takes the blobs and snapshots of an import that never was committed out of a store that
// others are in.
func (r *run) abortImport(ctx context.Context, digest string) error {
	if r.importing == nil {
		if _, err := os.Stat(r.paths.Containerd()); errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		running, err := r.service.running()
		if err != nil || running {
			return err // it was never begun: the node is stopped first
		}
		if r.store == nil {
			if r.store, err = registry.OpenStore(r.paths.Containerd()); err != nil {
				return err
			}
		}
		if r.importing, err = r.store.Import(ctx, registry.ImportOptions{Lease: lease(digest)}); err != nil {
			return err
		}
	}
	if err := r.importing.Abort(ctx); err != nil {
		return err
	}
	r.importing = nil
	return r.closeImport()
}

// closeImport lets go of containerd's store.
func (r *run) closeImport() error {
	var errs []error
	if r.importing != nil {
		errs = append(errs, r.importing.Close())
		r.importing = nil
	}
	if r.store != nil {
		errs = append(errs, r.store.Close())
		r.store = nil
	}
	return errors.Join(errs...)
}

// forget ends the transaction. When the install folder itself is to go, so does the journal, last of
// all: as long as anything is left, a next run finds what to undo.
func (r *run) forget(t transaction) error {
	var errs []error
	for _, name := range t.Absent {
		if name != "install" {
			errs = append(errs, os.RemoveAll(filepath.Join(r.paths.DataDir, name)))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	if !slices.Contains(t.Absent, "install") {
		return errors.Join(r.journal.Append(recordEnd, "undone"), r.journal.Close())
	}
	errs = append(errs, r.journal.Close(), os.RemoveAll(r.paths.Install()))
	r.journal = nil
	for _, folder := range slices.Backward(t.Made) {
		_ = os.Remove(folder) // stays if something else is in it
	}
	return errors.Join(errs...)
}
