package hostinfo

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
)

// Memory is that of the machine, in bytes.
type Memory struct {
	Total     int64
	Available int64 // for new programs without swapping, as the kernel estimates it
	Swap      int64 // all swap areas
}

// Memory reads /proc/meminfo (proc_meminfo(5)).
func (h Host) Memory() (Memory, error) {
	var m Memory
	fields := map[string]*int64{"MemTotal:": &m.Total, "MemAvailable:": &m.Available, "SwapTotal:": &m.Swap}
	err := h.lines("/proc/meminfo", func(f []string) error {
		if len(f) != 3 || f[2] != "kB" || fields[f[0]] == nil {
			return nil
		}
		kib, err := strconv.ParseInt(f[1], 10, 64)
		*fields[f[0]] = kib << 10
		return err
	})
	if err == nil && m.Total == 0 {
		err = errors.New("/proc/meminfo: no MemTotal line")
	}
	return m, err
}

// CPU is what the machine's processors are.
type CPU struct {
	Count    int
	Features []string // of the first: "sse4_2", "asimd"
}

// x86-64-v2 in the words of /proc/cpuinfo; the psABI for x86-64 defines the levels.
var x86v2 = []string{"cx16", "lahf_lm", "popcnt", "pni", "sse4_1", "sse4_2", "ssse3"}

// MissingV2 lists what an x86-64 processor lacks of the level x86-64-v2.
func (c CPU) MissingV2() []string {
	return slices.DeleteFunc(slices.Clone(x86v2), func(feature string) bool { return slices.Contains(c.Features, feature) })
}

// CPU reads /proc/cpuinfo.
func (h Host) CPU() (CPU, error) {
	var c CPU
	err := h.lines("/proc/cpuinfo", func(f []string) error {
		switch {
		case len(f) < 2:
		case f[0] == "processor" && f[1] == ":":
			c.Count++
		case (f[0] == "flags" || f[0] == "Features") && f[1] == ":" && c.Features == nil:
			c.Features = slices.Clone(f[2:])
		}
		return nil
	})
	if err == nil && c.Count == 0 {
		err = errors.New("/proc/cpuinfo: no processor")
	}
	return c, err
}

// Limits are those of the machine, and of this process, on what many programs use up.
type Limits struct {
	Files        int64 // open files of all processes, fs.file-max
	OpenFiles    int64 // that this process may raise its own limit to; -1: no limit
	Instances    int64 // inotify instances of one user
	Watches      int64 // inotify watches of one user
	ProcessIDs   int64 // kernel.pid_max
	EntropyBytes int64 // that the kernel's pool says it has
}

// Limits reads /proc/sys and /proc/self/limits.
func (h Host) Limits() (Limits, error) {
	var l Limits
	var errs []error
	for name, value := range map[string]*int64{
		"fs/file-max": &l.Files, "fs/inotify/max_user_instances": &l.Instances, "fs/inotify/max_user_watches": &l.Watches,
		"kernel/pid_max": &l.ProcessIDs, "kernel/random/entropy_avail": &l.EntropyBytes,
	} {
		err := h.lines("/proc/sys/"+name, func(f []string) (err error) {
			if len(f) > 0 {
				*value, err = strconv.ParseInt(f[0], 10, 64)
			}
			return err
		})
		if !errors.Is(err, fs.ErrNotExist) { // no inotify in the kernel
			errs = append(errs, err)
		}
	}
	l.EntropyBytes /= 8
	errs = append(errs, h.lines("/proc/self/limits", func(f []string) (err error) {
		if len(f) < 5 || f[0] != "Max" || f[1] != "open" || f[2] != "files" {
			return nil
		}
		if f[4] == "unlimited" {
			l.OpenFiles = -1
			return nil
		}
		if l.OpenFiles, err = strconv.ParseInt(f[4], 10, 64); err != nil {
			err = fmt.Errorf("open files: %w", err)
		}
		return err
	}))
	return l, errors.Join(errs...)
}
