package datastore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"airgap/node/config"
	"airgap/test/databases"
)

// told waits until the state that `airgap status` reads has, or has not, a problem with the words in it.
func (s *subject) told(t *testing.T, patience time.Duration, words string) {
	t.Helper()
	eventually(t, patience, func() error {
		state, err := readState(s.stateFile)
		if err != nil {
			return err
		}
		if words == "" && state.Problem != "" || !strings.Contains(state.Problem, words) {
			return fmt.Errorf("the state is %+v, want %q", state, words)
		}
		return nil
	})
}

func readState(file string) (state config.DatastoreState, err error) {
	data, err := os.ReadFile(file)
	if err == nil {
		err = json.Unmarshal(data, &state)
	}
	return state, err
}

const patienceOfServer = patience

// testRestart kills the database's server, if there is one, and starts everything again.
func (s *subject) testRestart(t *testing.T) {
	t.Run("write", func(t *testing.T) {
		c := s.startBeside(t)
		mustCreate(t, c, "/registry/durable", "kept")
		if s.server != nil {
			s.server.Stop()
		}
	})
	if s.server != nil {
		s.server.Start()
	}
	t.Run("read", func(t *testing.T) { mustHave(t, s.startBeside(t), "/registry/durable", "kept") })
}

// startBeside starts a second datastore of the subject, as a restarted server would be.
func (s *subject) startBeside(t *testing.T) *clientv3.Client {
	beside := *s
	beside.stateFile = s.stateFile + "2"
	if s.store.Kind != config.SQLite {
		beside.dir = t.TempDir()
	}
	return beside.start(t)
}

func (s *subject) testOutage(t *testing.T) {
	own := *s
	own.dir = t.TempDir()
	own.stateFile = own.dir + "/state.json"
	c := own.start(t)
	mustCreate(t, c, "/registry/before", "x")
	own.told(t, time.Second, "")
	events := c.Watch(within(t, 2*time.Minute), "/registry/after")

	s.server.Stop()
	patience := 2 * patienceOfServer
	if s.store.Kind == config.Etcd {
		patience = etcdLooks + 3*patienceOfServer
	}
	eventually(t, patience, func() error {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		if _, err := c.Get(ctx, "/registry/before"); err == nil {
			return errors.New("a read from a dead server went well")
		}
		return nil
	})
	own.told(t, patience, s.store.Host)

	s.server.Start()
	eventually(t, 20*time.Second, func() error {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		_, err := create(ctx, c, "/registry/after", "x")
		return err
	})
	own.told(t, patience, "")
	select {
	case r := <-events:
		if len(r.Events) != 1 {
			t.Errorf("the watch from before the outage saw %v, %v", r.Events, r.Err())
		}
	case <-time.After(20 * time.Second):
		t.Error("the watch from before the outage sees nothing any more")
	}
	if n := strings.Count(s.log.String(), "does not work"); n > 3 {
		t.Errorf("the outage was told %d times:\n%s", n, s.log)
	}
}

func (s *subject) testLateServer(t *testing.T) {
	s.server.Stop()
	own := *s
	own.dir = t.TempDir()
	own.stateFile = own.dir + "/state.json"
	returned := make(chan struct{})
	go func() {
		own.told(t, 15*time.Second, s.store.Host)
		s.server.Start()
		close(returned)
	}()
	c := own.start(t)
	<-returned
	mustCreate(t, c, "/registry/late", "x")
	own.told(t, 5*time.Second, "")
}

// testMistakes starts with a wrong password, and with an authority that did not sign the server's certificate.
func (s *subject) testMistakes(t *testing.T) {
	right := config.DatastoreFiles{CA: s.store.CAFile, Cert: s.store.CertFile, Key: s.store.KeyFile}
	wrong := right
	wrong.CA = s.server.ClientCert
	mistakes := map[string]config.Datastore{"is not trusted": parse(t, s.store.Endpoint(), wrong)}
	if s.store.HasPassword() {
		mistakes["refuses the user or the password"] = parse(t, strings.Replace(s.store.Endpoint(), databases.Password, "not-"+databases.Password, 1), right)
	}
	for want, store := range mistakes {
		dir := t.TempDir()
		own := subject{stateFile: dir + "/state.json"}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			_, _ = Start(ctx, Options{Store: store, Dir: dir, Socket: dir + "/s", StateFile: own.stateFile, Log: slog.New(slog.NewTextHandler(s.log, nil))})
		}()
		own.told(t, 4*patienceOfServer, want)
		if data, _ := os.ReadFile(own.stateFile); strings.Contains(string(data), databases.Password) {
			t.Errorf("the state tells the password: %s", data)
		}
		cancel()
		<-ended
		if data, err := os.ReadFile(own.stateFile); err == nil {
			t.Errorf("a state is told of a datastore that nobody looks at: %s", data)
		}
	}
}

func (s *subject) testSlow(t *testing.T) {
	own := *s
	own.dir = t.TempDir()
	own.stateFile = own.dir + "/state.json"
	c := own.start(t)
	mustCreate(t, c, "/registry/slow", "x")
	thaw := s.server.Freeze()
	time.AfterFunc(slowAnswer+time.Second, thaw)
	mustHave(t, c, "/registry/slow", "x")
	own.told(t, time.Second, "it is slow")
	for range quickAnswers {
		mustHave(t, c, "/registry/slow", "x")
	}
	own.told(t, time.Second, "")
}

func (s *subject) testReadOnly(t *testing.T) {
	own := *s
	own.dir = t.TempDir()
	own.stateFile = own.dir + "/state.json"
	c := own.start(t)
	ctx := within(t, time.Minute)
	revision := mustCreate(t, c, "/registry/kept", "x")
	s.server.SetReadOnly(true)
	eventually(t, 5*time.Second, func() error { // a reload takes a moment to reach every connection
		if r, err := create(ctx, c, fmt.Sprint("/registry/refused-", time.Now().UnixNano()), "x"); err == nil {
			return fmt.Errorf("a create went well: %v", r)
		}
		return nil
	})
	refusesWrites(t, c, "/registry/kept", revision, "read-only")
	mustHave(t, c, "/registry/kept", "x")
	own.told(t, 5*time.Second, "read-only")
	s.server.SetReadOnly(false)
	eventually(t, 10*time.Second, func() error {
		_, err := update(ctx, c, "/registry/kept", "y", revision)
		return err
	})
	own.told(t, 5*time.Second, "")
}

// refusesWrites wants the three kinds of writes to fail, with the reason.
func refusesWrites(t *testing.T, c *clientv3.Client, key string, revision int64, reason string) {
	t.Helper()
	ctx := within(t, 30*time.Second)
	for name, write := range map[string]func() (*clientv3.TxnResponse, error){
		"create": func() (*clientv3.TxnResponse, error) {
			return create(ctx, c, "/registry/never", strings.Repeat("x", 1<<20))
		},
		"update": func() (*clientv3.TxnResponse, error) {
			return update(ctx, c, key, strings.Repeat("y", 1<<20), revision)
		},
		"delete": func() (*clientv3.TxnResponse, error) { return remove(ctx, c, key, revision) },
	} {
		if r, err := write(); err == nil {
			t.Errorf("%s: a write that the store refused was answered with %v", name, r)
		} else if !strings.Contains(err.Error(), reason) {
			t.Errorf("%s: %v, want %q", name, err, reason)
		}
	}
	if r, err := c.Get(ctx, "/registry/never"); err != nil || len(r.Kvs) > 0 {
		t.Errorf("what was refused is there: %v, %v", r, err)
	}
}
