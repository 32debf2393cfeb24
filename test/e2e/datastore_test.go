package e2e

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"airgap/test/databases"
)

// withoutPackaged are the flags of a node that has no packaged components: these tests need none.
var withoutPackaged = []string{"--disable=coredns", "--disable=traefik", "--disable=servicelb", "--disable=metrics-server", "--disable=local-storage"}

const survivor = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: survivor}
spec:
  selector: {matchLabels: {app: survivor}}
  template:
    metadata: {labels: {app: survivor}}
    spec:
      terminationGracePeriodSeconds: 1
      containers: [{name: main, image: BUSYBOX, command: [sleep, "100000"]}]
`

// A cluster moves from SQLite to PostgreSQL, MariaDB, etcd and back, its pod running all the while; each database goes down under it.
func TestDatastores(t *testing.T) {
	s := newSite(t)
	here := databases.Place{Namespace: "/run/netns/" + s.namespace}
	at := func(port int) databases.Place { here.Port = port; return here }
	s.install(built("dist/system.airgap"), withoutPackaged...)
	s.apply(strings.ReplaceAll(survivor, "BUSYBOX", busyboxImage(t)))
	s.kubectl("rollout", "status", "deployment/survivor", "--timeout=120s")
	before := s.survivor()

	stopped := s.refuse(1, "datastore", "migrate", "--data-dir", s.dataDir, "--to", "https://127.0.0.1:2379")
	if !strings.Contains(stopped, "a server already runs") {
		t.Errorf("a migration under a running server: %s", stopped)
	}
	for _, move := range []struct {
		name  string
		start func(testing.TB, databases.Place) *databases.Server
		port  int
	}{
		{"PostgreSQL", databases.Postgres, 5432},
		{"MySQL", databases.MariaDB, 3306},
		{"etcd", databases.Etcd, 2379},
	} {
		db := move.start(t, at(move.port))
		args := []string{"--to-cafile", db.CA}
		if move.name == "etcd" {
			args = append(args, "--to-certfile", db.ClientCert, "--to-keyfile", db.ClientKey)
		}
		if !t.Run("to "+move.name, func(t *testing.T) {
			s.within(t, func() {
				s.migrate(db.Endpoint, args...)
				s.survived(before)
				out := s.airgap("datastore", "status", "--data-dir", s.dataDir)
				if !strings.Contains(out, move.name) || !strings.Contains(out, "127.0.0.1") {
					t.Errorf("datastore status:\n%s", out)
				}
				s.outage(db, "made-on-"+strings.ToLower(move.name))
				s.survived(before)
			})
		}) {
			return
		}
	}
	t.Run("back to SQLite", func(t *testing.T) {
		s.within(t, func() {
			s.migrate("sqlite", "--overwrite")
			s.survived(before)
			s.kubectl("get", "configmap", "made-on-postgresql", "made-on-mysql", "made-on-etcd")
		})
	})
	s.keepsSecret()
}

// within makes failures those of a subtest.
func (s *site) within(t *testing.T, f func()) {
	outer := s.t
	s.t = t
	defer func() { s.t = outer }()
	f()
}

// survivor is the pod of the deployment, and since when its container runs.
func (s *site) survivor() string {
	s.t.Helper()
	return s.kubectl("get", "pods", "-l", "app=survivor", "-o", "jsonpath={.items[*].metadata.uid} {.items[*].status.containerStatuses[0].containerID}")
}

// survived waits until the node is ready and wants the same container to run.
func (s *site) survived(before string) {
	s.t.Helper()
	eventually(s.t, patience, s.ready)
	s.kubectl("rollout", "status", "deployment/survivor", "--timeout=60s")
	if after := s.survivor(); after != before {
		s.t.Errorf("the pod is %s, was %s", after, before)
	}
}

// stopNode stops the node's service; the pods run on.
func (s *site) stopNode() {
	s.t.Helper()
	for _, verb := range []string{"supervise", "server"} {
		if pid, err := s.pid(verb); err == nil {
			_ = syscall.Kill(pid, syscall.SIGTERM)
		}
	}
	eventually(s.t, 30*time.Second, func() error {
		for _, verb := range []string{"supervise", "server", "agent"} {
			if pid, err := s.pid(verb); err == nil {
				return fmt.Errorf("airgap %s still runs, as process %d", verb, pid)
			}
		}
		return nil
	})
}

// migrate stops the node, moves its datastore and starts it again.
func (s *site) migrate(endpoint string, args ...string) {
	s.t.Helper()
	s.stopNode()
	cmd := s.command(append([]string{"datastore", "migrate", "--data-dir", s.dataDir, "--to", "-", "--switch"}, args...)...)
	cmd.Stdin = strings.NewReader(endpoint + "\n")
	s.t.Log(output(s.t, cmd))
	s.startNode()
}

// outage kills the database under the running node, wants it to be told, and the node to go on by itself: it makes a ConfigMap, the
// witness, as soon as it can.
func (s *site) outage(db *databases.Server, witness string) {
	s.t.Helper()
	db.Stop()
	eventually(s.t, 60*time.Second, func() error {
		out, err := s.command("status", "--data-dir", s.dataDir).CombinedOutput()
		if err == nil || !strings.Contains(string(out), "the datastore does not work") {
			return fmt.Errorf("status does not tell of the outage: %v\n%s", err, out)
		}
		return nil
	})
	if pid, err := s.pid("server"); err != nil || pid == 0 {
		s.t.Errorf("the server did not survive the outage: %v", err)
	}
	db.Start()
	eventually(s.t, patience, func() error {
		out, err := s.command("kubectl", "--request-timeout=5s", "create", "configmap", witness).CombinedOutput()
		if err != nil && !strings.Contains(string(out), "AlreadyExists") {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	})
	eventually(s.t, 30*time.Second, func() error {
		out, _ := s.command("status", "--data-dir", s.dataDir).CombinedOutput()
		if strings.Contains(string(out), "the datastore does not work") {
			return errors.New(string(out))
		}
		return nil
	})
}

// keepsSecret wants the databases' password in no log, no command line and no file that others can read.
func (s *site) keepsSecret() {
	s.t.Helper()
	log, err := os.ReadFile(filepath.Join(s.dataDir, "airgap.log"))
	if err != nil {
		s.t.Fatal(err)
	}
	if strings.Contains(string(log), databases.Password) {
		s.t.Error("the log tells the datastore's password")
	}
	if out, _ := exec.Command("grep", "-rls", "--exclude-dir=containerd", databases.Password, s.dataDir, s.runDir()).Output(); len(out) > 0 {
		s.t.Errorf("the password of datastores that are not used any more stands in\n%s", out)
	}
}
