package e2e

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"net/http"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"airgap/test/site"
)

// outage asks a node's API server all the time, and measures for how long nobody answers.
type outage struct {
	stop    context.CancelFunc
	done    sync.WaitGroup
	longest time.Duration
}

func watchAPI(n *site.Node) *outage {
	ctx, stop := context.WithCancel(context.Background())
	o := &outage{stop: stop}
	client := &http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{
		DialContext: n.Dial, DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, // who answers does not matter
	}}
	o.done.Go(func() {
		last := time.Now()
		for ctx.Err() == nil {
			answer, err := client.Get("https://127.0.0.1:6443/readyz") // 401: it serves
			if err == nil {
				answer.Body.Close()
				o.longest = max(o.longest, time.Since(last))
				last = time.Now()
			}
			time.Sleep(50 * time.Millisecond)
		}
	})
	return o
}

func (o *outage) end() time.Duration {
	o.stop()
	o.done.Wait()
	return o.longest
}

// containers are the IDs and restarts of all containers of the node's pods.
func (s *node) containers() string {
	s.T.Helper()
	return s.Kubectl("get", "pods", "-A", "--sort-by=.metadata.name", "-o",
		`jsonpath={range .items[*]}{.metadata.namespace}/{.metadata.name}{range .status.containerStatuses[*]} {.containerID} {.restartCount}{end}{"\n"}{end}`)
}

// wantRelease wants the version of that name to run; the one under test has none.
func (s *node) wantRelease(want string) {
	s.T.Helper()
	if got := s.Release(); got != want {
		s.T.Errorf("release %q runs, want %q", got, want)
	}
}

func (s *node) upgradeArgs(bundle string, flags ...string) []string {
	return append([]string{"upgrade", bundle, "--data-dir", s.Paths.DataDir, "--init", "none", "--node-name", s.Name, "--probation", "3s"}, flags...)
}

func TestUpgrade(t *testing.T) {
	s := newNode(t)
	dir, err := os.MkdirTemp(demo.dir, "versions-")
	if err != nil {
		t.Fatal(err)
	}
	s.Install(demoBundle(t))
	s.Apply(strings.ReplaceAll(workload, "BUSYBOX", busyboxImage(t)))
	s.Kubectl("wait", "--for=condition=Ready", "pod/shell", "--timeout=120s")
	s.Kubectl("rollout", "status", "deployment/web", "--timeout=120s")
	before := s.containers()
	wantPods := func(s *node) {
		s.T.Helper()
		if after := s.containers(); after != before {
			s.T.Errorf("containers:\n%swere\n%s", after, before)
		}
	}

	good := site.Version{Name: "second"}.Build(t, dir, "1.1.0")
	run := func(name string, test func(*node)) { t.Run(name, func(t *testing.T) { test(s.within(t)) }) }
	run("the pods live on", func(s *node) {
		api, began := watchAPI(s.Node), time.Now()
		out := s.Airgap(s.upgradeArgs(good)...)
		took := time.Since(began)
		s.T.Logf("%sthe upgrade took %s, the API server did not answer for %s", out, took.Round(100*time.Millisecond), api.end().Round(100*time.Millisecond))
		s.wantRelease("second")
		wantPods(s)
	})
	for _, broken := range []struct {
		site.Version
		flags []string
		says  string
	}{
		{site.Version{Name: "crashes", Server: "exit 3"}, nil, "started again"},
		{site.Version{Name: "hangs", Server: "exec sleep 1000000"}, []string{"--timeout", "15s"}, "not within 15s"},
	} {
		run("a version that "+broken.Name, func(s *node) {
			s.Kubectl("create", "configmap", "before-"+broken.Name)
			said := s.Refuse(1, s.upgradeArgs(broken.Build(s.T, dir, "1.2.0"), broken.flags...)...)
			for _, want := range []string{broken.says, "rolled back: airgap"} {
				if !strings.Contains(said, want) {
					s.T.Errorf("it does not say %q:\n%s", want, said)
				}
			}
			s.wantRelease("second")
			s.Kubectl("get", "configmap", "before-"+broken.Name)
			wantPods(s)
		})
	}
	run("a version that dies on probation", func(s *node) {
		s.Kubectl("create", "configmap", "before-dies")
		cmd := s.Command(s.upgradeArgs(site.Version{Name: "dying"}.Build(s.T, dir, "1.2.5"), "--probation", "5m")...)
		var said strings.Builder
		cmd.Stderr = &said
		steps, err := cmd.StdoutPipe()
		if err := errors.Join(err, cmd.Start()); err != nil {
			s.T.Fatal(err)
		}
		for lines := bufio.NewScanner(steps); lines.Scan(); {
			if strings.Contains(lines.Text(), "] releases:") { // Ready, with all its releases
				s.Signal(syscall.SIGKILL, "server")
			}
		}
		if err := cmd.Wait(); cmd.ProcessState.ExitCode() != 1 || !strings.Contains(said.String(), "ended by itself") || !strings.Contains(said.String(), "rolled back: airgap") {
			s.T.Errorf("%v, want exit code 1 and that it was rolled back:\n%s", err, &said)
		}
		s.wantRelease("second")
		s.Kubectl("get", "configmap", "before-dies")
		wantPods(s)
	})
	third := site.Version{Name: "third"}.Build(t, dir, "1.3.0")
	for _, end := range []struct {
		name   string
		signal syscall.Signal
		code   int
		says   string
	}{
		{"interrupted", syscall.SIGINT, 5, "run it again to continue"},
		{"killed", syscall.SIGKILL, -1, "starting the node again"},
	} {
		run("an installer that is "+end.name+" while the node is stopped", func(s *node) {
			cmd := s.Command(s.upgradeArgs(third)...)
			var said strings.Builder
			cmd.Stderr = &said
			steps, err := cmd.StdoutPipe()
			if err := errors.Join(err, cmd.Start()); err != nil {
				s.T.Fatal(err)
			}
			for lines := bufio.NewScanner(steps); lines.Scan(); {
				if strings.Contains(lines.Text(), "] import:") {
					_ = cmd.Process.Signal(end.signal)
				}
			}
			if err := cmd.Wait(); cmd.ProcessState.ExitCode() != end.code || !strings.Contains(said.String(), end.says) {
				s.T.Errorf("%v, want exit code %d and %q:\n%s", err, end.code, end.says, &said)
			}
			site.Eventually(s.T, patience, s.Ready)
			s.wantRelease("second")
			wantPods(s)
		})
	}
	run("an installer that is killed", func(s *node) {
		cmd := s.Command(s.upgradeArgs(third, "--probation", "10m")...)
		if err := cmd.Start(); err != nil {
			s.T.Fatal(err)
		}
		site.Eventually(s.T, patience, func() error {
			if s.Release() != "third" {
				return errors.New("not switched yet")
			}
			return nil
		})
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		_ = cmd.Wait()
		s.Reboot()
		s.StartNode("server")
		site.Eventually(s.T, patience, s.Ready)
		s.wantRelease("second")
		s.Kubectl("get", "configmap", "before-dies")
	})
	run("rollback", func(s *node) {
		s.Kubectl("create", "configmap", "after")
		s.Verb("rollback", "--yes", "--init", "none", "--node-name", s.Name)
		s.wantRelease("")
		if out := s.Kubectl("get", "configmap", "after", "--ignore-not-found"); out != "" {
			s.T.Errorf("the datastore is not that of before the upgrade: %s", out)
		}
		s.Refuse(2, "rollback", "--yes", "--data-dir", s.Paths.DataDir)
	})
}
