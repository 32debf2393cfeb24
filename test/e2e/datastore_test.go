package e2e

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"airgap/test/databases"
	"airgap/test/site"
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
	s := newNode(t)
	here := databases.Place{Namespace: "/run/netns/" + s.Namespace}
	at := func(port int) databases.Place { here.Port = port; return here }
	s.Install(site.Built("dist/system.airgap"), withoutPackaged...)
	s.deploy("survivor", survivor)
	before := s.survivor()

	stopped := s.Refuse(1, "datastore", "migrate", "--data-dir", s.Paths.DataDir, "--to", "https://127.0.0.1:2379")
	if !strings.Contains(stopped, "a node already runs") {
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
			s := s.within(t)
			s.migrate(db.Endpoint, args...)
			s.survived(before)
			if out := s.Verb("datastore", "status"); !strings.Contains(out, move.name) || !strings.Contains(out, "127.0.0.1") {
				t.Errorf("datastore status:\n%s", out)
			}
			s.outage(db, "made-on-"+strings.ToLower(move.name))
			s.survived(before)
		}) {
			return
		}
	}
	t.Run("back to SQLite", func(t *testing.T) {
		s := s.within(t)
		s.migrate("sqlite", "--overwrite")
		s.survived(before)
		s.Kubectl("get", "configmap", "made-on-postgresql", "made-on-mysql", "made-on-etcd")
	})
	s.keepsSecret()
}

// survivor is the pod of the deployment, and since when its container runs.
func (s *node) survivor() string {
	s.T.Helper()
	return s.Kubectl("get", "pods", "-l", "app=survivor", "-o", "jsonpath={.items[*].metadata.uid} {.items[*].status.containerStatuses[0].containerID}")
}

// survived waits until the node is ready and wants the same container to run.
func (s *node) survived(before string) {
	s.T.Helper()
	site.Eventually(s.T, patience, s.Ready)
	s.Kubectl("rollout", "status", "deployment/survivor", "--timeout=60s")
	if after := s.survivor(); after != before {
		s.T.Errorf("the pod is %s, was %s", after, before)
	}
}

// migrate stops the node, moves its datastore and starts it again.
func (s *node) migrate(endpoint string, args ...string) {
	s.T.Helper()
	s.StopNode()
	cmd := s.Command(append([]string{"datastore", "migrate", "--data-dir", s.Paths.DataDir, "--to", "-", "--switch"}, args...)...)
	cmd.Stdin = strings.NewReader(endpoint + "\n")
	s.T.Log(site.MustOutput(s.T, cmd))
	s.StartNode("server")
}

// outage kills the database under the running node, wants it to be told, and the node to go on by itself: it makes a ConfigMap, the
// witness, as soon as it can.
func (s *node) outage(db *databases.Server, witness string) {
	s.T.Helper()
	db.Stop()
	site.Eventually(s.T, 60*time.Second, func() error {
		out, err := s.Command("status", "--data-dir", s.Paths.DataDir).CombinedOutput()
		if err == nil || !strings.Contains(string(out), "the datastore does not work") {
			return fmt.Errorf("status does not tell of the outage: %v\n%s", err, out)
		}
		return nil
	})
	if pid, err := s.PID("server"); err != nil || pid == 0 {
		s.T.Errorf("the server did not survive the outage: %v", err)
	}
	db.Start()
	site.Eventually(s.T, patience, func() error {
		out, err := s.Command("kubectl", "--request-timeout=5s", "create", "configmap", witness).CombinedOutput()
		if err != nil && !strings.Contains(string(out), "AlreadyExists") {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	})
	site.Eventually(s.T, 30*time.Second, func() error {
		out, _ := s.Command("status", "--data-dir", s.Paths.DataDir).CombinedOutput()
		if strings.Contains(string(out), "the datastore does not work") {
			return errors.New(string(out))
		}
		return nil
	})
}

// keepsSecret wants the databases' password in no log, no command line and no file that others can read.
func (s *node) keepsSecret() {
	s.T.Helper()
	log, err := os.ReadFile(filepath.Join(s.Paths.DataDir, "airgap.log"))
	if err != nil {
		s.T.Fatal(err)
	}
	if strings.Contains(string(log), databases.Password) {
		s.T.Error("the log tells the datastore's password")
	}
	if out, _ := exec.Command("grep", "-rls", "--exclude-dir=containerd", databases.Password, s.Paths.DataDir, s.Paths.Run()).Output(); len(out) > 0 {
		s.T.Errorf("the password of datastores that are not used any more stands in\n%s", out)
	}
}
