package datastore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"airgap/internal/snapshot"
)

const repairKeys = 300

// filled is a datastore with repairKeys keys, the last of them in the write-ahead log alone, as a power cut leaves it, and a
// snapshot of all but the last.
func filled(t *testing.T) (s *subject, o RepairOptions) {
	t.Helper()
	s = sqliteSubject(t)
	c := s.start(t)
	for i := range repairKeys - 1 {
		mustCreate(t, c, fmt.Sprintf("/registry/k%03d", i), strings.Repeat("v", 2000))
	}
	live := filepath.Join(s.dir, "db")
	db, err := connect(s.store, live)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := truncateWAL(t.Context(), db); err != nil {
		t.Fatal(err)
	}
	saved, err := snapshot.Save(t.Context(), snapshot.Options{Database: sqlitePath(live), Folder: filepath.Join(s.dir, "snapshots"), About: snapshot.About{Node: "n"}})
	if err != nil {
		t.Fatal(err)
	}
	mustCreate(t, c, fmt.Sprintf("/registry/k%03d", repairKeys-1), "last")
	cut := s.asAfterAPowerCut(t)
	folder := filepath.Join(cut.dir, "snapshots")
	if err := os.Mkdir(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Link(saved.File, filepath.Join(folder, filepath.Base(saved.File))); err != nil {
		t.Fatal(err)
	}
	return cut, RepairOptions{Dir: filepath.Join(cut.dir, "db"), Snapshots: folder, Log: slog.New(slog.DiscardHandler)}
}

// pages returns the number of the root page of a table or index, and writes garbage over pages of the database.
func rootPage(t *testing.T, dir, name string) (page int64) {
	t.Helper()
	db, err := connect(sqliteSubject(t).store, dir)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := db.QueryRow("SELECT rootpage FROM sqlite_schema WHERE name = ?", name).Scan(&page); err != nil {
		t.Fatal(err)
	}
	return page
}

func overwrite(t *testing.T, dir string, page int64, content byte) {
	t.Helper()
	f, err := os.OpenFile(sqlitePath(dir), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte(strings.Repeat(string(rune(content)), 4096)[:4096]), (page-1)*4096); err != nil {
		t.Fatal(err)
	}
}

func TestRepairOfASoundDatastore(t *testing.T) {
	s, o := filled(t)
	done, err := Repair(t.Context(), o)
	if err != nil || done.Problem != "" || !done.Checked {
		t.Fatalf("%+v, %v", done, err)
	}
	t.Logf("checked in %s", done.Took)
	mustHave(t, s.start(t), fmt.Sprintf("/registry/k%03d", repairKeys-1), "last")
}

func TestRepairOfDamagedIndexesLosesNothing(t *testing.T) {
	s, o := filled(t)
	copied := s.asAfterAPowerCut(t) // opening it writes its log back
	page := rootPage(t, filepath.Join(copied.dir, "db"), "kine_name_prev_revision_uindex")
	overwrite(t, o.Dir, page, 0)
	wal, err := os.ReadFile(sqlitePath(o.Dir) + "-wal")
	if err != nil {
		t.Fatal(err)
	}
	done, err := Repair(t.Context(), o)
	if err != nil || !done.Rebuilt || done.Aside == "" {
		t.Fatalf("%+v, %v", done, err)
	}
	if kept, err := os.ReadFile(sqlitePath(done.Aside) + "-wal"); err != nil || string(kept) != string(wal) {
		t.Errorf("the log is not kept as it was: %d bytes, %v", len(kept), err)
	}
	c := s.start(t)
	mustHave(t, c, "/registry/k000", strings.Repeat("v", 2000))
	mustHave(t, c, fmt.Sprintf("/registry/k%03d", repairKeys-1), "last")
}

func TestRepairFromTheNewestSnapshot(t *testing.T) {
	for _, test := range []struct {
		name   string
		damage func(t *testing.T, dir string)
	}{
		{"a page of the table is garbage", func(t *testing.T, dir string) { overwrite(t, dir, 40, 0x41) }},
		{"a page of the table is zero", func(t *testing.T, dir string) { overwrite(t, dir, 41, 0) }},
		{"the first page is zero, the log is gone", func(t *testing.T, dir string) {
			overwrite(t, dir, 1, 0)
			os.Remove(sqlitePath(dir) + "-wal")
		}},
		{"half of it is gone", func(t *testing.T, dir string) { truncate(t, sqlitePath(dir), 2) }},
		{"it is empty", func(t *testing.T, dir string) {
			truncate(t, sqlitePath(dir), 0)
			os.Remove(sqlitePath(dir) + "-wal")
		}},
		{"it is gone", func(t *testing.T, dir string) {
			os.Remove(sqlitePath(dir))
			os.Remove(sqlitePath(dir) + "-wal")
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			s, o := filled(t)
			test.damage(t, o.Dir)
			before, _ := os.ReadFile(sqlitePath(o.Dir))
			done, err := Repair(t.Context(), o)
			if err != nil || done.Snapshot.Name == "" || done.Rebuilt {
				t.Fatalf("%+v, %v", done, err)
			}
			if kept, err := os.ReadFile(sqlitePath(done.Aside)); len(before) > 0 && (err != nil || string(kept) != string(before)) {
				t.Errorf("the damaged file is not kept: %v", err)
			}
			mustHave(t, s.start(t), fmt.Sprintf("/registry/k%03d", repairKeys-2), strings.Repeat("v", 2000))
		})
	}
}

func truncate(t *testing.T, file string, divisor int64) {
	t.Helper()
	stat, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	size := int64(0)
	if divisor > 0 {
		size = stat.Size() / divisor
	}
	if err := os.Truncate(file, size); err != nil {
		t.Fatal(err)
	}
}

func TestRepairWithoutASnapshotChangesNothing(t *testing.T) {
	_, o := filled(t)
	overwrite(t, o.Dir, 40, 0x41)
	o.Snapshots = t.TempDir()
	before := sums(t, o.Dir)
	_, err := Repair(t.Context(), o)
	if !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "airgap snapshot restore") {
		t.Errorf("%v, want ErrDamaged and what to do", err)
	}
	after := sums(t, o.Dir)
	for name, sum := range before {
		if after[name] != sum {
			t.Errorf("%s was changed", name)
		}
	}
}

func TestRepairOfANewServer(t *testing.T) {
	if done, err := Repair(t.Context(), RepairOptions{Dir: filepath.Join(t.TempDir(), "db"), Snapshots: filepath.Join(t.TempDir(), "none")}); err != nil || done.Problem != "" {
		t.Errorf("%+v, %v", done, err)
	}
}

// TestRepairInBoundedTime gives up the check, not the start, when the database is too large for it.
func TestRepairInBoundedTime(t *testing.T) {
	_, o := filled(t)
	o.Patience = time.Nanosecond
	done, err := Repair(t.Context(), o)
	if err != nil || done.Checked || done.Problem != "" {
		t.Errorf("%+v, %v", done, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Repair(ctx, o); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want Canceled", err)
	}
}
