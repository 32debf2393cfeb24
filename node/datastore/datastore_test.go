package datastore

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

func start(t *testing.T, dir string) (client *clientv3.Client, stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	d, err := Start(ctx, Options{Dir: filepath.Join(dir, "db"), Socket: filepath.Join(dir, "kine.sock")})
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	client, err = clientv3.New(clientv3.Config{Endpoints: d.Endpoints, DialTimeout: 5 * time.Second})
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	return client, func() { client.Close(); cancel(); d.Wait() }
}

// What was written is there after a restart, and the files are private.
func TestSQLiteKeepsWhatIsWritten(t *testing.T) {
	dir := t.TempDir()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()

	client, stop := start(t, dir)
	// The API server writes by transactions that compare the revision, the only writes kine knows.
	created, err := client.Txn(ctx).
		If(clientv3.Compare(clientv3.ModRevision("/registry/a"), "=", 0)).
		Then(clientv3.OpPut("/registry/a", "one")).Commit()
	if err != nil || !created.Succeeded {
		t.Fatalf("create: %v, %v", created, err)
	}
	stop()

	info, err := os.Stat(filepath.Join(dir, "db"))
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o700 {
		t.Errorf("the folder's mode is %o", info.Mode().Perm())
	}
	if _, err := os.Stat(filepath.Join(dir, "db", "state.db")); err != nil {
		t.Errorf("the database is not where it should be: %v", err)
	}

	client, stop = start(t, dir)
	defer stop()
	got, err := client.Get(ctx, "/registry/a")
	if err != nil || len(got.Kvs) != 1 || string(got.Kvs[0].Value) != "one" {
		t.Fatalf("after a restart: %v, %v", got, err)
	}
}

func TestStartSaysWhatIsWrong(t *testing.T) {
	_, err := Start(t.Context(), Options{Endpoint: "nonsense://x", Dir: t.TempDir(), Socket: filepath.Join(t.TempDir(), "s")})
	if err == nil {
		t.Fatal("a datastore of an unknown kind was opened")
	}
}
