package datastore

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"airgap/node/config"
)

func sqliteSubject(t *testing.T) *subject { return newSubject(t, "", config.DatastoreFiles{}, nil) }

func TestSQLiteFilesArePrivate(t *testing.T) {
	s := sqliteSubject(t)
	dir := filepath.Join(s.dir, "db")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(sqlitePath(dir), nil, 0o644); err != nil { // as an older version, or an administrator, left it
		t.Fatal(err)
	}
	mustCreate(t, s.start(t), "/registry/a", "x")
	for name, want := range map[string]os.FileMode{".": 0o700, sqliteFile: 0o600, sqliteFile + "-wal": 0o600, sqliteFile + "-shm": 0o600} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Mode().Perm(); got != want {
			t.Errorf("%s has mode %o, want %o", name, got, want)
		}
	}
}

// asAfterAPowerCut copies the files of a running SQLite as they are to a new subject.
func (s *subject) asAfterAPowerCut(t *testing.T) *subject {
	t.Helper()
	copied := sqliteSubject(t)
	if err := os.CopyFS(filepath.Join(copied.dir, "db"), os.DirFS(filepath.Join(s.dir, "db"))); err != nil {
		t.Fatal(err)
	}
	return copied
}

func TestSQLiteAfterAPowerCut(t *testing.T) {
	s := sqliteSubject(t)
	c := s.start(t)
	for i := range 100 {
		mustCreate(t, c, fmt.Sprintf("/registry/k%03d", i), strings.Repeat("v", 2000))
	}
	whole := s.asAfterAPowerCut(t)
	if info, err := os.Stat(sqlitePath(filepath.Join(whole.dir, "db")) + "-wal"); err != nil || info.Size() == 0 {
		t.Fatalf("there is no write-ahead log to recover: %v, %v", info, err)
	}
	mustHave(t, whole.start(t), "/registry/k099", strings.Repeat("v", 2000))
}

func TestDamagedSQLiteIsLeftAsItWas(t *testing.T) {
	s := sqliteSubject(t)
	c := s.start(t)
	for i := range 100 {
		mustCreate(t, c, fmt.Sprintf("/registry/k%03d", i), strings.Repeat("v", 2000))
	}
	db, err := connect(s.store, filepath.Join(s.dir, "db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := truncateWAL(t.Context(), db); err != nil { // so that the damage is not overlaid by the log
		t.Fatal(err)
	}
	mustCreate(t, c, "/registry/last", "x")
	broken := s.asAfterAPowerCut(t)
	dir := filepath.Join(broken.dir, "db")
	f, err := os.OpenFile(sqlitePath(dir), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(bytes.Repeat([]byte{0xa5}, 3*4096), 10*4096); err != nil {
		t.Fatal(err)
	}
	f.Close()
	before := sums(t, dir)

	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() {
		_, err := Start(ctx, Options{Store: broken.store, Dir: dir, Socket: filepath.Join(broken.dir, "s"), StateFile: broken.stateFile, Log: slog.New(slog.DiscardHandler)})
		ended <- err
	}()
	broken.told(t, 10*time.Second, "the database is damaged: stop the node")
	cancel()
	if err := <-ended; err == nil {
		t.Error("a damaged database was opened")
	}
	after := sums(t, dir)
	for _, name := range []string{sqliteFile, sqliteFile + "-wal"} {
		if before[name] != after[name] {
			t.Errorf("%s was changed", name)
		}
	}
}

func sums(t *testing.T, dir string) map[string][32]byte {
	t.Helper()
	all := map[string][32]byte{}
	for _, name := range []string{sqliteFile, sqliteFile + "-wal"} {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		all[name] = sha256.Sum256(data)
	}
	return all
}

// onSmallDisk mounts a filesystem of 8 MiB where SQLite's files will be.
func (s *subject) onSmallDisk(t *testing.T, flags uintptr) (dir string) {
	t.Helper()
	dir = filepath.Join(s.dir, "db")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	err := unix.Mount("tmpfs", dir, "tmpfs", flags, "size=8m")
	if errors.Is(err, unix.EPERM) {
		t.Skip("mounts are not permitted here")
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	return dir
}

func TestSQLiteOnAFullDisk(t *testing.T) {
	s := sqliteSubject(t)
	dir := s.onSmallDisk(t, 0)
	c := s.start(t)
	revision := mustCreate(t, c, "/registry/kept", "x")
	ballast := filepath.Join(dir, "ballast")
	_ = os.WriteFile(ballast, make([]byte, 16<<20), 0o600) // until the disk is full

	refusesWrites(t, c, "/registry/kept", revision, "no space is left")
	mustHave(t, c, "/registry/kept", "x")
	s.told(t, time.Second, "no space is left")
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	mustCreate(t, c, "/registry/after", "x")
	s.told(t, time.Second, "")
}

func TestSQLiteReadOnly(t *testing.T) {
	s := sqliteSubject(t)
	dir := s.onSmallDisk(t, unix.MS_RDONLY)
	go func() {
		s.told(t, 10*time.Second, "read-only")
		_ = unix.Mount("", dir, "", unix.MS_REMOUNT, "size=8m")
	}()
	mustCreate(t, s.start(t), "/registry/a", "x") // the start waits
}

// Heavy writes leave neither a log nor a database that grows without end.
func TestSQLiteStaysSmall(t *testing.T) {
	s := sqliteSubject(t)
	c := s.start(t)
	ctx := within(t, 2*time.Minute)
	dir := filepath.Join(s.dir, "db")
	db, err := connect(s.store, dir)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	size := func(suffix string) int64 {
		info, err := os.Stat(sqlitePath(dir) + suffix)
		if err != nil {
			t.Fatal(err)
		}
		return info.Size()
	}
	value := strings.Repeat("v", 64<<10)
	key := "/registry/heavy"
	revision := mustCreate(t, c, key, value)
	write := func(times int) {
		t.Helper()
		for range times {
			r, err := update(ctx, c, key, value, revision)
			if err != nil || !r.Succeeded {
				t.Fatalf("update: %v, %v", r, err)
			}
			revision = r.Header.Revision
		}
	}

	// A reader that does not end keeps the log from beginning again.
	reader, err := db.Conn(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	for _, sql := range []string{"BEGIN DEFERRED", "SELECT COUNT(*) FROM kine"} {
		if _, err := reader.ExecContext(ctx, sql); err != nil {
			t.Fatal(err)
		}
	}
	write(250) // 64 KiB of new, 64 KiB of old value each
	if got := size("-wal"); got < maxWALBytes {
		t.Fatalf("the log has %d bytes: this test tests nothing", got)
	}
	began := time.Now()
	if err := truncateWAL(ctx, db); err == nil {
		t.Error("the log was emptied under a reader")
	}
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("an attempt to empty it took %s, writers waiting", took)
	}
	if _, err := reader.ExecContext(ctx, "ROLLBACK"); err != nil {
		t.Fatal(err)
	}
	small, stop := context.WithCancel(ctx)
	defer stop()
	go keepWALSmall(small, db, sqlitePath(dir), 100*time.Millisecond, slog.Default())
	eventually(t, 10*time.Second, func() error {
		if got := size("-wal"); got > maxWALBytes {
			return fmt.Errorf("the log has %d bytes", got)
		}
		return nil
	})

	// Compaction, as the API server asks for it, makes room that later writes use.
	write(1000)
	if _, err := c.Compact(ctx, revision); err != nil {
		t.Fatal(err)
	}
	peak := size("")
	for range 2 {
		write(600)
		if _, err := c.Compact(ctx, revision); err != nil {
			t.Fatal(err)
		}
	}
	if got := size(""); got > peak+peak/2 {
		t.Errorf("the database went from %d to %d bytes under the same load", peak, got)
	}
	t.Logf("1,000 revisions of 64 KiB: %d MB, later %d MB; log %d MB", peak>>20, size("")>>20, size("-wal")>>20)
}

// A database that is mostly free space is made small at a start, and only then.
func TestSQLiteGivesSpaceBack(t *testing.T) {
	s := sqliteSubject(t)
	dir := filepath.Join(s.dir, "db")
	size := func() int64 {
		info, err := os.Stat(sqlitePath(dir))
		if err != nil {
			t.Fatal(err)
		}
		return info.Size()
	}
	t.Run("fill", func(t *testing.T) {
		mustCreate(t, s.start(t), "/registry/kept", "x")
		db, err := connect(s.store, dir)
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		for _, sql := range []string{"CREATE TABLE ballast(b BLOB)", fmt.Sprintf("INSERT INTO ballast VALUES (zeroblob(%d))", minVacuumBytes+1), "DROP TABLE ballast"} {
			if _, err := db.Exec(sql); err != nil {
				t.Fatal(err)
			}
		}
	})
	if size() <= minVacuumBytes {
		t.Fatalf("the database has %d bytes: this test tests nothing", size())
	}
	t.Run("start", func(t *testing.T) { mustHave(t, s.start(t), "/registry/kept", "x") })
	if size() > 1<<20 {
		t.Errorf("after a start the database still has %d bytes", size())
	}
}
