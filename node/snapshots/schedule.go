package snapshots

import (
	"context"
	"log/slog"
	"time"

	"airgap/internal/atomicfile"
	"airgap/internal/snapshot"
	"airgap/node/config"
)

// Scheduler makes the snapshots of a running server.
type Scheduler struct {
	Settings config.Snapshots
	Options  snapshot.Options
	State    string // file of a [config.SnapshotState]; empty: nowhere
	Log      *slog.Logger

	// For tests; zero means time.Now and the waits below.
	Now                 func() time.Time
	First, Again, Looks time.Duration
}

const (
	firstWait = 30 * time.Second // until the first that is due at a start: the start has priority
	againWait = 10 * time.Minute // after one that failed
	looks     = time.Minute      // between two looks at the clock, which may be set
)

// Run makes snapshots until ctx is done. It fails for no reason that could pass: a snapshot that cannot be made is logged,
// and tried again.
func (s *Scheduler) Run(ctx context.Context) {
	s.setDefaults()
	state := config.SnapshotState{}
	last, tried, wait := s.newest(), time.Time{}, s.First
	for {
		if last.Name != "" {
			state.Last, state.Made = last.Name, &last.Created
		}
		next := s.due(last)
		state.Next = &next
		s.write(state)
		for { // what there is to do at rest
			if !sleep(ctx, wait) {
				return
			}
			wait = s.Looks
			now := s.Now()
			if waits := state.Failure != "" && now.After(tried) && now.Sub(tried) < s.Again; !waits && !now.Before(s.due(last)) {
				break
			}
		}
		tried, state.Failure = s.Now(), ""
		if err := s.save(ctx); err != nil {
			if ctx.Err() != nil {
				return
			}
			s.Log.Error("no snapshot of the datastore could be made; it is tried again", "error", err, "again", s.Again)
			state.Failure = err.Error()
		}
		last = s.newest()
	}
}

func (s *Scheduler) setDefaults() {
	for _, d := range []struct {
		value *time.Duration
		is    time.Duration
	}{{&s.First, firstWait}, {&s.Again, againWait}, {&s.Looks, looks}} {
		if *d.value == 0 {
			*d.value = d.is
		}
	}
	if s.Now == nil {
		s.Now = time.Now
	}
}

// prefix is what the names of this node's scheduled snapshots begin with.
func (s *Scheduler) prefix() string { return s.Settings.Name + "-" + s.Options.About.Node }

// newest is the newest scheduled snapshot, zero if there is none.
func (s *Scheduler) newest() snapshot.Info {
	list, err := snapshot.List(s.Options.Folder)
	if err != nil {
		s.Log.Error("the folder of snapshots cannot be read", "folder", s.Options.Folder, "error", err)
		return snapshot.Info{}
	}
	for _, info := range list {
		if info.Error == "" && len(info.Name) > len(s.prefix()) && info.Name[:len(s.prefix())+1] == s.prefix()+"-" {
			return info
		}
	}
	return snapshot.Info{}
}

// due is when the next one is to be made: at once if there is none. One from the future, made before the clock was
// set back, does not keep others from being made.
func (s *Scheduler) due(last snapshot.Info) time.Time {
	now := s.Now()
	switch {
	case last.Name == "":
		return now
	case last.Created.After(now):
		return s.Settings.Next(now.Add(-s.Looks))
	}
	return s.Settings.Next(last.Created)
}

func (s *Scheduler) save(ctx context.Context) error {
	o := s.Options
	o.Prefix, o.Now = s.Settings.Name, s.Now
	info, err := snapshot.Save(ctx, o)
	if err != nil {
		return err
	}
	s.Log.Info("made a snapshot of the datastore", "file", info.File, "bytes", info.Bytes, "revision", info.Revision)
	_, err = snapshot.Prune(o.Folder, s.prefix(), s.Settings.Retention)
	return err
}

func (s *Scheduler) write(state config.SnapshotState) {
	if s.State == "" {
		return
	}
	if err := atomicfile.WriteJSON(s.State, state, 0o600); err != nil {
		s.Log.Error("what this server says of its snapshots cannot be written", "error", err)
	}
}

func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}
