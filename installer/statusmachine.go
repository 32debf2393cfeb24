package installer

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"airgap/internal/hostinfo"
	"airgap/node/config"
)

// diskPatience bounds the time in which files are counted.
const diskPatience = 400 * time.Millisecond

// readDisk measures the data folder's file system and what the node has on it. What it could not read for lack of
// permission is the error, and not counted.
func readDisk(p config.Paths) (DiskStatus, error) {
	disk, err := hostinfo.DiskAt(p.DataDir)
	if err != nil {
		return DiskStatus{}, err
	}
	s := DiskStatus{FreeBytes: disk.FreeBytes, TotalBytes: disk.TotalBytes, ReadOnly: disk.ReadOnly}
	end := time.Now().Add(diskPatience)
	var failures []error
	// The small ones first: of images alone there may be more than there is time to count.
	for _, part := range []struct {
		bytes   *int64
		folders []string
	}{
		{&s.DatastoreBytes, []string{p.DB()}},
		{&s.LogsBytes, []string{p.PodLogs(), p.Log(), p.Log() + ".1"}},
		{&s.ImagesBytes, []string{p.Containerd()}},
	} {
		for _, folder := range part.folders {
			bytes, late, err := folderSize(folder, end)
			*part.bytes += bytes
			s.AtLeast = s.AtLeast || late
			failures = append(failures, err)
		}
	}
	return s, errors.Join(failures...)
}

// folderSize is what the files of a folder take on the disk, or the part of it that can be counted until end. A
// folder that does not exist takes nothing.
func folderSize(folder string, end time.Time) (bytes int64, late bool, err error) {
	err = filepath.WalkDir(folder, func(_ string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // it went away meanwhile
		}
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return nil
		}
		bytes += blocks(info)
		if entry.IsDir() && time.Now().After(end) {
			late = true
			return fs.SkipAll
		}
		return nil
	})
	return bytes, late, err
}

// roles are the node's own processes in the order of the screen.
var roles = []string{"server", "agent", "containerd", "shims", "supervise"}

// readMemory sums the memory of the node's processes, its pods' left out, by role.
func readMemory(host hostinfo.Host, p config.Paths) ([]ProcessStatus, error) {
	all, err := host.Processes()
	if err != nil {
		return nil, err
	}
	byRole := map[string]*ProcessStatus{}
	for _, process := range all {
		role := roleOf(host, p, process)
		if role == "" {
			continue
		}
		bytes, err := pss(host, process.PID)
		if errors.Is(err, fs.ErrNotExist) {
			continue // it has ended
		}
		if err != nil {
			return []ProcessStatus{}, err
		}
		if byRole[role] == nil {
			byRole[role] = &ProcessStatus{Role: role}
		}
		byRole[role].Count++
		byRole[role].PSSBytes += bytes
	}
	list := []ProcessStatus{}
	for _, role := range roles {
		if s := byRole[role]; s != nil {
			list = append(list, *s)
		}
	}
	return list, nil
}

// roleOf says which of the node's processes this is; empty for all others. A process of root's cannot be told
// from that of another node by others than root, but for its arguments.
func roleOf(host hostinfo.Host, p config.Paths, process hostinfo.Process) string {
	if len(process.Args) < 2 {
		return ""
	}
	exe, err := fs.ReadLink(host.FS, "proc/"+strconv.Itoa(process.PID)+"/exe")
	if err == nil && !hostinfo.Within(strings.TrimSuffix(exe, " (deleted)"), p.Versions()) {
		return ""
	}
	if err != nil && !slices.ContainsFunc(process.Args, func(arg string) bool {
		return hostinfo.Within(arg, p.DataDir) || hostinfo.Within(arg, p.Run())
	}) {
		return ""
	}
	switch {
	case strings.HasPrefix(filepath.Base(process.Args[0]), "containerd-shim"):
		return "shims"
	case slices.Contains(roles, process.Args[1]):
		return process.Args[1]
	}
	return ""
}

// pss is a process's proportional set size in bytes: its own pages, and its part of those it shares.
func pss(host hostinfo.Host, pid int) (int64, error) {
	path := "proc/" + strconv.Itoa(pid) + "/smaps_rollup"
	data, err := fs.ReadFile(host.FS, path)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(data)) {
		if rest, found := strings.CutPrefix(line, "Pss:"); found {
			kib, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 10, 64)
			return kib << 10, err
		}
	}
	return 0, fmt.Errorf("/%s has no Pss", path)
}

// blocks is what a file takes on the disk, in bytes; holes take nothing.
func blocks(info fs.FileInfo) int64 {
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		return stat.Blocks * 512 // the unit of st_blocks: stat(2)
	}
	return info.Size()
}
