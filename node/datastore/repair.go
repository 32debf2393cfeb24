package datastore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"airgap/internal/snapshot"
)

// RepairOptions say which SQLite datastore is looked after, which nobody may have open.
type RepairOptions struct {
	Dir       string            // folder of its files
	Snapshots string            // folder of its snapshots
	Parts     map[string]string // what must be of the same moment as the datastore: the key of its secrets; as snapshot.RestoreOptions
	Patience  time.Duration     // for the check of a large database; 0: checkPatience
	Log       *slog.Logger      // nil: slog.Default
	Now       func() time.Time  // nil: time.Now
}

// How a start checks. A database that was closed properly is checked if that takes no time to speak of; the others can
// be damaged by the power cut that the start comes after.
const (
	checkPatience      = 30 * time.Second
	alwaysCheckedBytes = 16 << 20 // about 50 ms
)

// Repaired is what was put right; the zero value: nothing had to be.
type Repaired struct {
	Problem  string        // what was wrong; empty: nothing
	Aside    string        // folder of the damaged files
	Rebuilt  bool          // only indexes were damaged and were made anew: nothing is lost
	Snapshot snapshot.Info // else what was restored
	Resumed  string        // name of a snapshot whose restore had been cut off, and was finished
	Took     time.Duration // of the check
	Checked  bool          // the whole database was read
}

// Repair checks the datastore before a start and puts it right: it finishes a restore that was cut off, makes damaged
// indexes anew, and goes back to the newest whole snapshot otherwise. The damaged files, the log among them, are kept.
// The error is ErrDamaged if there is no such snapshot; nothing was changed then.
func Repair(ctx context.Context, o RepairOptions) (done Repaired, err error) {
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.Patience == 0 {
		o.Patience = checkPatience
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if done.Resumed, err = snapshot.Resume(o.Dir); err != nil {
		return done, err
	}
	begin := time.Now()
	done.Checked, err = o.check(ctx)
	done.Took = time.Since(begin)
	if err == nil || !errors.Is(err, ErrDamaged) {
		return done, err
	}
	done.Problem = err.Error()
	o.Log.Error("the datastore is damaged", "problem", err)
	aside, rebuildErr := o.rebuildIndexes(ctx)
	if rebuildErr == nil {
		done.Aside, done.Rebuilt = aside, true
		return done, nil
	}
	if ctx.Err() != nil {
		return done, ctx.Err()
	}
	o.Log.Info("more than indexes of the datastore is damaged", "reason", rebuildErr)
	newest, bad, findErr := snapshot.Newest(ctx, o.Snapshots)
	for _, info := range bad {
		o.Log.Error("a snapshot cannot be used", "file", info.File, "problem", info.Error)
	}
	if findErr != nil {
		return done, fmt.Errorf("%w; it cannot be repaired: %w. Restore a snapshot from elsewhere (airgap snapshot restore FILE); the damaged files are as they were found", err, findErr)
	}
	restored, restoreErr := snapshot.Restore(ctx, snapshot.RestoreOptions{
		File: newest.File, Database: sqlitePath(o.Dir), Parts: o.Parts, Aside: "damaged", Now: o.Now,
	})
	if restoreErr != nil {
		return done, fmt.Errorf("%w; restoring the newest snapshot failed: %w", err, restoreErr)
	}
	done.Aside, done.Snapshot = restored.Aside, restored.Snapshot
	return done, nil
}

// check says whether the whole database was read, and fails if it is damaged. A file that has no table of kine's, though there are
// snapshots of one that had, is one that was lost.
func (o RepairOptions) check(ctx context.Context) (checked bool, err error) {
	file := sqlitePath(o.Dir)
	stat, err := os.Stat(file)
	if errors.Is(err, fs.ErrNotExist) || err == nil && stat.Size() == 0 {
		if err == nil && unclean(o.Dir) {
			return true, o.quickCheck(ctx)
		}
		list, listErr := snapshot.List(o.Snapshots)
		if listErr != nil || len(list) == 0 {
			return true, listErr // a new server
		}
		return true, damaged(o.Dir, fmt.Sprintf("it is empty, and %d snapshots say that it was not", len(list)))
	}
	if err != nil {
		return false, err
	}
	if !unclean(o.Dir) && stat.Size() > alwaysCheckedBytes {
		return false, nil
	}
	err = o.quickCheck(ctx)
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		o.Log.Warn("the datastore is too large to be checked at a start; the next snapshot checks it", "bytes", stat.Size(), "patience", o.Patience)
		return false, nil
	}
	if err == nil && unclean(o.Dir) {
		err = writeBack(ctx, o.Dir)
	}
	return err == nil, err
}

// writeBack writes the log of a sound database back to it, as its next user would, so that this one need not check again.
func writeBack(ctx context.Context, dir string) error {
	db, err := sql.Open("sqlite3", sqliteURI(dir, "mode=rw&_busy_timeout=5000&_synchronous=FULL"))
	if err != nil {
		return err
	}
	defer db.Close()
	return truncateWAL(ctx, db)
}

func (o RepairOptions) quickCheck(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, o.Patience)
	defer cancel()
	return quickCheck(ctx, o.Dir)
}

// rebuildIndexes tries whether a copy of the database is whole once its indexes are made anew from its tables, and if so puts the
// copy in its place. It returns the folder with the damaged files.
func (o RepairOptions) rebuildIndexes(ctx context.Context) (aside string, err error) {
	work := filepath.Join(o.Dir, ".reindex")
	if err := os.RemoveAll(work); err != nil {
		return "", err
	}
	defer os.RemoveAll(work)
	if err := os.Mkdir(work, 0o700); err != nil {
		return "", err
	}
	if err := copyFiles(o.Dir, work); err != nil {
		return "", err
	}
	if err := reindex(ctx, work); err != nil {
		return "", err
	}
	if err := quickCheck(ctx, work); err != nil {
		return "", err
	}
	return snapshot.Replace(sqlitePath(o.Dir), sqlitePath(work), "damaged", o.Now())
}

// reindex forgets all indexes, however damaged, makes sure that the tables are sound, and makes the indexes anew. The database is one
// file then.
func reindex(ctx context.Context, dir string) error {
	statements, err := forgetIndexes(ctx, dir)
	if err != nil {
		return err
	}
	problems, err := checkLines(ctx, dir)
	if err != nil {
		return err
	}
	for _, problem := range problems {
		if !strings.HasSuffix(problem, ": never used") { // the pages that the indexes had
			return errors.New(problem)
		}
	}
	return execute(ctx, dir, append([]string{"SELECT max(id) FROM kine", "VACUUM"}, statements...)...)
}

// forgetIndexes removes the indexes from the schema and returns the statements that made them.
func forgetIndexes(ctx context.Context, dir string) (statements []string, err error) {
	if err := execute(ctx, dir, "PRAGMA wal_checkpoint(TRUNCATE)", "PRAGMA journal_mode=DELETE"); err != nil {
		return nil, err
	}
	db, err := sql.Open("sqlite3", sqliteURI(dir, "mode=ro"))
	if err != nil {
		return nil, err
	}
	defer db.Close()
	rows, err := db.QueryContext(ctx, "SELECT sql FROM sqlite_schema WHERE type = 'index' AND sql IS NOT NULL")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var statement string
		if err := rows.Scan(&statement); err != nil {
			return nil, err
		}
		statements = append(statements, statement)
	}
	if err := errors.Join(rows.Err(), rows.Close(), db.Close()); err != nil {
		return nil, err
	}
	return statements, execute(ctx, dir, "PRAGMA writable_schema=ON", "DELETE FROM sqlite_schema WHERE type = 'index' AND sql IS NOT NULL")
}

// execute runs statements on a connection of their own.
func execute(ctx context.Context, dir string, statements ...string) error {
	db, err := sql.Open("sqlite3", sqliteURI(dir, "mode=rw&_busy_timeout=5000"))
	if err != nil {
		return err
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	for _, statement := range statements {
		if _, err := db.ExecContext(ctx, statement); err != nil {
			return fmt.Errorf("%s: %w", statement, err)
		}
	}
	return db.Close()
}

// copyFiles copies the database and its log. The other file of SQLite's is made from the log.
func copyFiles(from, to string) error {
	for _, suffix := range []string{"", "-wal"} {
		err := copyFile(sqlitePath(from)+suffix, sqlitePath(to)+suffix)
		if err != nil && !(suffix != "" && errors.Is(err, fs.ErrNotExist)) {
			return err
		}
	}
	return nil
}

func copyFile(from, to string) error {
	source, err := os.Open(from)
	if err != nil {
		return err
	}
	defer source.Close()
	target, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(target, source)
	if err = errors.Join(err, target.Close()); errors.Is(err, unix.ENOSPC) {
		return fmt.Errorf("no room to keep a copy of the damaged datastore: %w", err)
	}
	return err
}
