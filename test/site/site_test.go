package site

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// childVariable makes the test's executable a program that makes a site, tells its folder, and waits to be killed.
const childVariable = "AIRGAP_TEST_SITE_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(childVariable) == "" {
		os.Exit(m.Run())
	}
	s, err := Make("a", "b")
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	// As far as a guard can see a node is installed on the first machine, whose uninstall fails.
	if err := errors.Join(s.Machines[0].Command(context.Background(), "sleep", "1000").Start(), os.Symlink("nowhere", s.Machines[0].Paths.Current())); err != nil {
		fmt.Println(err)
	}
	fmt.Println(s.Folder)
	select {}
}

func ping(n *Node, address string, more ...string) error {
	return n.Inside("ping", append([]string{"-q", "-c", "1", "-W", "1", address}, more...)...).Run()
}

func TestMachinesReachEachOtherAndNothingElse(t *testing.T) {
	nodes := New(t, "a", "b")
	a, b := nodes[0], nodes[1]
	if a.IP != "10.99.0.1" || b.IP != "10.99.0.2" {
		t.Errorf("addresses %s, %s", a.IP, b.IP)
	}
	for _, address := range []string{b.IP, OutsideIP} {
		if err := ping(a, address); err != nil {
			t.Errorf("%s: %v", address, err)
		}
	}
	if routes := MustOutput(t, a.Inside("ip", "route")); strings.Contains(routes, "default") {
		t.Errorf("there is a way out:\n%s", routes)
	}
}

func TestFaultsOfTheLAN(t *testing.T) {
	nodes := New(t, "a", "b")
	a, b := nodes[0], nodes[1]
	t.Run("cut", func(t *testing.T) {
		b.Within(t).Unplug()
		if ping(a, b.IP) == nil {
			t.Error("a machine without a cable answers")
		}
	})
	t.Run("silent", func(t *testing.T) {
		b.Within(t).Lossy(1)
		if ping(a, b.IP) == nil {
			t.Error("a machine all of whose packets are lost answers")
		}
	})
	t.Run("lossy", func(t *testing.T) {
		// Who is where is asked before: a lost answer to that would lose all packets for a second.
		Eventually(t, Patience, func() error { return errors.Join(ping(a, b.IP), ping(b, a.IP)) })
		b.Within(t).Lossy(0.3)
		out, _ := a.Inside("ping", "-q", "-c", "300", "-i", "0.005", "-W", "1", b.IP).CombinedOutput()
		var lost float64
		for line := range strings.Lines(string(out)) {
			if before, _, ok := strings.Cut(line, "% packet loss"); ok {
				fmt.Sscan(before[strings.LastIndex(before, " ")+1:], &lost)
			}
		}
		if lost < 35 || lost > 65 { // 51 % of what passes twice
			t.Errorf("%v %% of the answers are lost, want about 51 %%:\n%s", lost, out)
		}
	})
	t.Run("slow", func(t *testing.T) {
		const megabyte = 1 << 20
		folder := t.TempDir()
		if err := os.WriteFile(filepath.Join(folder, "megabyte"), make([]byte, megabyte), 0o600); err != nil {
			t.Fatal(err)
		}
		b.Within(t).Slow(4e6)
		server := b.Inside("busybox", "httpd", "-f", "-p", "9000", "-h", folder)
		if err := server.Start(); err != nil {
			t.Fatal(err)
		}
		var took time.Duration
		Eventually(t, 30*time.Second, func() error {
			began := time.Now()
			out, err := a.Inside("curl", "-sSf", "-m", "20", "http://"+b.IP+":9000/megabyte").Output()
			if took = time.Since(began); err == nil && len(out) != megabyte {
				err = fmt.Errorf("%d bytes came", len(out))
			}
			return err
		})
		_ = server.Process.Kill()
		_ = server.Wait()
		if took < 1500*time.Millisecond || took > 6*time.Second {
			t.Errorf("a megabyte at 4 Mbit/s took %s, want about 2 s", took)
		}
	})
	if err := ping(a, b.IP); err != nil {
		t.Errorf("after all is healed: %v", err)
	}
}

// A test that is killed leaves nothing behind.
func TestGuardTakesDownASiteWhoseMakerWasKilled(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	child := exec.Command(self)
	child.Env = append(os.Environ(), childVariable+"=1")
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	folder, err := bufio.NewReader(out).ReadString('\n')
	folder = strings.TrimSpace(folder)
	if _, statErr := os.Stat(folder); err != nil || statErr != nil {
		t.Fatal(err, statErr)
	}
	if err := child.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_ = child.Wait()
	s := describe(folder, []string{"a", "b"})
	defer os.Remove(folder + ".left")
	Eventually(t, 20*time.Second, func() error {
		for _, path := range []string{folder, namespaceFile(s.lan), namespaceFile(s.Machines[0].Namespace), namespaceFile(s.Machines[1].Namespace)} {
			if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("%s is left: %v", path, err)
			}
		}
		return nil
	})
	if left := s.Machines[0].Processes(); len(left) > 0 {
		t.Errorf("processes are left: %v", left)
	}
}

func TestNamesFolder(t *testing.T) {
	for line, want := range map[string]bool{
		"airgap\x00server\x00--data-dir\x00/var/tmp/x/node-1\x00": true, "/var/tmp/x/node-1/data/airgap": true, "/var/tmp/x/node-1": true,
		"/var/tmp/x/node-10/a": false, "/var/tmp/x/node-10 /var/tmp/x/node-1": true, "": false,
	} {
		if got := namesFolder([]byte(line), "/var/tmp/x/node-1"); got != want {
			t.Errorf("%q: %v", line, got)
		}
	}
}

// What looks at the machine twice finds it unchanged, and sees each kind of trace that is left.
func TestTraces(t *testing.T) {
	n := New(t, "a")[0]
	before := n.Traces()
	if changes := n.Traces().Since(before); len(changes) > 0 {
		t.Errorf("without a change: %q", changes)
	}
	left := filepath.Join("/etc", filepath.Base(n.Paths.DataDir)+"-left")
	t.Cleanup(func() { os.Remove(left) })
	if err := os.WriteFile(left, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, command := range []string{
		"ip link add left0 type bridge", "ip rule add priority 77 table 77", "ip route add 10.98.0.0/24 dev eth0", "nft add table ip left",
		"echo 1 > /proc/sys/net/ipv4/ip_forward", "mount -t tmpfs left " + n.Paths.DataDir,
	} {
		MustOutput(t, n.Inside("sh", "-c", command))
	}
	sleep := n.Inside("sleep", "100")
	if err := sleep.Start(); err != nil {
		t.Fatal(err)
	}
	Eventually(t, Patience, func() error {
		if comm, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", sleep.Process.Pid)); string(comm) != "sleep\n" {
			return errors.New("it has not begun to sleep")
		}
		return nil
	})
	changes := strings.Join(n.Traces().Since(before), "\n")
	_ = sleep.Process.Kill()
	_ = sleep.Wait()
	if err := n.Unmount(); err != nil {
		t.Error(err)
	}
	MustOutput(t, exec.Command("umount", n.Paths.DataDir))
	for _, want := range []string{
		"new: file: " + left, "new: interface: left0", "new: rule: 77:", "new: route: 10.98.0.0/24", "new: firewall: table ip left",
		"new: kernel setting: net/ipv4/ip_forward:1", "gone: kernel setting: net/ipv4/ip_forward:0", " left rw", "new: process: sleep 100",
	} {
		if !strings.Contains(changes, want) {
			t.Errorf("not seen: %q in\n%s", want, changes)
		}
	}
}
