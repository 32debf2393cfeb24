package snapshot

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"airgap/internal/atomicfile"
)

// RestoreOptions say what to restore, and over what.
type RestoreOptions struct {
	File     string            // absolute path of the snapshot
	Database string            // absolute path of the SQLite file to replace; nobody may have it open
	Parts    map[string]string // absolute paths to replace by the parts of these names; a part that the snapshot lacks is moved aside too
	Aside    string            // what is replaced goes to <folder of Database>/<Aside>-<time>; empty: "replaced"
	Now      func() time.Time  // nil: time.Now
}

// Restored is what a restore did.
type Restored struct {
	Snapshot Info   `json:"snapshot"`
	Aside    string `json:"aside"` // folder of what was replaced; empty if there was nothing
}

// Restore puts the content of a snapshot in the place of a datastore and parts, on the machine that it is of or another.
// The caller makes sure that nobody uses them. If it fails before everything has been verified nothing is changed; if it is
// killed later, [Resume] finishes it. Parts must be on the file system of the datastore.
func Restore(ctx context.Context, o RestoreOptions) (done Restored, err error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	dir := filepath.Dir(o.Database)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return done, err
	}
	unlock, err := lockFolders(dir)
	if err != nil {
		return done, err
	}
	defer unlock()
	if _, err := resume(dir); err != nil {
		return done, err
	}
	if err := removeStaging(dir); err != nil {
		return done, err
	}
	r, err := openArchive(o.File)
	if err != nil {
		return done, err
	}
	defer r.close()
	if err := requireFree(dir, r.manifest.unpacked()+reserveBytes); err != nil {
		return done, err
	}
	staging := filepath.Join(dir, stagingName)
	defer func() {
		if err != nil {
			if _, pending := os.Stat(filepath.Join(dir, journalName)); errors.Is(pending, fs.ErrNotExist) {
				err = errors.Join(err, removeStaging(dir))
			}
		}
	}()
	if err := stage(ctx, r, staging); err != nil {
		return done, err
	}
	if _, err := checkDatabase(ctx, filepath.Join(staging, filepath.FromSlash(databaseName))); err != nil {
		return done, fmt.Errorf("snapshot %s: the datastore in it: %w", o.File, err)
	}
	if err := syncTree(staging); err != nil {
		return done, err
	}
	if done.Snapshot, err = describe(o.File); err != nil {
		return done, err
	}
	if err := ctx.Err(); err != nil {
		return done, err
	}
	aside, err := newAside(dir, cmp.Or(o.Aside, "replaced"), o.Now())
	if err != nil {
		return done, err
	}
	s := swap{Snapshot: done.Snapshot.Name, Aside: aside, Moves: o.moves(staging, aside)}
	if done.Aside, err = s.start(dir); err != nil {
		return done, fmt.Errorf("restore %s: %w; the next start continues it", o.File, err)
	}
	return done, nil
}

// Replace puts the database in the file staged, which is closed and not in WAL mode, in the place of the one at database, and keeps that
// one in the folder <why>-<time> beside. It is as safe as a restore, and [Resume] finishes it as one.
func Replace(database, staged, why string, now time.Time) (aside string, err error) {
	dir := filepath.Dir(database)
	unlock, err := lockFolders(dir)
	if err != nil {
		return "", err
	}
	defer unlock()
	if err := removeStaging(dir); err != nil {
		return "", err
	}
	staging := filepath.Join(dir, stagingName)
	place := filepath.Join(staging, filepath.FromSlash(databaseName))
	if err := os.MkdirAll(filepath.Dir(place), 0o700); err != nil {
		return "", err
	}
	if err := os.Rename(staged, place); err != nil {
		return "", err
	}
	if err := syncTree(staging); err != nil {
		return "", err
	}
	if aside, err = newAside(dir, why, now); err != nil {
		return "", err
	}
	o := RestoreOptions{Database: database}
	return swap{Snapshot: why, Aside: aside, Moves: o.moves(staging, aside)}.start(dir)
}

// stage unpacks everything into a folder, verified but not synced.
func stage(ctx context.Context, r *reader, staging string) error {
	return r.each(func(e Entry, content io.Reader) error {
		file := filepath.Join(staging, filepath.FromSlash(e.Path))
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			return err
		}
		f, err := os.OpenFile(file, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		if err != nil {
			return err
		}
		if err := errors.Join(copyContext(ctx, f, content), f.Chmod(e.Mode), f.Close()); err != nil {
			if isFull(err) {
				return fmt.Errorf("%w: unpacking %s: %w", ErrNoSpace, file, err)
			}
			return err
		}
		return nil
	})
}

// moves lists the renames of a restore in their order: the log of the old datastore goes first, for with another
// datastore it would be applied to that.
func (o RestoreOptions) moves(staging, aside string) []move {
	var list []move
	base := filepath.Base(o.Database)
	for _, suffix := range []string{"-wal", "-shm", "-journal"} {
		list = append(list, move{Target: o.Database + suffix, Aside: filepath.Join(aside, base+suffix)})
	}
	list = append(list, move{Staged: filepath.Join(staging, filepath.FromSlash(databaseName)), Target: o.Database, Aside: filepath.Join(aside, base)})
	for _, name := range slices.Sorted(maps.Keys(o.Parts)) {
		m := move{Target: o.Parts[name], Aside: filepath.Join(aside, name)}
		staged := filepath.Join(staging, filepath.FromSlash(partsPrefix), name)
		if _, err := os.Lstat(staged); err == nil {
			m.Staged = staged
		}
		list = append(list, m)
	}
	return list
}

// newAside names the folder for what is replaced or damaged at a time, <dir>/<why>-<time>, and makes it.
func newAside(dir, why string, now time.Time) (string, error) {
	stem := filepath.Join(dir, why+"-"+now.UTC().Format("20060102T150405Z"))
	for i := 1; ; i++ {
		name := stem
		if i > 1 {
			name = fmt.Sprintf("%s-%d", stem, i)
		}
		if err := os.Mkdir(name, 0o700); err == nil {
			return name, atomicfile.SyncDir(dir)
		} else if !errors.Is(err, fs.ErrExist) {
			return "", err
		}
	}
}

// syncTree makes a folder and all below it durable.
func syncTree(root string) error {
	return filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		return errors.Join(f.Sync(), f.Close())
	})
}

// copyContext copies until ctx is done.
func copyContext(ctx context.Context, w io.Writer, r io.Reader) error {
	buffer := make([]byte, 1<<20)
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := r.Read(buffer)
		if _, err := w.Write(buffer[:n]); err != nil {
			return err
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// removeStaging removes what a restore that changed nothing has left.
func removeStaging(dir string) error {
	if err := os.RemoveAll(filepath.Join(dir, stagingName)); err != nil {
		return fmt.Errorf("remove what an interrupted restore left: %w", err)
	}
	return nil
}

// Differences lists the settings of a server, by flag, that are others than when the snapshot was made: with them the
// datastore's content does not work, or not as it did.
func (i Info) Differences(now map[string]string) []string {
	var list []string
	for _, flag := range slices.Sorted(maps.Keys(i.About.Settings)) {
		if have, was := now[flag], i.About.Settings[flag]; have != was {
			list = append(list, fmt.Sprintf("%s is %q, and was %q", strings.TrimPrefix(flag, "--"), have, was))
		}
	}
	return list
}
