package addons

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// patience is how many attempts an object of an unknown kind gets before its file counts as
// failed: the definition of the kind may be about to come from another file or a chart.
const patience = 5

// sync looks at the folder once, applies what is new or due, and deletes what is no longer there. It returns
// how long to wait until there may be something to do again.
func (d *Deployer) sync(ctx context.Context) (next time.Duration, err error) {
	found, err := scan(d.options.Folder)
	if err != nil {
		return d.options.Interval, err
	}
	now := time.Now()
	for name, f := range found {
		if d.isDisabled(name) {
			delete(found, name)
			continue
		}
		if p := d.files[name]; p == nil || !p.sameAs(f) || p.skipped != f.skipped {
			d.files[name] = &progress{file: f, since: now}
		}
	}
	maps.DeleteFunc(d.files, func(name string, _ *progress) bool { _, there := found[name]; return !there })

	next = d.options.Interval
	for _, name := range slices.Sorted(maps.Keys(d.files)) {
		p := d.files[name]
		wait := p.wait(time.Now())
		if wait == 0 {
			d.advance(ctx, name, p)
			wait = p.wait(time.Now())
		}
		if !p.done && ctx.Err() == nil {
			next = min(next, wait)
		}
	}
	if ctx.Err() == nil && !d.deleteStale(ctx) {
		next = min(next, lastRetry)
	}
	return max(next, 10*time.Millisecond), nil
}

func (d *Deployer) isDisabled(name string) bool {
	return slices.Contains(d.options.Disable, componentOf(name))
}

// wait returns how long to leave the file alone before the next attempt; zero for now.
func (p *progress) wait(now time.Time) time.Duration {
	if p.done {
		return lastRetry
	}
	// The clock may have been set, or be wrong: a time of change in the future says nothing,
	// so what counts then is how long we have seen the file unchanged.
	if age := now.Sub(p.modTime); age < settleTime {
		if seen := now.Sub(p.since); seen < settleTime {
			return settleTime - max(seen, age)
		}
	}
	return max(0, p.retryAt.Sub(now))
}

// advance makes one attempt at a file.
func (d *Deployer) advance(ctx context.Context, name string, p *progress) {
	r := d.record(name)
	r.Message = ""
	if p.skipped {
		r.State = Skipped
		d.finish(ctx, p, r, true)
		return
	}
	content, err := read(p.file)
	if errors.Is(err, fs.ErrNotExist) {
		return // removed this moment; the next look sees it
	}
	if err != nil {
		r.State, r.Message = Failed, shorten(err.Error())
		d.finish(ctx, p, r, false)
		return
	}
	sum := sha256.Sum256(content)
	r.SHA256 = hex.EncodeToString(sum[:])
	objects, err := parseManifest(content)
	if err != nil {
		r.State, r.Message = Failed, shorten(err.Error())
		d.finish(ctx, p, r, true) // only a change of the file can help
		return
	}
	problems := d.applyObjects(ctx, &r, p, objects)
	if ctx.Err() != nil {
		return
	}
	p.read = true
	r.Message = shorten(joinLines(problems))
	other := slices.ContainsFunc(problems, func(err error) bool { return !meta.IsNoMatchError(err) })
	switch {
	case len(problems) == 0:
		r.State = Applied
	case !other && p.failures < patience:
		r.State = Pending
	default:
		r.State = Failed
	}
	p.applied = r.State == Applied
	d.finish(ctx, p, r, p.applied)
}

// finish records what an attempt came to. If the file is not done with, or the record could not be written,
// it plans the next attempt, later with each one in a row.
func (d *Deployer) finish(ctx context.Context, p *progress, r record, done bool) {
	err := d.remember(ctx, r)
	if err != nil && ctx.Err() == nil {
		d.options.Log.Warn("manifest", "file", r.File, "error", err)
	}
	if p.done = done && err == nil; !p.done {
		p.retryAt = time.Now().Add(min(firstRetry<<min(p.failures, 10), lastRetry))
		p.failures++
	}
}

// applyObjects applies the objects of a file in two stages: namespaces and definitions of kinds, then
// all others. It returns every problem, not the first. The record holds each object before it is made.
func (d *Deployer) applyObjects(ctx context.Context, r *record, p *progress, objects []*unstructured.Unstructured) (problems []error) {
	p.wanted = nil
	stage := slices.IndexFunc(objects, func(o *unstructured.Unstructured) bool { return rank(o.GroupVersionKind().GroupKind()) == 2 })
	if stage < 0 {
		stage = len(objects)
	}
	for _, objects := range [][]*unstructured.Unstructured{objects[:stage], objects[stage:]} {
		var known []*unstructured.Unstructured
		var references []Reference
		for _, object := range objects {
			reference, _, err := d.cluster.resolve(referenceTo(object))
			p.wanted = append(p.wanted, reference)
			if err != nil {
				problems = append(problems, describe(reference, err))
				continue
			}
			known = append(known, object)
			references = append(references, reference)
		}
		if len(subtract(references, r.Objects)) > 0 {
			r.State = Pending
			r.Objects = union(r.Objects, references)
			if err := d.remember(ctx, *r); err != nil {
				return append(problems, err)
			}
		}
		for _, object := range known {
			if err := d.cluster.apply(ctx, object, r.File); err != nil {
				problems = append(problems, err)
			}
			if ctx.Err() != nil {
				return problems
			}
		}
	}
	return problems
}

// deleteStale deletes the objects that are in a record and no longer in its file, and the records of files that
// are gone. It returns false if something is left to do.
//
// An object that moved to another file stays. It waits, therefore, until every file has been read.
func (d *Deployer) deleteStale(ctx context.Context) (complete bool) {
	var moved, moving []Reference // what other files have, applied and not yet
	for _, p := range d.files {
		switch {
		case !p.read && !p.done:
			return false
		case p.applied:
			moved = append(moved, p.wanted...)
		default:
			moving = append(moving, p.wanted...)
		}
	}
	d.mu.Lock()
	records := maps.Clone(d.records)
	d.mu.Unlock()
	complete = true
	for _, name := range slices.Sorted(maps.Keys(records)) {
		r := records[name]
		p, present := d.files[name]
		if r.node != d.options.Node || present && !p.applied {
			continue // another server's file; or one that is skipped, bad, or not applied in full
		}
		stale := r.Objects
		if present {
			stale = subtract(stale, p.wanted)
		}
		if len(stale) == 0 && present {
			continue
		}
		stale = subtract(stale, moving)
		own := subtract(stale, moved)
		r.Objects = subtract(r.Objects, subtract(stale, own))
		complete = d.deleteObjects(ctx, r, own, present) && complete
	}
	return complete
}

// deleteObjects deletes stale objects of one record, and takes those that are gone out of it.
func (d *Deployer) deleteObjects(ctx context.Context, r record, stale []Reference, present bool) (complete bool) {
	var problems []error
	var gone []Reference
	for _, reference := range deletionOrder(stale) {
		if err := d.cluster.remove(ctx, reference, r.File); err != nil {
			problems = append(problems, err)
			continue
		}
		gone = append(gone, reference)
	}
	if ctx.Err() != nil {
		return false
	}
	r.Objects = subtract(r.Objects, gone)
	var err error
	if len(r.Objects) == 0 && !present {
		err = d.forget(ctx, r.File)
	} else {
		r.State, r.Message = Applied, ""
		if len(problems) > 0 {
			r.State, r.Message = Failed, shorten("cannot delete: "+joinLines(problems))
		}
		err = d.remember(ctx, r)
	}
	if err != nil {
		d.options.Log.Warn("stale objects", "file", r.File, "error", err)
	}
	return err == nil && len(problems) == 0
}

func joinLines(problems []error) string {
	lines := make([]string, len(problems))
	for i, problem := range problems {
		lines[i] = problem.Error()
	}
	return strings.Join(lines, "; ")
}
