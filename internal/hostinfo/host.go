// Package hostinfo finds out what the machine it runs on is and can do, without changing
// it: mounts, control groups, memory, listening ports, addresses, processes, and
// whether the kernel really has the features that a Kubernetes node needs.
//
// What can be read is read below a file system root that is handed in ([Host.FS]), so
// that tests can describe any machine. What only the kernel can answer is tried, in
// namespaces of its own that vanish with the attempt (probe.go).
package hostinfo

import (
	"bufio"
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
)

// Host reads facts below FS, the root folder of a machine.
type Host struct {
	FS fs.FS
}

// This is the machine that the process runs on.
func This() Host { return Host{FS: os.DirFS("/")} }

// Exists says whether there is something at the absolute path name.
func (h Host) Exists(name string) bool {
	_, err := fs.Stat(h.FS, rel(name))
	return err == nil
}

// MissingTools returns those of names that are in none of the usual folders of programs.
func (h Host) MissingTools(names ...string) []string {
	return slices.DeleteFunc(slices.Clone(names), func(name string) bool {
		for _, dir := range []string{"/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"} {
			if h.Exists(path.Join(dir, name)) {
				return true
			}
		}
		return false
	})
}

// SELinuxEnforcing says whether SELinux denies what its policy does not allow.
func (h Host) SELinuxEnforcing() bool {
	data, err := fs.ReadFile(h.FS, "sys/fs/selinux/enforce")
	return err == nil && strings.TrimSpace(string(data)) == "1"
}

// Systemd says whether systemd is the running service manager (sd_booted(3)).
func (h Host) Systemd() bool { return h.Exists("/run/systemd/system") }

// OpenRC says whether OpenRC is the running service manager: it keeps its state there.
func (h Host) OpenRC() bool { return h.Exists("/run/openrc/softlevel") }

// Process is a running process.
type Process struct {
	PID  int
	Name string   // comm, at most 15 bytes
	Args []string // argv; empty for a kernel thread
}

// Processes lists the processes of this PID namespace, by rising PID.
func (h Host) Processes() ([]Process, error) {
	entries, err := fs.ReadDir(h.FS, "proc")
	if err != nil {
		return nil, err
	}
	var all []Process
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		if p, err := h.Process(pid); err == nil {
			all = append(all, p)
		} // else it has ended meanwhile
	}
	slices.SortFunc(all, func(a, b Process) int { return a.PID - b.PID })
	return all, nil
}

// Process reads one process; the error is [fs.ErrNotExist] if it has ended.
func (h Host) Process(pid int) (Process, error) {
	dir := "proc/" + strconv.Itoa(pid)
	comm, err := fs.ReadFile(h.FS, dir+"/comm")
	if err != nil {
		return Process{}, err
	}
	p := Process{PID: pid, Name: strings.TrimSpace(string(comm))}
	cmdline, err := fs.ReadFile(h.FS, dir+"/cmdline")
	if err != nil {
		return Process{}, err
	}
	for arg := range bytes.SplitSeq(bytes.TrimSuffix(cmdline, []byte{0}), []byte{0}) {
		p.Args = append(p.Args, string(arg))
	}
	if len(cmdline) == 0 {
		p.Args = nil
	}
	return p, nil
}

// NetworkNamespace names the network namespace of a process, as in "net:[4026531840]".
// The name is unique on the machine.
func (h Host) NetworkNamespace(pid int) (string, error) {
	return fs.ReadLink(h.FS, "proc/"+strconv.Itoa(pid)+"/ns/net")
}

// rel turns an absolute path into one for an [fs.FS].
func rel(name string) string {
	name = strings.TrimPrefix(path.Clean(name), "/")
	if name == "" {
		return "."
	}
	return name
}

// lines calls f with the fields of each line of a file.
func (h Host) lines(name string, f func(fields []string) error) error {
	file, err := h.FS.Open(rel(name))
	if err != nil {
		return err
	}
	defer file.Close()
	scanner := bufio.NewScanner(file)
	scanner.Buffer(nil, 1<<20)
	for n := 1; scanner.Scan(); n++ {
		if err := f(strings.Fields(scanner.Text())); err != nil {
			return fmt.Errorf("%s:%d: %w", name, n, err)
		}
	}
	if err := scanner.Err(); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}
