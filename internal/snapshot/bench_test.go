package snapshot

import (
	"context"
	"os"
	"path/filepath"
	"testing"
)

// Benchmark saves, checks and restores a datastore of 100 MB, of which half can be compressed, as a cluster with some thousand
// objects has.
func Benchmark(b *testing.B) {
	var t testing.T
	dir := b.TempDir()
	s := &server{t: &t, dir: dir, database: filepath.Join(dir, "db", "state.db"), parts: map[string]string{}}
	if err := os.MkdirAll(filepath.Dir(s.database), 0o700); err != nil {
		b.Fatal(err)
	}
	db := s.open()
	_, err := db.Exec(`CREATE TABLE kine (id INTEGER PRIMARY KEY AUTOINCREMENT, name INTEGER, value BLOB);
		CREATE INDEX kine_name ON kine (name);
		WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i < 25000)
		INSERT INTO kine (name, value) SELECT '/registry/pods/default/pod-' || i, CAST(randomblob(2000) AS BLOB) || zeroblob(2000) FROM n`)
	if err != nil {
		b.Fatal(err)
	}
	db.Close()
	info, err := os.Stat(s.database)
	if err != nil {
		b.Fatal(err)
	}
	var saved Info
	b.Run("save", func(b *testing.B) {
		b.SetBytes(info.Size())
		for b.Loop() {
			if saved, err = Save(context.Background(), s.options()); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(saved.Bytes)/1e6, "MB")
	})
	b.Run("check", func(b *testing.B) {
		b.SetBytes(info.Size())
		for b.Loop() {
			if _, err := checkDatabase(context.Background(), s.database); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("restore", func(b *testing.B) {
		b.SetBytes(info.Size())
		for b.Loop() {
			done, err := Restore(context.Background(), RestoreOptions{File: saved.File, Database: s.database})
			if err != nil {
				b.Fatal(err)
			}
			os.RemoveAll(done.Aside)
		}
	})
}
