package datastore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// sqliteFile is the database's name in its folder; K3s'.
const sqliteFile = "state.db"

// sqliteParams differ from kine's own in synchronous=FULL: with NORMAL a power cut may
// take back writes that the API server has already acknowledged. There is no shared cache: under a
// file: URI, unlike under kine's plain path, SQLite honours it, and readers then fail with "table is locked".
const sqliteParams = "_journal_mode=WAL&_busy_timeout=30000&_synchronous=FULL&_txlock=immediate&_stmt_cache_size=20"

// noVacuum keeps kine from rewriting the whole database at each start.
const noVacuum = "&_kine_disable_startup_vacuum=1"

// Space that deletions have left in the database is used again, but the file never shrinks by itself. It is
// rewritten at a start when more than half of it is free, and that is worth the time.
const minVacuumBytes = 64 << 20

// The write-ahead log is written back and emptied when it is longer than maxWALBytes.
const (
	maxWALBytes  = 16 << 20
	hugeWALBytes = 256 << 20 // somebody reads and never ends: said in the log
	walLooks     = 10 * time.Second
	walBusy      = 300 * time.Millisecond // how long writers may be held up for it
)

// ErrDamaged is the error of a SQLite database whose content contradicts itself.
var ErrDamaged = errors.New("the database is damaged")

func sqlitePath(dir string) string { return filepath.Join(dir, sqliteFile) }

func sqliteURI(dir, params string) string {
	return (&url.URL{Scheme: "file", OmitHost: true, Path: sqlitePath(dir), RawQuery: params}).String()
}

func sqliteDSN(dir string) string {
	if worthVacuum(dir) {
		return sqliteURI(dir, sqliteParams)
	}
	return sqliteURI(dir, sqliteParams+noVacuum)
}

// prepareSQLite makes the folder and an empty database that root alone can read, and checks a database that
// was not closed properly.
func prepareSQLite(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(sqlitePath(dir), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	f.Close()
	// SQLite gives its other files the mode of the database.
	for _, name := range []string{sqliteFile, sqliteFile + "-wal", sqliteFile + "-shm"} {
		if err := os.Chmod(filepath.Join(dir, name), 0o600); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if !unclean(dir) {
		return nil
	}
	return quickCheck(context.Background(), dir)
}

// unclean says whether the database was not closed properly: the last to close it writes the log back and removes it.
func unclean(dir string) bool {
	wal, err := os.Stat(sqlitePath(dir) + "-wal")
	return err == nil && wal.Size() > 0
}

// quickCheck reads the whole database, with its write-ahead log. It changes nothing: a damaged database, and the log that
// may be needed to save it, stay as they were found.
func quickCheck(ctx context.Context, dir string) error {
	problems, err := checkLines(ctx, dir)
	switch {
	case err != nil && ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		return damaged(dir, err.Error())
	case len(problems) > 0:
		return damaged(dir, strings.Join(problems[:min(len(problems), 3)], "; "))
	}
	return nil
}

// checkLines returns what SQLite's quick_check finds, at most 100 problems.
func checkLines(ctx context.Context, dir string) (problems []string, err error) {
	db, err := sql.Open("sqlite3", sqliteURI(dir, "mode=ro&_busy_timeout=5000"))
	if err != nil {
		return nil, err
	}
	defer db.Close()
	rows, err := db.QueryContext(ctx, "PRAGMA quick_check")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var text string
		if err := rows.Scan(&text); err != nil {
			return nil, err
		}
		for line := range strings.Lines(text) {
			if line = strings.TrimSpace(line); line != "ok" && !strings.HasPrefix(line, "*** in database") {
				problems = append(problems, line)
			}
		}
	}
	return problems, rows.Err()
}

func damaged(dir, problem string) error {
	return fmt.Errorf("%w: %s: %s; nothing was changed", ErrDamaged, sqlitePath(dir), problem)
}

// worthVacuum says whether most of the database is free space. A database that cannot be asked is left alone.
func worthVacuum(dir string) bool {
	db, err := sql.Open("sqlite3", sqliteURI(dir, "mode=ro&_busy_timeout=5000"))
	if err != nil {
		return false
	}
	defer db.Close()
	var all, free, size int64
	err = db.QueryRow("SELECT page_count, freelist_count, page_size FROM pragma_page_count(), pragma_freelist_count(), pragma_page_size()").Scan(&all, &free, &size)
	return err == nil && all*size > minVacuumBytes && 2*free > all
}

// keepWALSmall writes the write-ahead log back to the database and empties it whenever it has grown, until ctx is done.
// SQLite itself writes it back as it grows, but never makes the file shorter, and cannot begin at its start
// again while anybody reads: so under a standing reader it grows without limit (k3s#3660). At rest this costs one stat.
func keepWALSmall(ctx context.Context, db *sql.DB, file string, looks time.Duration, log *slog.Logger) {
	tick := time.NewTicker(looks)
	defer tick.Stop()
	huge := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		info, err := os.Stat(file + "-wal")
		if err != nil || info.Size() <= maxWALBytes {
			huge = false
			continue
		}
		if err := truncateWAL(ctx, db); err != nil && ctx.Err() == nil && info.Size() > hugeWALBytes && !huge {
			huge = true
			log.Warn("SQLite's write-ahead log cannot be emptied: a reader does not end", "file", file+"-wal", "bytes", info.Size(), "error", err)
		}
	}
}

// truncateWAL writes the log back and empties it, unless readers keep it from that for longer than walBusy.
func truncateWAL(ctx context.Context, db *sql.DB) error {
	conn, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	if _, err := conn.ExecContext(ctx, fmt.Sprintf("PRAGMA busy_timeout = %d", walBusy.Milliseconds())); err != nil {
		return err
	}
	var busy, pages, written int
	if err := conn.QueryRowContext(ctx, "PRAGMA wal_checkpoint(TRUNCATE)").Scan(&busy, &pages, &written); err != nil {
		return err
	}
	if busy != 0 {
		return fmt.Errorf("%d of %d pages written back", written, pages)
	}
	return nil
}
