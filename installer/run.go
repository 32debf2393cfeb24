package installer

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"airgap/bundle"
	"airgap/installer/preflight"
	"airgap/internal/journal"
	"airgap/internal/site"
	"airgap/node/config"
	"airgap/registry"
	"airgap/registry/peer"
	"airgap/signing"
)

// run is one run of an install.
type run struct {
	Options
	paths   config.Paths
	console *console
	service service
	steps   []step
	member  *membership // of the cluster that the machine joins; nil: it is the first, or has joined before

	trust    *signing.TrustStore
	reader   *bundle.Reader
	remote   *remote // where reader reads from, if that is the cluster
	manifest *bundle.Manifest
	digest   string // of the bundle manifest: "sha256:…"
	facts    Facts
	findings []Finding

	lock      *os.File
	journal   *journal.Journal
	unfinish  transaction // what this run continues, and has done itself
	store     *registry.Store
	importing *registry.Import
	changed   bool      // something that a running node must be restarted for
	started   time.Time // when the node that runs was started; before, it is the run's own beginning
	readyPID  int       // of the process that ran the node when it was Ready
	hold      *hold     // on the node, which this run has stopped and not started since; nil: it has not
	trial     *trial    // the new version that has yet to prove itself; nil: nothing that runs is replaced
	well      wellBefore
	report    *Report
}

// Kinds of journal records.
const (
	recordBegin  = "begin"  // data: begun
	recordDone   = "done"   // data: a step's name
	recordPlaced = "placed" // data: placed
	recordStaged = "staged" // data: name of a new folder in data/
	recordImages = "images" // data: []registry.Standing, what the bundle's references stood for before
	recordEnd    = "end"    // data: outcome
)

// begun opens a transaction in the journal: everything up to its end belongs to one bundle.
type begun struct {
	Bundle  string   `json:"bundle"`
	Version string   `json:"version"`
	Digest  string   `json:"digest"` // of the bundle manifest
	Absent  []string `json:"absent"` // entries of the data folder that were not there
	Made    []string `json:"made"`   // folders made for the journal itself, the outermost first
}

// transaction is an install as the journal tells it.
type transaction struct {
	begun
	open   bool // begun and not ended
	done   map[string]bool
	placed []placed
	staged string // folder in data/ that was new
	images []registry.Standing
}

// newRun checks the options.
func newRun(opts Options) (*run, error) {
	r := &run{Options: opts}
	if err := r.complete(); err != nil {
		return nil, err
	}
	r.paths = config.PathsOf(r.Server.DataDir)
	for _, s := range steps {
		if s.when == nil || s.when(r) {
			r.steps = append(r.steps, s)
		}
	}
	r.service = newService(&r.Options, r.paths)
	if r.agent && r.Join == nil {
		cluster, err := site.LoadCluster(r.paths.AgentPKI())
		if err != nil {
			return nil, err
		}
		r.adopt(cluster)
	}
	r.console = newConsole(r.Out, r.Terminal, len(r.steps))
	r.report = &Report{Started: time.Now().UTC()}
	r.started = r.report.Started
	return r, nil
}

// close lets go of everything; what is on the disk stays as it is.
func (r *run) close() {
	if r.importing != nil {
		_ = r.importing.Close()
	}
	if r.store != nil {
		_ = r.store.Close()
	}
	if r.journal != nil {
		_ = r.journal.Close()
	}
	if r.lock != nil {
		_ = r.lock.Close()
	}
	if r.reader != nil {
		_ = r.reader.Close()
	}
	if r.hold != nil { // the node could not be started: a guard tries once more
		r.hold.abandon()
	}
}

// step runs one step, tells it, and notes in the journal that it is done.
func (r *run) step(ctx context.Context, index int, s step) error {
	r.console.begin(index+1, s.name)
	began := time.Now()
	var detail string
	var err error
	if s.swift && r.trial != nil {
		ctx = context.WithoutCancel(ctx) // the node is stopped: it comes back first
	}
	if s.once && r.unfinish.done["switch"] {
		detail = "done before"
	} else {
		err = ctx.Err()
		if err == nil {
			err = r.fault(s.name + " begins")
		}
		if err == nil {
			detail, err = s.do(r, ctx)
		}
		if err == nil {
			err = r.fault(s.name + " ends")
		}
	}
	if err != nil {
		r.console.abandon()
		return err
	}
	took := time.Since(began)
	r.report.Steps = append(r.report.Steps, StepReport{Name: s.name, Detail: detail, Seconds: took.Seconds()})
	r.console.end(detail, took)
	if s.name == "preflight" {
		r.console.warnings(r.findings)
	}
	if r.journal == nil { // before begin, and after commit
		return nil
	}
	if err := r.journal.Append(recordDone, s.name); err != nil {
		return err
	}
	r.unfinish.done[s.name] = true
	return r.fault(s.name + " done")
}

// begin makes the data folder, takes the lock on it, and opens a transaction in the journal: the
// unfinished one if it is of this bundle. One of another bundle is undone if that can be.
func (r *run) begin(ctx context.Context) error {
	made := missingFolders(r.paths.Install())
	absent := r.absentEntries()
	if err := os.MkdirAll(r.paths.Install(), 0o755); err != nil {
		return err
	}
	if r.lock == nil {
		lock, err := acquireLock(r.paths)
		if err != nil {
			return err
		}
		r.lock = lock
	}
	j, opened, err := journal.Open(r.journalPath())
	if err != nil {
		return err
	}
	r.journal = j
	if opened.Broken != "" {
		r.console.warn("the install journal was damaged: what could be read was kept, the rest is in " + opened.Broken)
	}
	if r.unfinish, err = lastTransaction(opened.Records); err != nil {
		return err
	}
	if err := r.resumeTrial(ctx); err != nil {
		return err
	}
	if r.unfinish.open {
		if r.unfinish.Digest == r.digest {
			r.console.note(fmt.Sprintf("continuing the install of %s %s that was interrupted", r.manifest.Name, r.manifest.Version))
			return nil
		}
		if !r.unfinish.done["switch"] {
			r.console.note(fmt.Sprintf("undoing the install of %s %s that was interrupted", r.unfinish.Bundle, r.unfinish.Version))
			if err := r.rollBack(ctx); err != nil {
				return err
			}
			if err := os.MkdirAll(r.paths.Install(), 0o755); err != nil {
				return err
			}
			if r.journal, _, err = journal.Open(r.journalPath()); err != nil {
				return err
			}
		}
	}
	r.unfinish = transaction{open: true, done: map[string]bool{}, begun: begun{
		Bundle: r.manifest.Name, Version: r.manifest.Version, Digest: r.digest, Absent: absent, Made: made,
	}}
	if err := r.journal.Append(recordBegin, r.unfinish.begun); err != nil {
		return err
	}
	return r.fault("begun")
}

func journalPath(p config.Paths) string { return filepath.Join(p.Install(), "journal") }

// stagingName is the folder, beside the journal, of what an install takes from a bundle for itself.
const stagingName = "staging"

func (r *run) journalPath() string { return journalPath(r.paths) }
func (r *run) staging() string     { return filepath.Join(r.paths.Install(), stagingName) }
func (r *run) backups() string     { return filepath.Join(r.paths.Install(), "replaced") }
func (r *run) reports() string     { return filepath.Join(r.paths.Install(), "reports") }

// absentEntries lists what a node would have in its data folder and this one has not. A machine that has joined has an
// agent's credentials before it has a store.
func (r *run) absentEntries() []string {
	return slices.DeleteFunc(append(slices.Clone(dataEntries), containerdEntry), func(name string) bool {
		_, err := os.Lstat(filepath.Join(r.paths.DataDir, name))
		return err == nil
	})
}

// lastTransaction reads the last install from the journal.
func lastTransaction(records []journal.Record) (transaction, error) {
	var t transaction
	for _, record := range records {
		var err error
		switch record.Kind {
		case recordBegin:
			t = transaction{open: true, done: map[string]bool{}}
			err = record.Decode(&t.begun)
		case recordDone:
			var name string
			if err = record.Decode(&name); t.open {
				t.done[name] = true
			}
		case recordPlaced:
			var p placed
			err = record.Decode(&p)
			t.placed = append(t.placed, p)
		case recordStaged:
			err = record.Decode(&t.staged)
		case recordImages:
			err = record.Decode(&t.images)
		case recordEnd:
			t.open = false
		}
		if err != nil {
			return t, err
		}
	}
	return t, nil
}

// place puts a file on the machine so that a roll-back can undo it.
func (r *run) place(f placement) error {
	_, err := r.placeNew(f)
	return err
}

// placeForStart is place for a file that a node reads when it starts.
func (r *run) placeForStart(f placement) error {
	changed, err := r.placeNew(f)
	r.changed = r.changed || changed
	return err
}

// placeNew is place, and says whether the file was not there as it is.
func (r *run) placeNew(f placement) (changed bool, err error) {
	changed, err = place(f, r.backups(), func(p placed) error {
		r.unfinish.placed = append(r.unfinish.placed, p)
		return r.journal.Append(recordPlaced, p)
	})
	if err != nil {
		return changed, fmt.Errorf("place %s: %w", f.target, err)
	}
	return changed, nil
}

// bundleBytes is how much of the bundle follows its head, with what a delta leaves out.
func (r *run) bundleBytes() (total int64) {
	for _, e := range r.manifest.Entries {
		total += e.Size
	}
	return total
}

// distribution returns the bundle's distribution for this machine; nil if it has none.
func (r *run) distribution() *bundle.Distribution { return distributionOf(r.manifest) }

func distributionOf(m *bundle.Manifest) *bundle.Distribution {
	for i, d := range m.Distributions {
		if preflight.SamePlatform(d.Platform, preflight.ThisPlatform()) {
			return &m.Distributions[i]
		}
	}
	return nil
}

// failed decides what becomes of a step's failure: a wish to stop, and every failure after the
// switch, leaves everything for the next run to continue; what fails before is undone.
func (r *run) failed(ctx context.Context, name string, err error) error {
	err = fmt.Errorf("%s: %w", name, err)
	switch {
	case r.journal == nil || errors.Is(err, errKilled):
		return err
	case ctx.Err() != nil, errors.Is(err, peer.ErrStalled):
		return errors.Join(fmt.Errorf("%w; run it again to continue", err), r.startAgain(context.WithoutCancel(ctx)))
	case r.trial != nil:
		return r.giveUp(context.WithoutCancel(ctx), err)
	case r.unfinish.done["switch"]:
		return fmt.Errorf("%w\n%s is installed but not complete; when the cause is gone, run it again to continue",
			err, r.manifest.Name)
	}
	r.console.note("undoing what was done")
	if r.member != nil {
		r.member.undone = true
	}
	if undo := r.rollBack(context.WithoutCancel(ctx)); undo != nil {
		return errors.Join(err, fmt.Errorf("undoing the install failed as well: %w; run the install again, or airgap uninstall", undo))
	}
	return err
}

// errKilled is what a test's fault returns to end a run as a kill would: at once.
var errKilled = errors.New("killed")

// hexOf strips the algorithm of a digest.
func hexOf(digest string) string { return strings.TrimPrefix(digest, "sha256:") }
