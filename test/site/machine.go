package site

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"airgap/node/config"
)

// Machine is one machine of a site.
type Machine struct {
	Name      string // of its node
	IP        string // of its eth0
	Namespace string // of its network, as `ip netns` names it
	Paths     config.Paths

	site *Site
	port string // of the bridge, where its cable ends
}

// Command prepares a command on the machine, in a process group of its own: it is asked to end when ctx ends, and
// killed if it does not. Unlike `ip netns exec`, nsenter leaves /sys as it is.
func (m *Machine) Command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := inNamespace(ctx, m.Namespace, name, args...)
	// Without a data folder of our own the packed executable would unpack to the host's.
	cmd.Env = append(os.Environ(), "AIRGAP_DATA_DIR="+m.Paths.DataDir, "COSIGN_PASSWORD=")
	return cmd
}

func inNamespace(ctx context.Context, namespace, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "nsenter", append([]string{"--net=" + namespaceFile(namespace), name}, args...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = 30 * time.Second
	return cmd
}

func namespaceFile(name string) string { return filepath.Join("/run/netns", name) }

// Dial connects from the machine to a numeric address. A socket belongs for good to the namespace of the thread that
// made it; the address is numeric and there is one, so package net makes it on this goroutine's.
func (m *Machine) Dial(ctx context.Context, network, address string) (conn net.Conn, err error) {
	err = visit(namespaceFile(m.Namespace), func() error {
		var err error
		conn, err = (&net.Dialer{}).DialContext(ctx, network, address)
		return err
	})
	return conn, err
}

// Process is one process of a machine.
type Process struct {
	PID  int
	Args []string // its command line
}

// Runs says whether the process is `airgap VERB`.
func (p Process) Runs(verb string) bool {
	return len(p.Args) > 1 && filepath.Base(p.Args[0]) == "airgap" && p.Args[1] == verb
}

// Processes lists what runs on the machine, its pods among it: all that names the machine's folders on its
// command line, is in the node's control group, or in the machine's network namespace.
func (m *Machine) Processes() []Process {
	own, _ := os.Stat(namespaceFile(m.Namespace))
	var list []Process
	folders, _ := filepath.Glob("/proc/[0-9]*")
	for _, folder := range folders {
		pid, err := strconv.Atoi(filepath.Base(folder))
		if err != nil || pid == os.Getpid() {
			continue
		}
		line, _ := os.ReadFile(filepath.Join(folder, "cmdline"))
		if len(line) == 0 {
			continue // it has ended, and its parent has not asked how
		}
		cgroup, _ := os.ReadFile(filepath.Join(folder, "cgroup"))
		namespace, _ := os.Stat(filepath.Join(folder, "ns/net"))
		if namesFolder(line, m.Paths.DataDir) || namesFolder(line, m.Paths.Run()) ||
			bytes.Contains(cgroup, []byte(m.Paths.CgroupRoot()+"/")) ||
			own != nil && namespace != nil && os.SameFile(own, namespace) {
			list = append(list, Process{PID: pid, Args: strings.Split(strings.TrimSuffix(string(line), "\x00"), "\x00")})
		}
	}
	return list
}

// namesFolder says whether a command line has the folder, or what is below it; a longer name is another one's.
func namesFolder(line []byte, folder string) bool {
	for {
		i := bytes.Index(line, []byte(folder))
		if i < 0 {
			return false
		}
		line = line[i+len(folder):]
		if len(line) == 0 || bytes.IndexByte([]byte("/\x00,: "), line[0]) >= 0 {
			return true
		}
	}
}

// Find returns the process of the machine that runs `airgap VERB`.
func (m *Machine) Find(verb string) (Process, error) {
	for _, p := range m.Processes() {
		if p.Runs(verb) {
			return p, nil
		}
	}
	return Process{}, fmt.Errorf("no airgap %s runs on %s", verb, m.Name)
}

// KillAll kills every process of the machine, as a power cut would, and waits for their end.
func (m *Machine) KillAll() error {
	end := time.Now().Add(20 * time.Second)
	for {
		left := m.Processes()
		if len(left) == 0 {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("%s: process %d was killed and is still there: %s", m.Name, left[0].PID, strings.Join(left[0].Args, " "))
		}
		for _, p := range left { // a fork bomb's, for one, start others meanwhile
			_ = syscall.Kill(p.PID, syscall.SIGKILL)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// Unmount unmounts what the machine's node has mounted.
func (m *Machine) Unmount() error {
	return errors.Join(unmountBelow(m.Paths.Run()), unmountBelow(m.Paths.DataDir))
}
