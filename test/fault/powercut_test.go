package fault

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"airgap/node/config"
	"airgap/test/site"
)

// small leaves out the add-ons that podinfo does not need.
const small = "--disable=traefik,metrics-server,local-storage"

// wantHealthy waits until the node and what was installed on it are well, with nobody's help.
func (m *machine) wantHealthy() {
	m.T.Helper()
	site.Eventually(m.T, site.Patience, func() error {
		if err := m.Ready(); err != nil {
			return err
		}
		for _, what := range [][]string{{"kube-system", "deployment/coredns"}, {"demo", "deployment/podinfo"}} {
			if _, err := site.Output(m.Command("kubectl", "-n", what[0], "rollout", "status", what[1], "--timeout=5s")); err != nil {
				return err
			}
		}
		return m.answers()
	})
}

// answers fails unless podinfo answers on the address of its service.
func (m *machine) answers() error {
	address, err := site.Output(m.Command("kubectl", "-n", "demo", "get", "service", "podinfo", "-o", "jsonpath={.spec.clusterIP}"))
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	conn, err := m.Dial(ctx, "tcp", address+":9898")
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return err
	}
	fmt.Fprint(conn, "GET /healthz HTTP/1.0\r\n\r\n")
	if answer, err := io.ReadAll(conn); !strings.Contains(string(answer), "200 OK") {
		return fmt.Errorf("podinfo answers %q, %v", answer, err)
	}
	return nil
}

// until runs what is to be disturbed for so long, and cuts the power then. lost is what that lost; empty: airgap had ended before.
func (m *machine) until(after time.Duration) (out outcome, lost string) {
	m.T.Helper()
	console := newConsole(m.T.(*testing.T), m.steps)
	defer console.file.Close()
	cmd := m.Command(m.args...)
	cmd.Stdout, cmd.Stderr = console.file, console.file
	if err := cmd.Start(); err != nil {
		m.T.Fatal(err)
	}
	end := make(chan error, 1)
	go func() { end <- cmd.Wait() }()
	timer := time.NewTimer(after)
	defer timer.Stop()
	select {
	case out.err = <-end:
	case <-timer.C:
		out.step = console.step()
		lost = m.cutPower()
		out.err = <-end
	}
	out.said = console.text()
	return out, lost
}

// drawn is a time before another.
func (m *machine) drawn(before time.Duration) time.Duration {
	return time.Duration(m.when.Int64N(int64(before)))
}

// The power goes at any moment of an install, again and again: each install goes on where the last was cut, and what is installed
// in the end is whole, with nobody's repair. One that has ended is taken away, as is every second one that was cut, and the next
// begins from nothing.
func TestPowerCutsInInstall(t *testing.T) {
	m := newPowered(t)
	m.args = append(m.args, small)
	began := time.Now()
	m.Airgap(m.args...)
	whole := time.Since(began)
	m.wantHealthy()
	m.good = m.look(t)
	t.Logf("an install that nothing disturbs: %.1f s", whole.Seconds())
	m.Verb("uninstall", "--yes")

	cuts, furthest := make(count, len(m.steps)), 0
	for number := 1; number <= *installCuts; {
		t.Run(fmt.Sprintf("cut %d", number), func(t *testing.T) {
			m := m.within(t)
			after := m.drawn(whole)
			out, lost := m.until(after)
			if lost == "" { // the rest of an install that was cut before
				if out.err != nil {
					t.Fatalf("an install that went on failed: %v\n%s", out.err, out.said)
				}
				m.wantInstalled(t)
				m.Verb("uninstall", "--yes")
				furthest = 0
				return
			}
			number++
			cuts[out.step]++
			furthest = max(furthest, out.step)
			t.Logf("after %.1f s, in step %s: %s", after.Seconds(), m.steps[out.step], lost)
			m.boot()
			m.check(t, furthest)
			if _, err := m.PID("supervise"); err == nil {
				site.Eventually(t, site.Patience, m.Ready)
			}
			m.wantNoRepair()
			if m.when.IntN(2) == 0 { // if each went on, most cuts would meet the last steps
				m.Verb("uninstall", "--yes")
				furthest = 0
			}
		})
		if t.Failed() {
			return
		}
	}
	m.Airgap(m.args...)
	m.wantInstalled(t)
	m.Verb("uninstall", "--yes")
	t.Logf("%d cuts, by step: %s", *installCuts, m.tell(cuts))
}

// wantInstalled wants what an install that nothing has disturbed comes to.
func (m *machine) wantInstalled(t *testing.T) {
	t.Helper()
	m.wantHealthy()
	if got := m.look(t); !slices.Equal(got, m.good) {
		t.Errorf("the machine is not as after an undisturbed install:\n%s", difference(m.good, got))
	}
}

// wantNoRepair wants that the node has found nothing to repair: what it had written in order was there.
func (m *machine) wantNoRepair() {
	m.T.Helper()
	repairs, err := config.ReadRepairs(m.Paths)
	if err != nil {
		m.T.Error(err)
	}
	for _, r := range repairs {
		m.T.Errorf("%s was repaired: %s; %s", r.What, r.Damage, r.Done)
	}
}

// installed makes a machine on which the bundle is installed, and which is off.
func installed(t *testing.T) *machine {
	t.Helper()
	m := newPowered(t)
	m.Airgap(append(m.args, small)...)
	m.wantHealthy()
	m.Kubectl("create", "configmap", "written-before", "--from-literal=word=swordfish")
	m.switchOff()
	return m
}

// The power goes at any moment of an upgrade: after the next boot the node runs one version or the other by itself, with all that was
// written before, and the upgrade can be done again.
func TestPowerCutsInUpgrade(t *testing.T) {
	m := installed(t)
	m.save(t)
	m.upgrade(t)
	m.boot()
	m.wantHealthy()
	began := time.Now()
	m.Airgap(m.args...)
	whole := time.Since(began)
	m.wantUpgraded()
	m.switchOff()
	t.Logf("an upgrade that nothing disturbs: %.1f s", whole.Seconds())

	cuts, completed := make(count, len(m.steps)), 0
	for number := 1; number <= *upgradeCuts; {
		t.Run(fmt.Sprintf("cut %d", number), func(t *testing.T) {
			m := m.begin(t)
			m.StartNode("server")
			m.wantHealthy()
			after := m.drawn(whole)
			out, lost := m.until(after)
			if lost != "" {
				number++
				cuts[out.step]++
				m.boot()
				m.wantHealthy()
				m.wantWritten()
				m.wantNoRepair()
				t.Logf("after %.1f s, in step %s: %s; it came up as version %q", after.Seconds(), m.steps[out.step], lost, m.Release())
				if m.Release() != "" {
					completed++
				}
				m.Airgap(m.args...)
			} else if out.err != nil {
				t.Fatalf("the upgrade failed: %v\n%s", out.err, out.said)
			}
			m.wantUpgraded()
			m.switchOff()
		})
		if t.Failed() {
			return
		}
	}
	t.Logf("%d cuts, by step: %s; the new version ran after %d of them", *upgradeCuts, m.tell(cuts), completed)
}

// upgrade makes an upgrade to another version what is to be disturbed on the machine, which is off.
func (m *machine) upgrade(t *testing.T) {
	t.Helper()
	versions, err := os.MkdirTemp(folder, "versions-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(versions) })
	m.switchOn()
	m.readSteps("upgrade", site.Version{Name: "second"}.Build(t, versions, "1.1.0"), "--data-dir", m.Paths.DataDir,
		"--init", "none", "--node-name", m.Name, "--probation", "3s")
	m.unplug()
}

func (m *machine) wantUpgraded() {
	m.T.Helper()
	m.wantHealthy()
	m.wantWritten()
	if got := m.Release(); got != "second" {
		m.T.Errorf("version %q runs after the upgrade", got)
	}
}

func (m *machine) wantWritten() {
	m.T.Helper()
	if word := m.Kubectl("get", "configmap", "written-before", "-o", "jsonpath={.data.word}"); word != "swordfish" {
		m.T.Errorf("what was written before the upgrade is %q", word)
	}
}

// What the API server has acknowledged is there after the power was cut, whatever else was being written.
func TestPowerCutsUnderLoad(t *testing.T) {
	m := installed(t)
	m.boot()
	m.wantHealthy()
	acknowledged, slowest := map[string]bool{}, time.Duration(0)
	for i := range *loadCuts {
		t.Run(fmt.Sprintf("cut %d", i+1), func(t *testing.T) {
			m := m.within(t)
			l := m.write(i + 1)
			site.Eventually(t, site.Patience, func() error {
				if len(l.known()) < writers {
					return errors.New("the API server takes no writes")
				}
				return nil
			})
			time.Sleep(m.drawn(4 * time.Second))
			known := l.known() // before the cut: an answer that comes after it was given by a machine that is off
			lost := m.cutPower()
			l.end()
			for _, name := range known {
				acknowledged[name] = true
			}
			began := time.Now()
			m.boot()
			site.Eventually(t, site.Patience, m.Ready)
			ready := time.Since(began)
			slowest = max(slowest, ready)
			found, missing := m.values(), 0
			for name := range acknowledged {
				if found[name] != name {
					missing++
				}
			}
			if missing > 0 {
				t.Errorf("%d of %d acknowledged writes are lost", missing, len(acknowledged))
			}
			m.wantHealthy()
			m.wantNoRepair()
			t.Logf("%d writes acknowledged; %s; Ready %.1f s and podinfo %.1f s after the power was back", len(known), lost, ready.Seconds(), time.Since(began).Seconds())
		})
		if t.Failed() {
			return
		}
	}
	t.Logf("%d cuts, %d acknowledged writes, none lost; Ready at most %.1f s after the power was back", *loadCuts, len(acknowledged), slowest.Seconds())
}

// writers is how many clients write at once.
const writers = 4

// load is clients that create ConfigMaps as fast as the API server takes them.
type load struct {
	stop context.CancelFunc
	done sync.WaitGroup

	mu           sync.Mutex
	acknowledged []string
}

// write begins the load, through a proxy on the machine that has the administrator's credentials and ends with the machine.
func (m *machine) write(round int) *load {
	m.T.Helper()
	proxy := m.Command("kubectl", "proxy", "--port=8001")
	if err := proxy.Start(); err != nil {
		m.T.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	l := &load{stop: stop}
	l.done.Go(func() { _ = proxy.Wait() })
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DialContext: m.Dial, MaxIdleConnsPerHost: writers}}
	for writer := range writers {
		l.done.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				name := fmt.Sprintf("round-%d-%d-%d", round, writer, i)
				if err := create(ctx, client, name); err != nil {
					time.Sleep(50 * time.Millisecond)
					continue
				}
				l.mu.Lock()
				l.acknowledged = append(l.acknowledged, name)
				l.mu.Unlock()
			}
		})
	}
	return l
}

// create creates a ConfigMap that has its own name in it.
func create(ctx context.Context, client *http.Client, name string) error {
	object := fmt.Sprintf(`{"metadata":{"name":%q},"data":{"value":%[1]q}}`, name)
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://127.0.0.1:8001/api/v1/namespaces/default/configmaps", strings.NewReader(object))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	answer, err := client.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if _, err := io.Copy(io.Discard, answer.Body); err != nil {
		return err
	}
	if answer.StatusCode != http.StatusCreated {
		return errors.New(answer.Status)
	}
	return nil
}

// end waits for the end of a load whose machine is off.
func (l *load) end() {
	l.stop()
	l.done.Wait()
}

// known are the names of all that has been acknowledged so far.
func (l *load) known() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.acknowledged)
}

// values are the ConfigMaps of the load, by name.
func (m *machine) values() map[string]string {
	m.T.Helper()
	var list struct {
		Items []struct {
			Metadata struct{ Name string }
			Data     map[string]string
		}
	}
	if err := json.Unmarshal([]byte(m.Kubectl("get", "configmaps", "-n", "default", "-o", "json")), &list); err != nil {
		m.T.Fatal(err)
	}
	values := map[string]string{}
	for _, item := range list.Items {
		values[item.Metadata.Name] = item.Data["value"]
	}
	return values
}
