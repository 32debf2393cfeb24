package datastore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"airgap/node/config"
	"airgap/test/databases"
)

// subject is one kind of datastore under the conformance suite.
type subject struct {
	store     config.Datastore
	server    *databases.Server // nil for SQLite
	dir       string            // of this node: SQLite's files, the socket
	stateFile string
	log       *bytes.Buffer
}

func parse(t *testing.T, endpoint string, files config.DatastoreFiles) config.Datastore {
	t.Helper()
	store, err := config.ParseDatastore(endpoint, files)
	if err != nil {
		t.Fatal(err)
	}
	return store
}

func newSubject(t *testing.T, endpoint string, files config.DatastoreFiles, server *databases.Server) *subject {
	dir := t.TempDir()
	return &subject{store: parse(t, endpoint, files), server: server, dir: dir, stateFile: filepath.Join(dir, "state.json"), log: &bytes.Buffer{}}
}

func TestSQLite(t *testing.T) { conformance(t, newSubject(t, "", config.DatastoreFiles{}, nil)) }

func TestPostgreSQL(t *testing.T) {
	s := databases.Postgres(t, databases.Place{})
	conformance(t, newSubject(t, s.Endpoint, config.DatastoreFiles{CA: s.CA}, s))
}

func TestMariaDB(t *testing.T) {
	s := databases.MariaDB(t, databases.Place{})
	conformance(t, newSubject(t, s.Endpoint, config.DatastoreFiles{CA: s.CA}, s))
}

func TestEtcd(t *testing.T) {
	s := databases.Etcd(t, databases.Place{})
	conformance(t, newSubject(t, s.Endpoint, config.DatastoreFiles{CA: s.CA, Cert: s.ClientCert, Key: s.ClientKey}, s))
}

// conformance is what the API server relies on, in its own transactions, on any datastore.
func conformance(t *testing.T, s *subject) {
	client := s.start(t)
	for _, test := range []struct {
		name string
		run  func(t *testing.T, c *clientv3.Client)
	}{
		{"create, read, update, delete", testWrites},
		{"conflicting writers", testConflicts},
		{"made anew among writers", testMadeAnew},
		{"list by pages at one revision", testPages},
		{"watch", testWatch},
		{"a write is seen at once", testPromptness},
		{"a watch without events learns the revision when asked", testProgress},
		{"compaction", testCompaction},
		{"a lease ends", testLease},
		{"a large value", testLargeValue},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, client) })
	}
	t.Run("what was written is there after a crash", func(t *testing.T) { s.testRestart(t) })
	if s.server != nil {
		t.Run("an outage is told and passes", func(t *testing.T) { s.testOutage(t) })
		t.Run("a start waits for the server", func(t *testing.T) { s.testLateServer(t) })
	}
	if s.server != nil {
		t.Run("a mistake in the configuration is told", func(t *testing.T) { s.testMistakes(t) })
	}
	if s.store.Kind == config.MySQL { // one process, which can be stopped
		t.Run("slowness is told and passes", func(t *testing.T) { s.testSlow(t) })
	}
	if s.store.Kind == config.PostgreSQL || s.store.Kind == config.MySQL {
		t.Run("a refused write is an error", func(t *testing.T) { s.testReadOnly(t) })
	}
	if text := s.log.String(); strings.Contains(text, databases.Password) {
		t.Errorf("the log tells the password:\n%s", text)
	}
}

// start starts the datastore, until the test or subtest ends, and returns a client of it.
func (s *subject) start(t *testing.T) *clientv3.Client {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	d, err := Start(ctx, Options{
		Store: s.store, Dir: filepath.Join(s.dir, "db"), Socket: filepath.Join(s.dir, "kine.sock"),
		StateFile: s.stateFile, Log: slog.New(slog.NewTextHandler(io.MultiWriter(s.log, testLog{t}), nil)),
	})
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	t.Cleanup(func() { cancel(); d.Wait() })
	return connectTo(t, d)
}

func connectTo(t *testing.T, d *Datastore) *clientv3.Client {
	t.Helper()
	c := clientv3.Config{Endpoints: d.Endpoints, DialTimeout: 5 * time.Second, Logger: zap.NewNop()}
	if d.CAFile != "" {
		var err error
		if c.TLS, err = tlsFiles(config.Datastore{CAFile: d.CAFile, CertFile: d.CertFile, KeyFile: d.KeyFile}).ClientConfig(); err != nil {
			t.Fatal(err)
		}
	}
	client, err := clientv3.New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	return client
}

type testLog struct{ t *testing.T }

func (l testLog) Write(p []byte) (int, error) {
	if testing.Verbose() {
		os.Stderr.Write(p)
	}
	return len(p), nil
}

func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// create, update and remove are the API server's own writes.
func create(ctx context.Context, c *clientv3.Client, key, value string, o ...clientv3.OpOption) (*clientv3.TxnResponse, error) {
	return c.Txn(ctx).If(clientv3.Compare(clientv3.ModRevision(key), "=", 0)).Then(clientv3.OpPut(key, value, o...)).Commit()
}

func update(ctx context.Context, c *clientv3.Client, key, value string, revision int64) (*clientv3.TxnResponse, error) {
	return c.Txn(ctx).If(clientv3.Compare(clientv3.ModRevision(key), "=", revision)).
		Then(clientv3.OpPut(key, value)).Else(clientv3.OpGet(key)).Commit()
}

func remove(ctx context.Context, c *clientv3.Client, key string, revision int64) (*clientv3.TxnResponse, error) {
	return c.Txn(ctx).If(clientv3.Compare(clientv3.ModRevision(key), "=", revision)).
		Then(clientv3.OpDelete(key)).Else(clientv3.OpGet(key)).Commit()
}

func mustCreate(t *testing.T, c *clientv3.Client, key, value string, o ...clientv3.OpOption) int64 {
	t.Helper()
	r, err := create(within(t, 20*time.Second), c, key, value, o...)
	if err != nil || !r.Succeeded {
		t.Fatalf("create %s: %v, %v", key, r, err)
	}
	return r.Header.Revision
}

func mustHave(t *testing.T, c *clientv3.Client, key, value string) int64 {
	t.Helper()
	r, err := c.Get(within(t, 20*time.Second), key)
	if err != nil {
		t.Fatalf("get %s: %v", key, err)
	}
	if len(r.Kvs) != 1 || string(r.Kvs[0].Value) != value {
		t.Fatalf("get %s: %v, want %.40q", key, r.Kvs, value)
	}
	return r.Kvs[0].ModRevision
}

func testWrites(t *testing.T, c *clientv3.Client) {
	ctx, key := within(t, 20*time.Second), "/registry/pods/default/a"
	first := mustCreate(t, c, key, "one")
	if again, err := create(ctx, c, key, "other"); err != nil || again.Succeeded {
		t.Fatalf("a key was created twice: %v, %v", again, err)
	}
	if got := mustHave(t, c, key, "one"); got != first {
		t.Errorf("revision %d, created at %d", got, first)
	}
	second, err := update(ctx, c, key, "two", first)
	if err != nil || !second.Succeeded {
		t.Fatalf("update: %v, %v", second, err)
	}
	stale, err := update(ctx, c, key, "three", first)
	if err != nil || stale.Succeeded {
		t.Fatalf("an update with a stale revision: %v, %v", stale, err)
	}
	if kv := stale.Responses[0].GetResponseRange().Kvs[0]; string(kv.Value) != "two" || kv.CreateRevision != first {
		t.Errorf("the conflict shows %v", kv)
	}
	if old, err := c.Get(ctx, key, clientv3.WithRev(first)); err != nil || string(old.Kvs[0].Value) != "one" {
		t.Errorf("at revision %d: %v, %v", first, old, err)
	}
	if gone, err := remove(ctx, c, key, second.Header.Revision); err != nil || !gone.Succeeded {
		t.Fatalf("delete: %v, %v", gone, err)
	}
	if r, err := c.Get(ctx, key); err != nil || len(r.Kvs) != 0 {
		t.Errorf("after its deletion: %v, %v", r, err)
	}
	if third := mustCreate(t, c, key, "again"); third <= second.Header.Revision {
		t.Errorf("revisions went from %d to %d", second.Header.Revision, third)
	}
}

func testConflicts(t *testing.T, c *clientv3.Client) {
	ctx, key := within(t, 60*time.Second), "/registry/counter"
	mustCreate(t, c, key, "0")
	const writers, each = 4, 10
	var all sync.WaitGroup
	for range writers {
		all.Go(func() {
			for done := 0; done < each; {
				now, err := c.Get(ctx, key)
				if err != nil {
					t.Error(err)
					return
				}
				n, _ := strconv.Atoi(string(now.Kvs[0].Value))
				r, err := update(ctx, c, key, strconv.Itoa(n+1), now.Kvs[0].ModRevision)
				if err != nil {
					t.Error(err)
					return
				}
				if r.Succeeded {
					done++
				}
			}
		})
	}
	all.Wait()
	mustHave(t, c, key, strconv.Itoa(writers*each))
}

// A key that was deleted is made anew while others write: each creation succeeds once, and
// answers with the key's own revision, to which an update can be made.
func testMadeAnew(t *testing.T, c *clientv3.Client) {
	ctx := within(t, 60*time.Second)
	var all sync.WaitGroup
	for writer := range 6 {
		all.Go(func() {
			key := fmt.Sprintf("/registry/anew/%d", writer)
			for range 15 {
				r, err := create(ctx, c, key, "new")
				if err != nil || !r.Succeeded {
					t.Errorf("create %s anew: %v, %v", key, r, err)
					return
				}
				u, err := update(ctx, c, key, "newer", r.Header.Revision)
				if err != nil || !u.Succeeded {
					t.Errorf("update %s at the revision %d that its creation answered with: %v, %v", key, r.Header.Revision, u, err)
					return
				}
				d, err := remove(ctx, c, key, u.Header.Revision)
				if err != nil || !d.Succeeded {
					t.Errorf("delete %s: %v, %v", key, d, err)
					return
				}
			}
		})
	}
	all.Wait()
}

func testPages(t *testing.T, c *clientv3.Client) {
	ctx := within(t, 30*time.Second)
	const keys = 25
	for i := range keys {
		mustCreate(t, c, fmt.Sprintf("/registry/pages/ns/%02d", i), "x")
	}
	var names []string
	var revision int64
	from, end := "/registry/pages/", clientv3.GetPrefixRangeEnd("/registry/pages/")
	for {
		page, err := c.Get(ctx, from, clientv3.WithRange(end), clientv3.WithLimit(10), clientv3.WithRev(revision))
		if err != nil {
			t.Fatal(err)
		}
		if revision == 0 {
			revision = page.Header.Revision
			mustCreate(t, c, "/registry/pages/ns/09b", "later") // must not show in the pages that follow
			if page.Count != keys {
				t.Errorf("the count is %d, want %d", page.Count, keys)
			}
		}
		for _, kv := range page.Kvs {
			names = append(names, string(kv.Key))
		}
		if !page.More {
			break
		}
		from = names[len(names)-1] + "\x00"
	}
	if len(names) != keys || names[0] != "/registry/pages/ns/00" || names[keys-1] != "/registry/pages/ns/24" {
		t.Errorf("%d keys in pages: %v", len(names), names)
	}
}

func testWatch(t *testing.T, c *clientv3.Client) {
	ctx, prefix := within(t, 30*time.Second), "/registry/watched/"
	before, err := c.Get(ctx, prefix, clientv3.WithPrefix())
	if err != nil {
		t.Fatal(err)
	}
	events := c.Watch(ctx, prefix, clientv3.WithPrefix(), clientv3.WithPrevKV(), clientv3.WithRev(before.Header.Revision+1))
	created := mustCreate(t, c, prefix+"a", "1")
	mustCreate(t, c, "/registry/unwatched", "x")
	updated, err := update(ctx, c, prefix+"a", "2", created)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := remove(ctx, c, prefix+"a", updated.Header.Revision); err != nil {
		t.Fatal(err)
	}
	var got []string
	for len(got) < 3 {
		for _, e := range mustReceive(t, events).Events {
			text := fmt.Sprintf("%s %s", e.Type, e.Kv.Value)
			if e.PrevKv != nil {
				text += fmt.Sprintf(" after %s", e.PrevKv.Value)
			}
			got = append(got, text)
		}
	}
	if want := "[PUT 1 PUT 2 after 1 DELETE  after 2]"; fmt.Sprint(got) != want {
		t.Errorf("the watch saw %v, want %s", got, want)
	}
}

// testPromptness writes one thing after another, so that no other write can carry an event along: a watch has each
// long before the datastore is looked at for changes that nobody told of.
func testPromptness(t *testing.T, c *clientv3.Client) {
	ctx, prefix := within(t, 30*time.Second), "/registry/prompt/"
	events := c.Watch(ctx, prefix, clientv3.WithPrefix(), clientv3.WithCreatedNotify())
	mustReceive(t, events)
	for i := range 5 {
		started := time.Now()
		mustCreate(t, c, prefix+strconv.Itoa(i), "x")
		if r := mustReceive(t, events); len(r.Events) != 1 {
			t.Fatalf("%d events of write %d", len(r.Events), i)
		}
		if took := time.Since(started); took > sqlitePoll/4 {
			t.Errorf("a watch learned of a write after %s", took)
		}
	}
}

// testProgress is what a read of the API server's cache waits for, which must be at the revision that the datastore had
// when the read came. The first answer may be from before the watch had caught up with it.
func testProgress(t *testing.T, c *clientv3.Client) {
	ctx := within(t, 30*time.Second)
	events := c.Watch(ctx, "/registry/quiet/", clientv3.WithPrefix(), clientv3.WithProgressNotify(), clientv3.WithCreatedNotify())
	mustReceive(t, events)
	revision := mustCreate(t, c, "/registry/loud", "x")
	started := time.Now()
	for {
		if err := c.RequestProgress(ctx); err != nil {
			t.Fatal(err)
		}
		select {
		case r := <-events:
			if !r.IsProgressNotify() {
				t.Fatalf("not a notification of progress: %+v", r)
			}
			if r.Header.Revision < revision {
				continue
			}
		case <-time.After(100 * time.Millisecond): // the API server asks as often
			if took := time.Since(started); took > notifyInterval/4 {
				t.Fatalf("no answer for %s", took)
			}
			continue
		}
		return
	}
}

func mustReceive(t *testing.T, events clientv3.WatchChan) clientv3.WatchResponse {
	t.Helper()
	r, ok := <-events
	if !ok || r.Err() != nil {
		t.Fatalf("the watch ended: %v", r.Err())
	}
	return r
}

func testCompaction(t *testing.T, c *clientv3.Client) {
	ctx, key := within(t, 60*time.Second), "/registry/compacted"
	first := mustCreate(t, c, key, "0")
	revision := first
	for i := range 1100 { // kine keeps the last thousand revisions
		r, err := update(ctx, c, key, strconv.Itoa(i), revision)
		if err != nil || !r.Succeeded {
			t.Fatalf("update: %v, %v", r, err)
		}
		revision = r.Header.Revision
	}
	if _, err := c.Compact(ctx, revision); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Get(ctx, key, clientv3.WithRev(first)); !errors.Is(err, rpctypes.ErrCompacted) {
		t.Errorf("a compacted revision gives %v", err)
	}
	mustHave(t, c, key, "1099")
	if r := <-c.Watch(ctx, key, clientv3.WithRev(first)); !errors.Is(r.Err(), rpctypes.ErrCompacted) {
		t.Errorf("a watch from a compacted revision gives %v", r.Err())
	}
}

func testLease(t *testing.T, c *clientv3.Client) {
	ctx, key := within(t, 30*time.Second), "/registry/masterleases/10.0.0.1"
	lease, err := c.Grant(ctx, 2)
	if err != nil {
		t.Fatal(err)
	}
	mustCreate(t, c, key, "x", clientv3.WithLease(lease.ID))
	began := time.Now()
	eventually(t, 15*time.Second, func() error {
		r, err := c.Get(ctx, key)
		if err == nil && len(r.Kvs) > 0 {
			err = errors.New("the key is still there")
		}
		return err
	})
	if took := time.Since(began); took < time.Second {
		t.Errorf("a lease of two seconds ended after %s", took)
	}
}

func testLargeValue(t *testing.T, c *clientv3.Client) {
	value := strings.Repeat("airgap", 1400<<10/6) // an object may have 1.5 MiB
	mustCreate(t, c, "/registry/large", value)
	mustHave(t, c, "/registry/large", value)
}

func eventually(t *testing.T, patience time.Duration, try func() error) {
	t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		err := try()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("after %s still: %v", patience, err)
		}
	}
}
