package agent

import (
	"bufio"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// limits are what this host does not let us do, and to which the components adapt.
type limits struct {
	noResource bool // CAP_SYS_RESOURCE is missing: no process's oom_score_adj can be lowered
	cgroupV1   bool // the old hierarchy, or a mixed one
}

func detectLimits() (limits, error) {
	var l limits
	caps, err := effectiveCapabilities("/proc/self/status")
	if err != nil {
		return l, err
	}
	l.noResource = caps&(1<<unix.CAP_SYS_RESOURCE) == 0
	var fs unix.Statfs_t
	if err := unix.Statfs("/sys/fs/cgroup", &fs); err != nil {
		return l, &os.PathError{Op: "statfs", Path: "/sys/fs/cgroup", Err: err}
	}
	l.cgroupV1 = fs.Type != unix.CGROUP2_SUPER_MAGIC
	return l, nil
}

func (l limits) notes() []string {
	var notes []string
	if l.noResource {
		notes = append(notes, "CAP_SYS_RESOURCE is missing: OOM scores are left as they are")
	}
	if l.cgroupV1 {
		notes = append(notes, "cgroup v1: the kubelet is told to accept it")
	}
	return notes
}

// effectiveCapabilities reads the CapEff line of a /proc/<pid>/status file.
func effectiveCapabilities(file string) (uint64, error) {
	f, err := os.Open(file)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if value, ok := strings.CutPrefix(lines.Text(), "CapEff:"); ok {
			return strconv.ParseUint(strings.TrimSpace(value), 16, 64)
		}
	}
	return 0, lines.Err()
}
