// Package site makes machines for tests and measurements that run real nodes. A machine is a network
// namespace and a data folder of its own; the machines of one site are joined by a bridge, which has no way out. What a
// program does not take down itself, because it was killed, a process that outlives it does.
//
// # What machines on one kernel share
//
// Each has its own addresses, ports, interfaces (cni0, flannel.1), nft tables and conntrack table, for those are a network
// namespace's, and, because its data folder is not the default one, its own run folder, control group and configuration
// files. The host's name is the same for all, so each node gets its name by --node-name. So are the machine ID, the SSH host
// keys, the clock, and the kernel's memory, disk and processors. In common, too, are folders that upstream's code
// writes to whatever it is told: /run/containerd/s, /run/containerd/runc, /var/lib/cni, /run/netns.
package site

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"airgap/node/config"
)

const (
	// Folders lie here and not in /tmp, which is memory on many machines; and their names are short, for the data folder's
	// are limited (node/config).
	folders = "/var/tmp"
	prefix  = "ag-"

	network = "10.99.0."
	// OutsideIP is the address of the LAN's own namespace: of a machine on the LAN that is no node.
	OutsideIP = network + "254"
)

// Site is some machines on one LAN.
type Site struct {
	Folder   string // of everything that the machines keep; it goes with the site
	Machines []*Machine

	lan   string // network namespace of the bridge
	guard *guard
}

// Make makes a site of machines with these names, which are those of their nodes; the first has the address
// 10.99.0.1, the second 10.99.0.2. Remove takes it down.
func Make(names ...string) (*Site, error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("network namespaces are made and real nodes installed: run this as root")
	}
	folder, err := os.MkdirTemp(folders, prefix)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(folder, 0o711); err != nil { // what a node lets others than root see is below it
		return nil, err
	}
	s := describe(folder, names)
	if s.guard, err = startGuard(folder, names); err != nil {
		return nil, errors.Join(err, os.Remove(folder))
	}
	if err := s.cable(); err != nil {
		return nil, errors.Join(err, s.Remove())
	}
	return s, nil
}

// describe says what a site is made of, without making it.
func describe(folder string, names []string) *Site {
	base := filepath.Base(folder)
	s := &Site{Folder: folder, lan: base + "-lan"}
	for i, name := range names {
		s.Machines = append(s.Machines, &Machine{
			Name: name, IP: network + fmt.Sprint(i+1), Namespace: base + "-" + name,
			Paths: config.PathsOf(filepath.Join(folder, name)), site: s, port: fmt.Sprintf("port%d", i+1),
		})
	}
	return s
}

// cable makes the namespaces, the bridge, and a cable from each machine's eth0 to a port of the bridge.
func (s *Site) cable() error {
	lan := func(args ...string) []string { return append([]string{"-n", s.lan}, args...) }
	commands := [][]string{
		{"netns", "add", s.lan},
		lan("link", "set", "lo", "up"),
		lan("link", "add", "lan", "type", "bridge"),
		lan("address", "add", OutsideIP+"/24", "dev", "lan"),
		lan("link", "set", "lan", "up"),
	}
	for _, m := range s.Machines {
		if err := os.Mkdir(m.Paths.DataDir, 0o700); err != nil {
			return err
		}
		in := func(args ...string) []string { return append([]string{"-n", m.Namespace}, args...) }
		commands = append(commands, []string{"netns", "add", m.Namespace},
			in("link", "set", "lo", "up"),
			in("link", "add", "eth0", "type", "veth", "peer", "name", m.port, "netns", s.lan),
			in("address", "add", m.IP+"/24", "dev", "eth0"),
			in("link", "set", "eth0", "up"),
			lan("link", "set", m.port, "master", "lan"),
			lan("link", "set", m.port, "up"),
		)
	}
	for _, args := range commands {
		if _, err := Output(exec.Command("ip", args...)); err != nil {
			return err
		}
	}
	return nil
}

// Outside prepares a command on the LAN's own namespace: a machine at OutsideIP that is no node.
func (s *Site) Outside(ctx context.Context, name string, args ...string) *exec.Cmd {
	return inNamespace(ctx, s.lan, name, args...)
}

// Remove uninstalls what is installed on the machines and takes them down, whatever runs there.
func (s *Site) Remove() error {
	var failures []error
	for i := len(s.Machines) - 1; i >= 0; i-- { // agents before their server
		failures = append(failures, s.Machines[i].uninstall())
	}
	for _, m := range s.Machines {
		failures = append(failures, m.clear())
	}
	failures = append(failures, removeNamespace(s.lan), RemoveAll(s.Folder))
	if s.guard != nil {
		failures = append(failures, s.guard.dismiss())
	}
	return errors.Join(failures...)
}

// Built is the path of what the Makefile has built, in the checkout that the program runs in.
func Built(path string) string {
	dir, err := os.Getwd()
	if err != nil {
		panic(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return filepath.Join(dir, path)
		}
		if dir == filepath.Dir(dir) {
			panic("this program needs to run in a checkout of airgap")
		}
		dir = filepath.Dir(dir)
	}
}

// Output runs a command and returns its standard output; an error carries what it said.
func Output(cmd *exec.Cmd) (string, error) {
	var stdout, stderr strings.Builder
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.String(), fmt.Errorf("%s: %w\n%s%s", strings.Join(cmd.Args, " "), err, stdout.String(), stderr.String())
	}
	return stdout.String(), nil
}
