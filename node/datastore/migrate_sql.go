package datastore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"sync"

	"github.com/go-sql-driver/mysql"

	"airgap/node/config"
)

// A batch of rows is written by one statement, of so many rows or so many bytes of values.
const (
	batchRows  = 200
	batchBytes = 1 << 20
)

// liveRows are the rows of kine's table that are keys as they stand, but for kine's own: its two compaction keys, its health key, and
// the fillers of gaps.
const liveRows = ` FROM kine JOIN (SELECT MAX(id) AS last_id FROM kine GROUP BY name) AS latest ON id = last_id
	WHERE deleted = 0 AND name NOT IN ('compact_rev_key', 'compact_rev_key_apiserver', '` + healthKey + `') AND name NOT LIKE 'gap-%'`

// table is kine's table in an SQL datastore.
type table struct {
	store config.Datastore
	db    *sql.DB
	tx    *sql.Tx // reading happens in it, if there is one
}

// openTable opens kine's table; make makes the database and the table if they are not there.
func openTable(ctx context.Context, s config.Datastore, dir string, make bool) (*table, error) {
	if s.Kind == config.SQLite {
		if _, err := os.Stat(sqlitePath(dir)); errors.Is(err, fs.ErrNotExist) && !make {
			return nil, fmt.Errorf("%s is not there; is --data-dir right?", sqlitePath(dir))
		}
		if err := prepareSQLite(dir); err != nil {
			return nil, err
		}
	}
	db, err := connect(s, dir)
	if err != nil {
		return nil, err
	}
	if err := reach(ctx, db); err != nil {
		db.Close()
		return nil, err
	}
	if make {
		// kine makes them when it opens the datastore; nothing of it runs before it is started.
		kineCtx, cancel := context.WithCancel(ctx)
		var running sync.WaitGroup
		_, err := newBackend(kineCtx, &running, s, dir)
		cancel()
		running.Wait()
		if err != nil {
			db.Close()
			return nil, err
		}
	}
	return &table{store: s, db: db}, nil
}

func (t *table) close() { t.db.Close() }

// in calls f in a transaction with one consistent view.
func (t *table) in(ctx context.Context, f func(tx *sql.Tx) error) error {
	if t.tx != nil {
		return f(t.tx)
	}
	options := &sql.TxOptions{Isolation: sql.LevelRepeatableRead}
	if t.store.Kind == config.SQLite {
		options = nil // has one kind of transaction, which is serializable
	}
	tx, err := t.db.BeginTx(ctx, options)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // does nothing after a commit
	if err := f(tx); err != nil {
		return err
	}
	return tx.Commit()
}

func (t *table) read(ctx context.Context, begin func(revision, bytes int64) error, visit func(record) error) error {
	return t.in(ctx, func(tx *sql.Tx) error {
		var revision, size int64
		if err := tx.QueryRowContext(ctx, "SELECT COALESCE(MAX(id), 0) FROM kine").Scan(&revision); err != nil {
			return err
		}
		if err := tx.QueryRowContext(ctx, "SELECT COALESCE(SUM(LENGTH(value)), 0)"+liveRows).Scan(&size); err != nil {
			return err
		}
		if err := begin(revision, size); err != nil {
			return err
		}
		rows, err := tx.QueryContext(ctx, "SELECT name, value, lease"+liveRows+" ORDER BY name")
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var r record
			var ttl sql.NullInt64
			if err := rows.Scan(&r.key, &r.value, &ttl); err != nil {
				return err
			}
			r.ttl = ttl.Int64
			if err := visit(r); err != nil {
				return err
			}
		}
		return rows.Err()
	})
}

func (t *table) write(ctx context.Context, m Migration, from side, c *copying) (revision int64, err error) {
	err = t.in(ctx, func(tx *sql.Tx) error {
		t.tx = tx
		defer func() { t.tx = nil }()
		if err := t.empty(ctx, m.Overwrite); err != nil {
			return err
		}
		var last int64
		if err := tx.QueryRowContext(ctx, "SELECT COALESCE(MAX(id), 0) FROM kine").Scan(&last); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, "DELETE FROM kine"); err != nil {
			return err
		}
		w := &rowWriter{table: t, ctx: ctx}
		err := from.read(ctx, func(sourceRevision, bytes int64) error {
			_ = c.begin(sourceRevision, bytes)
			return t.beginAt(ctx, max(sourceRevision, last))
		}, func(r record) error {
			c.count(r)
			return w.add(r)
		})
		if err == nil {
			err = w.flush()
		}
		if err == nil {
			err = c.verify(ctx, t)
		}
		if err != nil {
			return err
		}
		return tx.QueryRowContext(ctx, "SELECT MAX(id) FROM kine").Scan(&revision)
	})
	return revision, err
}

// empty returns ErrNotEmpty if there are keys that may not be removed.
func (t *table) empty(ctx context.Context, overwrite bool) error {
	if t.store.Kind == config.PostgreSQL {
		if _, err := t.tx.ExecContext(ctx, "LOCK TABLE kine IN EXCLUSIVE MODE"); err != nil {
			return err
		}
	}
	var keys int64
	if err := t.tx.QueryRowContext(ctx, "SELECT COUNT(*)"+liveRows).Scan(&keys); err != nil {
		return err
	}
	if keys > 0 && !overwrite {
		return fmt.Errorf("%w: %s holds %d keys", ErrNotEmpty, t.store, keys)
	}
	return nil
}

// beginAt makes the next row's revision the one after revision, and marks all before it as compacted.
func (t *table) beginAt(ctx context.Context, revision int64) error {
	revision = max(revision, 1)
	if _, err := t.tx.ExecContext(ctx, t.numbered(`INSERT INTO kine(id, name, created, deleted, create_revision, prev_revision, lease, value)
		VALUES (?, 'compact_rev_key', 1, 0, 0, ?, 0, ?)`), revision, revision, []byte{}); err != nil {
		return err
	}
	if t.store.Kind == config.PostgreSQL { // whose sequence does not follow
		_, err := t.tx.ExecContext(ctx, "SELECT setval(pg_get_serial_sequence('kine', 'id'), $1::bigint)", revision)
		return err
	}
	return nil
}

// numbered turns question marks into PostgreSQL's $1, $2, ….
func (t *table) numbered(query string) string {
	if t.store.Kind != config.PostgreSQL {
		return query
	}
	var b strings.Builder
	for i, part := range strings.Split(query, "?") {
		if i > 0 {
			fmt.Fprintf(&b, "$%d", i)
		}
		b.WriteString(part)
	}
	return b.String()
}

// rowWriter inserts keys, many with one statement.
type rowWriter struct {
	*table
	ctx   context.Context
	args  []any
	bytes int
}

func (w *rowWriter) add(r record) error {
	if r.value == nil {
		r.value = []byte{}
	}
	w.args = append(w.args, r.key, r.ttl, r.value)
	w.bytes += len(r.value)
	if len(w.args) < 3*batchRows && w.bytes < batchBytes {
		return nil
	}
	return w.flush()
}

func (w *rowWriter) flush() error {
	if len(w.args) == 0 {
		return nil
	}
	rows := strings.TrimSuffix(strings.Repeat("(?, 1, 0, 0, 0, ?, ?), ", len(w.args)/3), ", ")
	_, err := w.tx.ExecContext(w.ctx, w.numbered("INSERT INTO kine(name, created, deleted, create_revision, prev_revision, lease, value) VALUES "+rows), w.args...)
	w.args, w.bytes = w.args[:0], 0
	var my *mysql.MySQLError
	if errors.As(err, &my) && my.Number == 1062 {
		return fmt.Errorf("MySQL does not tell upper from lower case in keys, and two differ in nothing else: %w", err)
	}
	return err
}
