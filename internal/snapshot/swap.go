package snapshot

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"airgap/internal/atomicfile"
)

// Names in the datastore's folder.
const (
	journalName = "restore.json"    // a [swap] that has begun
	stagingName = ".restore.staged" // what is put in place
)

// swap is a list of renames, on the disk before the first is made: each can be repeated, so it can be continued anywhere.
type swap struct {
	Snapshot string `json:"snapshot"`
	Aside    string `json:"aside"`
	Moves    []move `json:"moves"`
}

// move puts Staged, if there is one, in the place of Target, which goes to Aside.
type move struct {
	Staged string `json:"staged,omitempty"`
	Target string `json:"target"`
	Aside  string `json:"aside"`
}

// Resume finishes a [Restore] or [Replace] of the datastore in dir that was cut off after it had begun to replace files. It
// returns the snapshot's name, or why it was replaced, or "" if there was nothing to do, which costs one stat.
func Resume(dir string) (snapshot string, err error) {
	if _, err := os.Lstat(filepath.Join(dir, journalName)); errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	unlock, err := lockFolders(dir)
	if err != nil {
		return "", err
	}
	defer unlock()
	return resume(dir)
}

func resume(dir string) (snapshot string, err error) {
	file := filepath.Join(dir, journalName)
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	var s swap
	if err := json.Unmarshal(data, &s); err != nil {
		return "", fmt.Errorf("%s: %w", file, err)
	}
	if _, err := s.finish(dir); err != nil {
		return "", fmt.Errorf("continue the restore of snapshot %s: %w", s.Snapshot, err)
	}
	return s.Snapshot, nil
}

// start notes the swap durably and makes it.
func (s swap) start(dir string) (aside string, err error) {
	if err := atomicfile.WriteJSON(filepath.Join(dir, journalName), s, 0o600); err != nil {
		return "", err
	}
	return s.finish(dir)
}

// finish makes the renames that have not been made and forgets the swap. It returns the folder of what was
// replaced, "" if nothing was.
func (s swap) finish(dir string) (aside string, err error) {
	folders := map[string]bool{s.Aside: true, dir: true}
	for _, m := range s.Moves {
		if err := m.run(); err != nil {
			return "", err
		}
		folders[filepath.Dir(m.Target)] = true
	}
	for folder := range folders {
		if err := atomicfile.SyncDir(folder); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
	}
	if err := os.Remove(filepath.Join(dir, journalName)); err != nil {
		return "", err
	}
	if err := removeStaging(dir); err != nil {
		return "", err
	}
	aside = s.Aside
	if err := os.Remove(s.Aside); err == nil {
		aside = "" // it was empty
	}
	return aside, atomicfile.SyncDir(dir)
}

// run makes the move as far as it has not been made.
func (m move) run() error {
	if m.Staged != "" {
		if _, err := os.Lstat(m.Staged); errors.Is(err, fs.ErrNotExist) {
			return nil // it is in place
		} else if err != nil {
			return err
		}
	}
	if _, err := os.Lstat(m.Target); err == nil {
		aside, err := m.freeAside()
		if err != nil {
			return err
		}
		if err := os.Rename(m.Target, aside); err != nil {
			return err
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if m.Staged == "" {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(m.Target), 0o700); err != nil {
		return err
	}
	return os.Rename(m.Staged, m.Target)
}

// freeAside is where the target goes. If something was there already the target is not what was to be replaced: somebody
// made it between two attempts. It is kept, too.
func (m move) freeAside() (string, error) {
	for i := 1; ; i++ {
		name := m.Aside
		if i > 1 {
			name = fmt.Sprintf("%s.%d", m.Aside, i)
		}
		if _, err := os.Lstat(name); errors.Is(err, fs.ErrNotExist) {
			return name, nil
		} else if err != nil {
			return "", err
		}
	}
}

// isFull says whether an error is that of a full disk.
func isFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, syscall.EFBIG)
}
