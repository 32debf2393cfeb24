package snapshots

import (
	"context"
	"database/sql"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	_ "github.com/mattn/go-sqlite3"

	"airgap/internal/snapshot"
	"airgap/node/config"
)

func newServer(t *testing.T) *config.Server {
	t.Helper()
	cfg := config.NewServer()
	cfg.DataDir, cfg.NodeName = t.TempDir(), "node-1"
	cfg.DataDir, _ = filepath.EvalSymlinks(cfg.DataDir)
	cfg.Snapshots.Dir = filepath.Join(cfg.DataDir, "snapshots")
	p := config.PathsOf(cfg.DataDir)
	for _, folder := range []string{p.DB(), p.TLS(), p.Cred()} {
		if err := os.MkdirAll(folder, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(p.Cred(), "encryption-config.yaml"), []byte("key"), 0o600); err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("sqlite3", "file:"+p.Database()+"?_journal_mode=WAL")
	if err == nil {
		_, err = db.Exec("CREATE TABLE kine (id INTEGER PRIMARY KEY)")
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return cfg
}

// scheduled runs a scheduler whose clock the test sets, until the test ends.
func scheduled(t *testing.T, cfg *config.Server, begin time.Time) (clock *atomic.Int64) {
	t.Helper()
	clock = new(atomic.Int64)
	clock.Store(begin.Unix())
	s := &Scheduler{
		Settings: cfg.Snapshots, Options: Options(cfg, Versions{}), State: filepath.Join(cfg.DataDir, "state.json"), Log: slog.New(slog.DiscardHandler),
		Now:   func() time.Time { return time.Unix(clock.Load(), 0) },
		First: time.Millisecond, Looks: time.Millisecond,
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { s.Run(ctx); close(ended) }()
	t.Cleanup(func() { cancel(); <-ended })
	return clock
}

func await(t *testing.T, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

func count(t *testing.T, cfg *config.Server) int {
	t.Helper()
	list, err := snapshot.List(cfg.Snapshots.Dir)
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

func TestSchedule(t *testing.T) {
	cfg := newServer(t)
	cfg.Snapshots.Retention = 3
	begin := time.Date(2026, 1, 2, 3, 4, 5, 0, time.Local)
	clock := scheduled(t, cfg, begin)
	await(t, "the first, for there is none", func() bool { return count(t, cfg) == 1 })
	for n, at := range []time.Time{begin.Add(5 * time.Hour), begin.Add(9 * time.Hour), begin.Add(10 * time.Hour), begin.Add(240 * time.Hour)} {
		clock.Store(at.Unix())
		want := []int{1, 2, 2, 3}[n]
		await(t, at.String(), func() bool { return count(t, cfg) == want })
		time.Sleep(20 * time.Millisecond)
		if got := count(t, cfg); got != want {
			t.Errorf("%s: %d snapshots, want %d", at, got, want)
		}
	}
	for i := range 3 {
		at := begin.Add(time.Duration(300+12*i) * time.Hour)
		clock.Store(at.Unix())
		await(t, "the newest of three", func() bool {
			list, _ := snapshot.List(cfg.Snapshots.Dir)
			return len(list) == 3 && list[0].Created.Equal(at)
		})
	}
}

// TestScheduleSaysWhyNot makes every snapshot fail.
func TestScheduleSaysWhyNot(t *testing.T) {
	cfg := newServer(t)
	if err := os.WriteFile(cfg.Snapshots.Dir, nil, 0o600); err != nil { // a file where the folder should be
		t.Fatal(err)
	}
	scheduled(t, cfg, time.Now())
	await(t, "the failure", func() bool {
		data, _ := os.ReadFile(filepath.Join(cfg.DataDir, "state.json"))
		return strings.Contains(string(data), `"failure"`)
	})
}

func TestOnlySQLite(t *testing.T) {
	p := config.PathsOf("/x")
	for endpoint, tool := range map[string]string{
		"postgres://u:p@db/k8s": "pg_dump", "mysql://u:p@tcp(db:3306)/k8s": "mysqldump", "https://etcd:2379": "etcdctl snapshot save",
	} {
		store, err := config.ParseDatastore(endpoint, config.DatastoreFiles{})
		if err != nil {
			t.Fatal(err)
		}
		if err := Supported(store, p); !errors.Is(err, ErrElsewhere) || !strings.Contains(err.Error(), tool) || strings.Contains(err.Error(), ":p@") {
			t.Errorf("%s: %v, want %s", endpoint, err, tool)
		}
	}
	store, err := config.ParseDatastore("", config.DatastoreFiles{})
	if err != nil || Supported(store, p) != nil {
		t.Errorf("SQLite: %v, %v", Supported(store, p), err)
	}
}

// TestASnapshotHoldsWhatOpensIt saves a node's folders and finds the key of the secrets in it.
func TestASnapshotHoldsWhatOpensIt(t *testing.T) {
	info, err := snapshot.Save(t.Context(), Options(newServer(t), Versions{Airgap: "1", Kubernetes: "v1"}))
	if err != nil {
		t.Fatal(err)
	}
	found := false
	for _, e := range info.Entries {
		found = found || e.Path == "parts/cred/encryption-config.yaml"
	}
	if !found || info.About.Settings["cluster-cidr"] != config.DefaultClusterCIDR || info.About.Kubernetes != "v1" {
		t.Errorf("%+v", info)
	}
}
