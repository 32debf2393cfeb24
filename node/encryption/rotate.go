package encryption

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sys/unix"

	"os"
)

// ReloadPatience bounds how long the API server may take to load a changed file. It looks every few seconds.
const ReloadPatience = 3 * time.Minute

// Rotator changes how a running cluster keeps its secrets.
type Rotator struct {
	File   string
	Server Server
	Store  *clientv3.Client
	Report func(format string, args ...any) // says what is being done

	Poll time.Duration // how often to ask whether the API server has loaded the file; 0: a second
	// step, if set, is called after each durable change; an error stops there, as a power cut would.
	step func(what string) error
}

// Rotate puts a new key in the old one's place and encrypts every secret with it. A rotation that was
// cut off is finished first, and is then this one.
func (r *Rotator) Rotate(ctx context.Context) error {
	return r.locked(func() error {
		s, err := read(r.File)
		if err != nil {
			return err
		}
		if !s.enabled {
			return errors.New("the encryption of secrets is off: enable it first")
		}
		if s.stage() == StageStart {
			second, err := newKey(s.keys[0].number() + 1)
			if err != nil {
				return err
			}
			if err := r.loaded(ctx); err != nil { // the file must be known before it changes
				return err
			}
			s.keys = append(s.keys, second)
			if err := r.change(s, "new key %s (%s), to read with", second.Name, second.hash()); err != nil {
				return err
			}
		}
		return r.finish(ctx, s)
	})
}

// Enable makes the API server encrypt what it writes, or no longer, and writes every secret again.
func (r *Rotator) Enable(ctx context.Context, enabled bool) error {
	return r.locked(func() error {
		s, err := read(r.File)
		if err != nil {
			return err
		}
		if s.enabled != enabled {
			if s.stage() != StageStart {
				return fmt.Errorf("a rotation is under way, in stage %s: finish it first with rotate-keys", s.stage())
			}
			s.enabled = enabled
			word := map[bool]string{true: "on", false: "off"}[enabled]
			if err := r.change(s, "encryption of what is written: %s", word); err != nil {
				return err
			}
		}
		return r.finish(ctx, s)
	})
}

// finish goes from whatever stage s is in to the end.
func (r *Rotator) finish(ctx context.Context, s state) error {
	if err := r.loaded(ctx); err != nil {
		return err
	}
	if s.stage() == StagePrepare {
		s.keys[0], s.keys[1] = s.keys[1], s.keys[0]
		if err := r.change(s, "%s encrypts from now on", s.keys[0].Name); err != nil {
			return err
		}
		if err := r.loaded(ctx); err != nil {
			return err
		}
	}
	if err := r.rewrite(ctx, s); err != nil {
		return err
	}
	if s.stage() == StageRotate {
		old := s.keys[1]
		s.keys = s.keys[:1]
		if err := r.change(s, "%s (%s) is no longer needed and removed", old.Name, old.hash()); err != nil {
			return err
		}
		return r.loaded(ctx)
	}
	return nil
}

// rewrite has every secret written again until the datastore holds none that is stored otherwise
// than s says: one may have been written in between by what had not loaded the file yet.
func (r *Rotator) rewrite(ctx context.Context, s state) error {
	const attempts = 5
	for range attempts {
		c, err := count(ctx, r.Store, s.prefix())
		if err != nil {
			return err
		}
		if len(c.Others) == 0 {
			r.Report("all %d secrets in the datastore are stored so", c.Total)
			return r.stepped("rewritten")
		}
		r.Report("writing %d secrets again", c.Total)
		if err := r.Server.Rewrite(ctx); err != nil {
			return fmt.Errorf("write the secrets again: %w; what was done is kept: run it again", err)
		}
	}
	return fmt.Errorf("after %d times of writing all secrets some are still stored as before; nothing is lost, both keys are kept: run it again", attempts)
}

func (r *Rotator) change(s state, format string, args ...any) error {
	if err := s.write(r.File); err != nil {
		return err
	}
	r.Report(format, args...)
	return r.stepped(fmt.Sprintf(format, args...))
}

func (r *Rotator) stepped(what string) error {
	if r.step == nil {
		return nil
	}
	return r.step(what)
}

// loaded returns when every API server works by the file as it is.
func (r *Rotator) loaded(ctx context.Context) error {
	hash, err := hashOf(r.File)
	if err != nil {
		return err
	}
	poll := r.Poll
	if poll == 0 {
		poll = time.Second
	}
	deadline := time.Now().Add(ReloadPatience)
	for {
		ok, err := loaded(ctx, r.Server, hash)
		if err == nil && ok {
			return nil
		}
		if time.Now().After(deadline) {
			return errors.Join(fmt.Errorf("the API server has not loaded %s within %s; nothing is lost: restart the server, and run it again", r.File, ReloadPatience), err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(poll):
		}
	}
}

// locked keeps two rotations from running at once.
func (r *Rotator) locked(do func() error) error {
	f, err := os.OpenFile(filepath.Join(filepath.Dir(r.File), ".encryption.lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return fmt.Errorf("another command changes the encryption of secrets right now: %w", err)
	}
	return do()
}
