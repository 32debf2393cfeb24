package snapshot

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/mattn/go-sqlite3"
)

const (
	backupPages = 4096                    // copied between two looks at the context; 16 MiB
	backupPause = 20 * time.Millisecond   // when the database is locked
	backupWait  = 30 * time.Second        // for a lock, until it is an error
	busyTimeout = "_busy_timeout=30000"   // milliseconds
	checkErrors = "PRAGMA quick_check(3)" // what it finds first says enough
)

// uri is SQLite's name of a file, with what mattn's driver and SQLite are told of it.
func uri(file, params string) string {
	return (&url.URL{Scheme: "file", OmitHost: true, Path: file, RawQuery: params}).String()
}

// copyDatabase writes the database at from, which others may be writing to, to the new file to, as it is at one moment.
func copyDatabase(ctx context.Context, from, to string) error {
	if _, err := os.Stat(from); err != nil {
		return fmt.Errorf("datastore: %w", err)
	}
	source, err := sql.Open("sqlite3", uri(from, "mode=ro&"+busyTimeout))
	if err != nil {
		return err
	}
	defer source.Close()
	// The copy is thrown away if anything fails, so nothing has to protect it while it is written.
	target, err := sql.Open("sqlite3", uri(to, "_journal_mode=OFF&_synchronous=OFF"))
	if err != nil {
		return err
	}
	defer target.Close()
	err = onConnection(ctx, source, func(src *sqlite3.SQLiteConn) error {
		// Within a transaction of ours the source does not change: a backup in several steps would begin again each
		// time that another process has written.
		if _, err := src.Exec("BEGIN; SELECT count(*) FROM sqlite_schema", nil); err != nil {
			return err
		}
		defer src.Exec("ROLLBACK", nil)
		return onConnection(ctx, target, func(dst *sqlite3.SQLiteConn) error { return backup(ctx, dst, src) })
	})
	switch code := (sqlite3.Error{}); {
	case err == nil:
		return target.Close()
	case errors.As(err, &code) && (code.Code == sqlite3.ErrCorrupt || code.Code == sqlite3.ErrNotADB):
		return fmt.Errorf("datastore %s: %w: %w", from, ErrDamaged, err)
	case errors.As(err, &code) && code.Code == sqlite3.ErrFull:
		return fmt.Errorf("%w: copying the datastore to %s: %w", ErrNoSpace, to, err)
	}
	return fmt.Errorf("copy datastore %s: %w", from, err)
}

// onConnection runs f on one of db's connections to SQLite.
func onConnection(ctx context.Context, db *sql.DB, f func(*sqlite3.SQLiteConn) error) error {
	conn, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	return conn.Raw(func(driver any) error {
		c, ok := driver.(*sqlite3.SQLiteConn)
		if !ok {
			return fmt.Errorf("the SQLite driver is a %T", driver)
		}
		return f(c)
	})
}

func backup(ctx context.Context, dst, src *sqlite3.SQLiteConn) (err error) {
	b, err := dst.Backup("main", src, "main")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.Finish()) }()
	deadline := time.Now().Add(backupWait)
	for left := -1; ; {
		if err := ctx.Err(); err != nil {
			return err
		}
		done, err := b.Step(backupPages)
		if done || err != nil {
			return err
		}
		if now := b.Remaining(); now != left {
			left, deadline = now, time.Now().Add(backupWait)
			continue
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("it has been locked for %s", backupWait)
		}
		time.Sleep(backupPause)
	}
}

// checkDatabase reads the whole of the database at file, which nobody else may have open, and returns its
// revision: the highest key of kine's table, or 0 if there is no such table. It takes the file out of WAL mode, so that
// the file alone is the database.
func checkDatabase(ctx context.Context, file string) (revision int64, err error) {
	db, err := sql.Open("sqlite3", uri(file, "_journal_mode=OFF&_locking_mode=EXCLUSIVE"))
	if err != nil {
		return 0, err
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	defer func() {
		if err != nil && ctx.Err() == nil {
			err = fmt.Errorf("%w: %w", ErrDamaged, err)
		}
	}()
	rows, err := db.QueryContext(ctx, checkErrors)
	if err != nil {
		return 0, err
	}
	defer rows.Close()
	var problems []string
	for rows.Next() {
		var line string
		if err := rows.Scan(&line); err != nil {
			return 0, err
		}
		problems = append(problems, line)
	}
	if err := rows.Err(); err != nil {
		return 0, err
	}
	if len(problems) != 1 || problems[0] != "ok" {
		return 0, errors.New(strings.Join(problems, "; "))
	}
	rows.Close()
	var kine int
	if err := db.QueryRowContext(ctx, "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = 'kine'").Scan(&kine); err != nil || kine == 0 {
		return 0, err
	}
	err = db.QueryRowContext(ctx, "SELECT coalesce(max(id), 0) FROM kine").Scan(&revision)
	return revision, err
}

// removeDatabase removes a copy with whatever SQLite left beside it.
func removeDatabase(file string) error {
	var failed error
	for _, suffix := range []string{"", "-journal", "-wal", "-shm"} {
		if err := os.Remove(file + suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
			failed = errors.Join(failed, err)
		}
	}
	return failed
}
