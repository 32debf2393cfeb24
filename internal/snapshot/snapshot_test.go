package snapshot

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// server is a data folder as a server leaves it, with a datastore of some rows.
type server struct {
	t        *testing.T
	dir      string
	database string
	parts    map[string]string
}

func newServer(t *testing.T, rows int) *server {
	t.Helper()
	s := &server{t: t, dir: t.TempDir()}
	s.database = filepath.Join(s.dir, "db", "state.db")
	s.parts = map[string]string{
		"tls": filepath.Join(s.dir, "tls"), "cred": filepath.Join(s.dir, "cred"),
		"token": filepath.Join(s.dir, "token"), "agent-token": filepath.Join(s.dir, "agent-token"),
	}
	for _, folder := range []string{filepath.Dir(s.database), s.parts["tls"]} {
		if err := os.MkdirAll(folder, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	s.file("tls/ca.key", "the key", 0o600)
	s.file("tls/ca.crt", "the certificate", 0o644)
	s.file("tls/.lock", "", 0o600)
	s.file("token", "the token", 0o600)
	db := s.open()
	defer db.Close()
	if _, err := db.Exec("CREATE TABLE kine (id INTEGER PRIMARY KEY AUTOINCREMENT, value BLOB); CREATE TABLE total (rows INTEGER)"); err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec("INSERT INTO total VALUES (0)"); err != nil {
		t.Fatal(err)
	}
	for range rows {
		addRow(t, db)
	}
	return s
}

func (s *server) file(name, content string, mode fs.FileMode) {
	s.t.Helper()
	if err := os.WriteFile(filepath.Join(s.dir, name), []byte(content), mode); err != nil {
		s.t.Fatal(err)
	}
}

// open opens the datastore as a server does (node/datastore).
func (s *server) open() *sql.DB { return openDatabase(s.t, s.database) }

func openDatabase(t *testing.T, file string) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite3", uri(file, "_journal_mode=WAL&_busy_timeout=30000&_synchronous=FULL&_txlock=immediate"))
	if err != nil {
		t.Fatal(err)
	}
	return db
}

// addRow adds a row and counts it, in one transaction.
func addRow(t testing.TB, db *sql.DB) {
	t.Helper()
	tx, err := db.Begin()
	if err == nil {
		_, err = tx.Exec("INSERT INTO kine (value) VALUES (randomblob(3000))")
	}
	if err == nil {
		_, err = tx.Exec("UPDATE total SET rows = rows + 1")
	}
	if err == nil {
		err = tx.Commit()
	}
	if err != nil {
		t.Fatal(err)
	}
}

// rows counts the rows and fails unless the datastore is sound and its two tables agree.
func rows(t *testing.T, file string) (n int) {
	t.Helper()
	if _, err := os.Stat(file); err != nil {
		t.Fatal(err)
	}
	db := openDatabase(t, file)
	defer db.Close()
	var check string
	var total int
	if err := db.QueryRow("PRAGMA integrity_check").Scan(&check); err != nil || check != "ok" {
		t.Fatalf("integrity_check: %s, %v", check, err)
	}
	if err := db.QueryRow("SELECT (SELECT count(*) FROM kine), (SELECT rows FROM total)").Scan(&n, &total); err != nil {
		t.Fatal(err)
	}
	if n != total {
		t.Fatalf("%d rows, but the transactions that made them counted %d", n, total)
	}
	return n
}

func (s *server) options() Options {
	return Options{Database: s.database, Parts: s.parts, Folder: filepath.Join(s.dir, "db", "snapshots"), About: About{Node: "node-1", Airgap: "test"}}
}

func (s *server) save() Info {
	s.t.Helper()
	info, err := Save(context.Background(), s.options())
	if err != nil {
		s.t.Fatal(err)
	}
	return info
}

func (s *server) restore(file string) (Restored, error) {
	return Restore(context.Background(), RestoreOptions{File: file, Database: s.database, Parts: s.parts})
}

func (s *server) content(name string) string {
	data, err := os.ReadFile(filepath.Join(s.dir, name))
	if err != nil {
		return ""
	}
	return string(data)
}

func TestWhatIsSavedComesBack(t *testing.T) {
	s := newServer(t, 50)
	info := s.save()
	if info.Revision != 50 || info.About.Node != "node-1" || info.Open || !strings.HasPrefix(info.Name, "on-demand-node-1-") {
		t.Errorf("saved %+v", info)
	}
	if stat, err := os.Stat(info.File); err != nil || stat.Mode().Perm() != 0o600 || stat.Size() != info.Bytes {
		t.Errorf("%v, %v", stat, err)
	}

	db := s.open()
	for range 10 {
		addRow(t, db)
	}
	s.file("tls/ca.key", "another key", 0o600)
	s.file("tls/more.crt", "made later", 0o600)
	s.file("agent-token", "made later", 0o600)
	// As a killed server leaves it: the last writes are in the log alone.
	wal, err := os.ReadFile(s.database + "-wal")
	if err != nil || len(wal) == 0 {
		t.Fatalf("no write-ahead log: %v", err)
	}
	db.Close()
	if err := os.WriteFile(s.database+"-wal", wal, 0o600); err != nil {
		t.Fatal(err)
	}

	done, err := s.restore(info.File)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(s.database + "-wal"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the log of what was replaced is still there: %v", err)
	}
	if n := rows(t, s.database); n != 50 {
		t.Errorf("%d rows, want 50", n)
	}
	for name, want := range map[string]string{
		"tls/ca.key": "the key", "tls/ca.crt": "the certificate", "token": "the token", "tls/more.crt": "", "agent-token": "",
		"db/" + filepath.Base(done.Aside) + "/tls/ca.key": "another key", "db/" + filepath.Base(done.Aside) + "/agent-token": "made later",
	} {
		if got := s.content(name); got != want {
			t.Errorf("%s holds %q, want %q", name, got, want)
		}
	}
	if stat, err := os.Stat(filepath.Join(s.dir, "tls/ca.crt")); err != nil || stat.Mode().Perm() != 0o644 {
		t.Errorf("mode %v, %v", stat.Mode(), err)
	}
	if n := rows(t, filepath.Join(done.Aside, "state.db")); n != 60 {
		t.Errorf("%d rows in what was replaced, want 60", n)
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(s.database), ".*")); len(left) > 0 {
		t.Errorf("left over: %v", left)
	}
}

func TestRestoreOnAnEmptyMachine(t *testing.T) {
	saved := newServer(t, 5).save()
	empty := &server{t: t, dir: t.TempDir()}
	empty.database = filepath.Join(empty.dir, "server", "db", "state.db")
	empty.parts = map[string]string{"tls": filepath.Join(empty.dir, "server", "tls"), "token": filepath.Join(empty.dir, "server", "token")}
	done, err := empty.restore(saved.File)
	if err != nil {
		t.Fatal(err)
	}
	if done.Aside != "" {
		t.Errorf("nothing was replaced, but is said to be in %s", done.Aside)
	}
	if n := rows(t, empty.database); n != 5 || empty.content("server/tls/ca.key") != "the key" {
		t.Errorf("%d rows, key %q", n, empty.content("server/tls/ca.key"))
	}
}

// TestADamagedSnapshotChangesNothing damages a snapshot in every way a stick does and restores it.
func TestADamagedSnapshotChangesNothing(t *testing.T) {
	s := newServer(t, 20)
	info := s.save()
	good, err := os.ReadFile(info.File)
	if err != nil {
		t.Fatal(err)
	}
	db := s.open()
	addRow(t, db)
	db.Close()
	s.file("token", "newer", 0o600)
	bad := filepath.Join(t.TempDir(), "bad"+Extension)
	try := func(what string, data []byte) {
		t.Helper()
		if err := os.WriteFile(bad, data, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := s.restore(bad); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %v, want ErrDamaged", what, err)
		}
	}
	for i := 0; i < len(good); i += 1 + len(good)/60 {
		flipped := append([]byte(nil), good...)
		flipped[i] ^= 0x10
		try(fmt.Sprintf("byte %d of %d flipped", i, len(good)), flipped)
		try(fmt.Sprintf("cut off at %d of %d", i, len(good)), good[:i])
	}
	try("more than one", append(append([]byte(nil), good...), good...))
	if n := rows(t, s.database); n != 21 || s.content("token") != "newer" {
		t.Errorf("%d rows, token %q: a refused snapshot changed them", n, s.content("token"))
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(s.database), "replaced-*")); len(left) > 0 {
		t.Errorf("left over: %v", left)
	}
}

func TestADamagedDatastoreIsNotSaved(t *testing.T) {
	s := newServer(t, 200)
	f, err := os.OpenFile(s.database, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(make([]byte, 64<<10), 8192); err != nil {
		t.Fatal(err)
	}
	if _, err := Save(context.Background(), s.options()); !errors.Is(err, ErrDamaged) {
		t.Errorf("%v, want ErrDamaged", err)
	}
	if files, _ := os.ReadDir(s.options().Folder); len(files) > 0 {
		t.Errorf("left over: %v", files)
	}
}

func TestListNewestPruneDelete(t *testing.T) {
	s := newServer(t, 3)
	o := s.options()
	begin := time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC)
	for i := range 5 {
		o.Prefix, o.Now = "scheduled", func() time.Time { return begin.Add(time.Duration(i/2) * time.Hour) } // twice within a second
		if _, err := Save(context.Background(), o); err != nil {
			t.Fatal(err)
		}
	}
	s.save()
	list, err := List(o.Folder)
	if err != nil || len(list) != 6 {
		t.Fatalf("%d snapshots, %v", len(list), err)
	}
	removed, err := Prune(o.Folder, "scheduled", 2)
	if err != nil || len(removed) != 3 || !removed[2].Created.Equal(begin) {
		t.Errorf("pruned %v, %v", removed, err)
	}
	o.Now = func() time.Time { return time.Date(2099, 1, 1, 0, 0, 0, 0, time.UTC) }
	wrong, err := Save(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	if list, _ = List(o.Folder); len(list) != 4 || list[3].Name != wrong.Name {
		t.Fatalf("one of a wrong clock is not believed last: %v", list)
	}
	if err := Delete(o.Folder, wrong.Name); err != nil {
		t.Fatal(err)
	}
	if list, _ = List(o.Folder); len(list) != 3 || !strings.HasPrefix(list[0].Name, OnDemand) {
		t.Fatalf("left: %v", list)
	}
	if err := os.Truncate(list[0].File, list[0].Bytes-100); err != nil {
		t.Fatal(err)
	}
	good, bad, err := Newest(context.Background(), o.Folder)
	if err != nil || good.Name != list[1].Name || len(bad) != 1 || bad[0].Name != list[0].Name {
		t.Errorf("newest %s after %v, %v; want %s", good.Name, bad, err, list[1].Name)
	}
	if err := Delete(o.Folder, good.Name, "never-was"); !errors.Is(err, ErrNotFound) {
		t.Errorf("%v, want ErrNotFound", err)
	}
	if _, err := Find(o.Folder, good.Name); !errors.Is(err, ErrNotFound) {
		t.Errorf("%v: it was to be deleted", err)
	}
	if err := Delete(o.Folder, "../state"); err == nil || errors.Is(err, ErrNotFound) {
		t.Errorf("%v: a path is no name", err)
	}
	if found, err := Find(o.Folder, list[2].File); err != nil || found.Name != list[2].Name {
		t.Errorf("by path: %v, %v", found, err)
	}
}

func TestManifestsThatAreRefused(t *testing.T) {
	const entry = `{"path":%q,"size":1,"sha256":"","mode":384}`
	for _, test := range []struct{ name, path string }{
		{"upwards", "parts/../../etc/passwd"}, {"absolute", "/etc/passwd"}, {"elsewhere", "data/x"}, {"unclean", "parts//x"}, {"twice", "db/state.db"}, {"the folder", "parts/"},
	} {
		t.Run(test.name, func(t *testing.T) {
			text := fmt.Sprintf(`{"formatVersion":1,"entries":[`+entry+`,`+entry+`]}`, "db/state.db", test.path)
			if _, err := parseManifest([]byte(text)); err == nil {
				t.Error("accepted")
			}
		})
	}
	if _, err := parseManifest([]byte(`{"formatVersion":2}`)); err == nil || !strings.Contains(err.Error(), "version 2") {
		t.Errorf("a later version: %v", err)
	}
}

func TestDifferences(t *testing.T) {
	info := Info{Manifest: Manifest{About: About{Settings: map[string]string{"cluster-cidr": "10.42.0.0/16", "service-cidr": "10.43.0.0/16"}}}}
	if got := info.Differences(map[string]string{"cluster-cidr": "10.9.0.0/16", "service-cidr": "10.43.0.0/16"}); len(got) != 1 || !strings.Contains(got[0], "10.9.0.0/16") {
		t.Errorf("%v", got)
	}
}
