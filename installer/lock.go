package installer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"airgap/node/config"
)

// ErrBusy says that another install of the same data folder is going on.
var ErrBusy = errors.New("another install is going on")

const (
	lockRetry = 20 * time.Millisecond
	lockTries = 10 // somebody who only looks whether the lock is held holds it for an instant
	lockPoll  = 500 * time.Millisecond
)

// holder is what the lock's file says of who has it.
type holder struct {
	PID   int       `json:"pid"`
	Since time.Time `json:"since"`
}

func (h holder) String() string {
	if h.PID == 0 {
		return "a process that has not said which" // it has not come to it yet
	}
	return fmt.Sprintf("process %d, since %s", h.PID, h.Since.Format(time.RFC3339))
}

func lockFile(p config.Paths) string { return filepath.Join(p.Install(), "lock") }

// acquireLock takes the lock of the data folder, which ends with the process. The error is [ErrBusy] if another has it.
func acquireLock(p config.Paths) (*os.File, error) {
	for try := 0; ; {
		file, err := os.OpenFile(lockFile(p), os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			return nil, err
		}
		err = unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		switch {
		case errors.Is(err, unix.EWOULDBLOCK) && try < lockTries:
			file.Close()
			try++
			time.Sleep(lockRetry)
			continue
		case errors.Is(err, unix.EWOULDBLOCK):
			defer file.Close()
			return nil, busy(p, readHolder(file))
		case err != nil:
			file.Close()
			return nil, &os.PathError{Op: "flock", Path: lockFile(p), Err: err}
		}
		if !isAt(file, lockFile(p)) { // whoever had it has undone the install, and the folder with it
			file.Close()
			if err := os.MkdirAll(p.Install(), 0o755); err != nil {
				return nil, err
			}
			continue
		}
		said, err := json.Marshal(holder{PID: os.Getpid(), Since: time.Now().UTC().Truncate(time.Second)})
		if err == nil {
			err = errors.Join(file.Truncate(0), writeAt(file, said))
		}
		if err != nil {
			file.Close()
			return nil, fmt.Errorf("lock: %w", err)
		}
		return file, nil
	}
}

func writeAt(file *os.File, data []byte) error {
	_, err := file.WriteAt(data, 0)
	return err
}

// isAt says whether an open file is the one of that name.
func isAt(file *os.File, name string) bool {
	open, err1 := file.Stat()
	named, err2 := os.Stat(name)
	return err1 == nil && err2 == nil && os.SameFile(open, named)
}

// lockHolder says who has the lock of the data folder; nil if nobody.
func lockHolder(p config.Paths) (*holder, error) {
	file, err := os.Open(lockFile(p))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer file.Close()
	err = unix.Flock(int(file.Fd()), unix.LOCK_SH|unix.LOCK_NB)
	if !errors.Is(err, unix.EWOULDBLOCK) {
		return nil, err
	}
	h := readHolder(file)
	return &h, nil
}

// readHolder reads what the lock's file says, as far as it says something.
func readHolder(file *os.File) holder {
	var h holder
	data := make([]byte, 256)
	n, _ := file.ReadAt(data, 0)
	if json.Unmarshal(data[:n], &h) != nil {
		return holder{}
	}
	return h
}

func busy(p config.Paths, h holder) error {
	return fmt.Errorf("%w in %s: %s; wait for it, or run again with --wait", ErrBusy, p.DataDir, h)
}

// awaitTurn fails if another install of the data folder is going on, or with Options.Wait waits until it has ended.
func (r *run) awaitTurn(ctx context.Context) error {
	told := false
	for {
		h, err := lockHolder(r.paths)
		if h == nil || err != nil {
			return err
		}
		if !r.Wait {
			return busy(r.paths, *h)
		}
		if !told {
			r.console.note(fmt.Sprintf("waiting for another install of %s to end: %s", r.paths.DataDir, h))
			told = true
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(lockPoll):
		}
	}
}
