package datastore

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"airgap/node/config"
	"airgap/test/databases"
)

// From SQLite to each of the others in turn, and back: at every station all is there, revisions only grow, and a
// cluster could go on.
func TestMigrateAround(t *testing.T) {
	pg := databases.Postgres(t, databases.Place{})
	maria := databases.MariaDB(t, databases.Place{})
	etcd := databases.Etcd(t, databases.Place{})
	home := newSubject(t, "", config.DatastoreFiles{}, nil)
	stations := []*subject{
		home,
		newSubject(t, pg.Endpoint, config.DatastoreFiles{CA: pg.CA}, pg),
		newSubject(t, maria.Endpoint, config.DatastoreFiles{CA: maria.CA}, maria),
		newSubject(t, etcd.Endpoint, config.DatastoreFiles{CA: etcd.CA, Cert: etcd.ClientCert, Key: etcd.ClientKey}, etcd),
		home,
	}
	const keys = 300
	value := func(i int) string { return strings.Repeat(string(rune(i%256)), i*7) + "\x00k8s:enc:secretbox" }
	var revision int64
	t.Run("fill", func(t *testing.T) {
		c := home.start(t)
		for i := range keys {
			revision = mustCreate(t, c, fmt.Sprintf("/registry/pods/default/pod-%d", i), value(i))
		}
		updated, err := update(within(t, 5*time.Second), c, "/registry/pods/default/pod-0", "changed", mustHave(t, c, "/registry/pods/default/pod-0", value(0)))
		if err != nil {
			t.Fatal(err)
		}
		gone, err := remove(within(t, 5*time.Second), c, "/registry/pods/default/pod-1", mustHave(t, c, "/registry/pods/default/pod-1", value(1)))
		if err != nil || !updated.Succeeded || !gone.Succeeded {
			t.Fatal(updated, gone, err)
		}
		lease, err := c.Grant(t.Context(), 3600)
		if err != nil {
			t.Fatal(err)
		}
		revision = mustCreate(t, c, "/registry/events/default/e", "event", clientv3.WithLease(lease.ID))
	})
	var digest string
	for i, to := range stations[1:] {
		from := stations[i]
		t.Run(fmt.Sprintf("%s to %s", from.store.Kind, to.store.Kind), func(t *testing.T) {
			m := Migration{From: from.store, To: to.store, Dir: filepath.Join(home.dir, "db")}
			if to == home {
				if _, err := Migrate(t.Context(), m); !errors.Is(err, ErrNotEmpty) {
					t.Fatalf("a datastore with keys was overwritten: %v", err)
				}
				m.Overwrite = true
			}
			done, err := Migrate(t.Context(), m)
			if err != nil {
				t.Fatal(err)
			}
			if digest == "" {
				digest = done.Digest
			}
			if done.Keys != keys || done.Digest != digest || done.Revision < revision || done.Behind != 0 {
				t.Errorf("copied %+v, want %d keys with digest %s at revision %d or later", done, keys, digest, revision)
			}
			c := to.start(t)
			mustHave(t, c, "/registry/pods/default/pod-0", "changed")
			mustHave(t, c, "/registry/pods/default/pod-299", value(299))
			if kv := leaseOf(t, c, "/registry/events/default/e"); kv == 0 {
				t.Error("the event has no end any more")
			}
			// A client that remembers an old resourceVersion must list again rather than miss a change.
			if r := <-c.Watch(within(t, 10*time.Second), "/registry/pods/", clientv3.WithPrefix(), clientv3.WithRev(revision-1)); r.Err() == nil {
				t.Errorf("a watch from before the migration sees %v", r.Events)
			}
			if got := mustCreate(t, c, "/registry/new", "x"); got <= revision {
				t.Errorf("a new key has revision %d, the migration was at %d", got, revision)
			}
			revision = mustHave(t, c, "/registry/new", "x")
			gone, err := remove(within(t, 5*time.Second), c, "/registry/new", revision)
			if err != nil || !gone.Succeeded {
				t.Fatal(gone, err)
			}
			revision = gone.Header.Revision
			status, err := ReadStatus(t.Context(), to.store, filepath.Join(home.dir, "db"))
			if err != nil || status.Keys < keys || status.Bytes == 0 || status.Revision < revision {
				t.Errorf("status %+v, %v", status, err)
			}
		})
	}
}

func leaseOf(t *testing.T, c *clientv3.Client, key string) int64 {
	t.Helper()
	r, err := c.Get(within(t, 5*time.Second), key)
	if err != nil || len(r.Kvs) != 1 {
		t.Fatal(r, err)
	}
	return r.Kvs[0].Lease
}

// A migration that is interrupted leaves an SQL database as it was.
func TestInterruptedMigrationChangesNothing(t *testing.T) {
	pg := databases.Postgres(t, databases.Place{})
	from, to := newSubject(t, "", config.DatastoreFiles{}, nil), newSubject(t, pg.Endpoint, config.DatastoreFiles{CA: pg.CA}, pg)
	t.Run("fill", func(t *testing.T) {
		c := from.start(t)
		for i := range 500 {
			mustCreate(t, c, fmt.Sprintf("/registry/k%d", i), strings.Repeat("x", 1000))
		}
		mustCreate(t, to.start(t), "/registry/theirs", "x")
	})
	ctx, cancel := context.WithCancel(t.Context())
	m := Migration{From: from.store, To: to.store, Dir: filepath.Join(from.dir, "db"), Overwrite: true, Progress: func(done, total int64) {
		if done > total/2 {
			cancel()
		}
	}}
	if _, err := Migrate(ctx, m); err == nil {
		t.Fatal("an interrupted migration reports success")
	}
	t.Run("target", func(t *testing.T) { mustHave(t, to.start(t), "/registry/theirs", "x") })
	m.Progress = nil
	if done, err := Migrate(t.Context(), m); err != nil || done.Keys != 500 {
		t.Fatalf("the second try: %+v, %v", done, err)
	}
}

func TestMigrateSaysWhatIsWrong(t *testing.T) {
	down := parse(t, "postgres://u:"+databases.Password+"@127.0.0.1:1/k8s", config.DatastoreFiles{})
	here := parse(t, "", config.DatastoreFiles{})
	for name, test := range map[string]struct {
		m    Migration
		want string
	}{
		"no source":   {Migration{From: here, To: down, Dir: t.TempDir()}, "state.db is not there"},
		"source down": {Migration{From: down, To: here, Dir: t.TempDir()}, "127.0.0.1:1; start it there"},
	} {
		_, err := Migrate(t.Context(), test.m)
		if err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), databases.Password) {
			t.Errorf("%s: %v, want %q", name, err, test.want)
		}
	}
}
