package site

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// Traces is what a node may leave on a machine, "kind: thing" in each line, sorted: processes, mounts, interfaces, addresses, routes, rules,
// firewall, control groups, kernel settings, files. Two of them that are equal are of a machine that has stayed as it was.
type Traces []string

// Traces looks at the machine. What a running node or another program on the host changes all the time is left out.
func (n *Node) Traces() (all Traces) {
	n.T.Helper()
	add := func(kind string, lines ...string) {
		for _, line := range lines {
			if line = strings.TrimSpace(line); line != "" && !n.others(line) {
				all = append(all, kind+": "+line)
			}
		}
	}
	for _, p := range n.Processes() {
		add("process", strings.Join(p.Args, " "))
	}
	for _, look := range []struct {
		kind    string
		command []string
		leave   string // out of each line
	}{
		{"mount", []string{"cat", "/proc/self/mountinfo"}, `^\d+ \d+ `},
		{"interface", []string{"ip", "-o", "link"}, `^\d+: `},
		{"address", []string{"ip", "-o", "address"}, `^\d+: |(valid|preferred)_lft \S+`},
		{"route", []string{"ip", "route", "show", "table", "all"}, ""},
		{"IPv6 route", []string{"ip", "-6", "route", "show", "table", "all"}, `expires \S+`},
		{"rule", []string{"ip", "rule"}, ""},
		{"IPv6 rule", []string{"ip", "-6", "rule"}, ""},
		{"firewall", []string{"nft", "list", "ruleset"}, ""},
		{"legacy firewall", []string{"sh", "-c", "cat /proc/net/ip_tables_names /proc/net/ip6_tables_names 2>/dev/null || true"}, ""},
		{"control group", []string{"find", "/sys/fs/cgroup", "-type", "d", "(", "-path", "*airgap*", "-o", "-path", "*kubepods*", ")"}, ""},
		{"kernel setting", []string{"sh", "-c", "grep -rsI '' /proc/sys || true"}, "^/proc/sys/"},
		{"module", []string{"sh", "-c", "cut -d' ' -f1 /proc/modules 2>/dev/null || true"}, ""},
	} {
		leave := regexp.MustCompile(look.leave)
		for line := range strings.Lines(MustOutput(n.T, n.Inside(look.command[0], look.command[1:]...))) {
			if !counting.MatchString(line) && !strings.Contains(line, linkLocal) {
				add(look.kind, leave.ReplaceAllString(line, ""))
			}
		}
	}
	add("file", n.files()...)
	slices.Sort(all)
	return all
}

// ofNodes are names that other nodes and sites of the host have in common with this machine's.
var ofNodes = regexp.MustCompile(`/airgap-[0-9a-f]{8}|/var/tmp/ag-[a-z]*-?\d+|/run/netns/[a-z0-9-]+|/run/airgap-network/\d+`)

// others says whether a line is of another node or site.
func (n *Node) others(line string) bool {
	name := ofNodes.FindString(line)
	return name != "" && name != "/"+n.Paths.ID && name != n.site.Folder && !strings.HasPrefix(name, "/run/netns/cni-")
}

// counting are the kernel's settings that are counters or clocks, and those that nobody set: they follow memory, or a process ID.
var counting = regexp.MustCompile(`^/proc/sys/(fs/(dentry-state|file-nr|inode-nr|inode-state|aio-nr|quota|binfmt_misc)|kernel/(random/|ns_last_pid|pty/nr|tainted)|net/netfilter/nf_conntrack_(count|buckets)|kernel/sched_domain|debug/)`)

// linkLocal is in the addresses that the kernel gives each interface, some seconds after it was made.
const linkLocal = " fe80::"

// places are the folders of a host that a node, or what it runs, might write to. Programs that packages bring are elsewhere.
var places = []string{"/boot", "/etc", "/mnt", "/opt", "/run", "/srv", "/usr/local", "/var"}

// elsewhere are folders in them that other programs change: temporary ones, and those of package managers, the journal and the init system.
var elsewhere = []string{"/var/tmp", "/var/cache", "/var/lib/apt", "/var/lib/dpkg", "/var/log/journal", "/var/log/apt", "/run/systemd", "/run/udev", "/run/lock"}

// files lists the names in /, and the files in all places of the host: with mode, those below /etc with what they hold.
func (n *Node) files() (list []string) {
	n.T.Helper()
	visit := func(path string, entry fs.DirEntry, err error) error {
		if slices.Contains(elsewhere, path) {
			return fs.SkipDir
		}
		if err != nil { // it has gone meanwhile
			return nil
		}
		info, err := entry.Info()
		if err != nil {
			return nil
		}
		line := fmt.Sprintf("%s %s", path, info.Mode())
		if strings.HasPrefix(path, "/etc/") && info.Mode().IsRegular() {
			if data, err := os.ReadFile(path); err == nil {
				line += fmt.Sprintf(" %x", sha256.Sum256(data))
			}
		}
		list = append(list, line)
		return nil
	}
	entries, err := os.ReadDir("/")
	for _, entry := range entries {
		list = append(list, "/"+entry.Name())
	}
	for _, place := range places {
		err = errors.Join(err, filepath.WalkDir(place, visit))
	}
	if err != nil {
		n.T.Error(err)
	}
	return list
}

// Since lists what is not as it was before: "gone" and "new" lines.
func (now Traces) Since(before Traces) (changes []string) {
	for _, line := range before {
		if _, found := slices.BinarySearch(now, line); !found {
			changes = append(changes, "gone: "+line)
		}
	}
	for _, line := range now {
		if _, found := slices.BinarySearch(before, line); !found {
			changes = append(changes, "new: "+line)
		}
	}
	return changes
}
