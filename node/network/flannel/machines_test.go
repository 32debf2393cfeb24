package flannel

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// What a machine of a test runs is this test's own executable, in the machine's network namespace, with the
// task in its environment.
const taskVariable = "FLANNEL_TEST_TASK"

func TestMain(m *testing.M) {
	switch os.Getenv(taskVariable) {
	case "":
		os.Exit(m.Run())
	case "node":
		exit(runNode(os.Args[1], os.Args[2]))
	case "greet":
		exit(greet(os.Args[1]))
	case "call":
		exit(call(os.Args[1]))
	}
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// settings are the options of a node in a test.
type settings struct {
	Node, Backend string
	Cluster       []netip.Prefix
	Addresses     []netip.Addr
	ConfDir       string
}

// runNode runs a node's pod network, as the agent does, with [settings] in JSON.
func runNode(socket, text string) error {
	var set settings
	if err := json.Unmarshal([]byte(text), &set); err != nil {
		return err
	}
	api, err := kubernetes.NewForConfig(&rest.Config{
		Host: "http://api", Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		},
	})
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	return Run(ctx, Options{
		API: api, Node: set.Node, Backend: set.Backend, Cluster: set.Cluster, Addresses: set.Addresses, IPv6Masq: true,
		Name: "test", ConfDir: set.ConfDir, StateDir: set.ConfDir,
		Ready: func() { fmt.Println("ready") },
	})
}

// greet tells each caller on a TCP port the address that it has here.
func greet(address string) error {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	fmt.Println("ready")
	for {
		conn, err := l.Accept()
		if err != nil {
			return err
		}
		fmt.Fprint(conn, netip.MustParseAddrPort(conn.RemoteAddr().String()).Addr().Unmap())
		conn.Close()
	}
}

func call(address string) error {
	conn, err := net.DialTimeout("tcp", address, 2*time.Second)
	if err != nil {
		return err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(2 * time.Second))
	_, err = io.Copy(os.Stdout, conn)
	return err
}

// machine is a network namespace.
type machine struct {
	t    *testing.T
	name string
}

func newMachine(t *testing.T, name string) machine {
	t.Helper()
	m := machine{t, fmt.Sprintf("fl%d%s", os.Getpid(), name)}
	run(t, "ip", "netns", "add", m.name)
	t.Cleanup(func() { _ = exec.Command("ip", "netns", "delete", m.name).Run() })
	m.ip("link set lo up")
	return m
}

// ip runs ip commands in the machine.
func (m machine) ip(commands ...string) {
	m.t.Helper()
	for _, c := range commands {
		run(m.t, "ip", append([]string{"-n", m.name}, strings.Fields(c)...)...)
	}
}

func (m machine) command(name string, args ...string) *exec.Cmd {
	return exec.Command("nsenter", append([]string{"--net=/run/netns/" + m.name, name}, args...)...)
}

func (m machine) run(name string, args ...string) string {
	m.t.Helper()
	return output(m.t, m.command(name, args...))
}

// task prepares a task of this executable in the machine.
func (m machine) task(task string, args ...string) *exec.Cmd {
	self, err := os.Executable()
	if err != nil {
		m.t.Fatal(err)
	}
	cmd := m.command(self, args...)
	cmd.Env = append(os.Environ(), taskVariable+"="+task,
		"WIREGUARD_KEY_FILE="+filepath.Join(m.t.TempDir(), "wireguard.key"))
	return cmd
}

// start starts a task that goes on, and returns when it says that it is ready.
func (m machine) start(task string, args ...string) (*exec.Cmd, error) {
	m.t.Helper()
	cmd := m.task(task, args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		m.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		m.t.Fatal(err)
	}
	ready := make(chan error, 1)
	go func() {
		_, err := io.ReadFull(stdout, make([]byte, len("ready\n")))
		ready <- err
	}()
	m.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if m.t.Failed() {
			m.t.Logf("%s on %s said:\n%s", task, m.name, stderr.String())
		}
	})
	select {
	case err = <-ready:
	case <-time.After(15 * time.Second):
		err = fmt.Errorf("%s on %s is not ready", task, m.name)
	}
	if err != nil {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		err = fmt.Errorf("%w: %s", err, stderr.String())
	}
	return cmd, err
}

// calledBy returns the address that the machine's callers are seen with, calling address.
func (m machine) calledBy(address string) (string, error) {
	out, err := m.task("call", address).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s calls %s: %w: %s", m.name, address, err, out)
	}
	return string(out), nil
}

// joined connects two machines by a cable, and returns when the addresses can be used.
func joined(a, b machine, interfaceA, interfaceB string) {
	a.ip("link add " + interfaceA + " type veth peer name " + interfaceB + " netns " + b.name)
	for _, end := range []struct {
		m    machine
		name string
	}{{a, interfaceA}, {b, interfaceB}} {
		// Otherwise an IPv6 address takes two seconds before it may be used.
		end.m.run("sh", "-c", "echo 0 > /proc/sys/net/ipv6/conf/"+end.name+"/accept_dad")
		end.m.ip("link set " + end.name + " up")
	}
}

func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	return output(t, exec.Command(name, args...))
}

func output(t *testing.T, cmd *exec.Cmd) string {
	t.Helper()
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(cmd.Args, " "), err, out)
	}
	return string(out)
}

// eventually repeats try until it returns nil.
func eventually(t *testing.T, try func() error) {
	t.Helper()
	end := time.Now().Add(10 * time.Second)
	for {
		err := try()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
		time.Sleep(100 * time.Millisecond)
	}
}
