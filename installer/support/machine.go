package support

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"airgap/internal/hostinfo"
	"airgap/node/kernel"
)

// show prints a file under its name; one that is not there is said to be so.
func show(w io.Writer, path string) error {
	fmt.Fprintf(w, "==> %s\n", path)
	f, err := os.Open(path)
	if err != nil {
		fmt.Fprintf(w, "%v\n\n", err)
		return nil
	}
	defer f.Close()
	_, err = io.Copy(w, io.LimitReader(f, maxFileBytes))
	fmt.Fprintln(w)
	return err
}

func (o *Options) system(w io.Writer) error {
	now := time.Now()
	fmt.Fprintf(w, "clock  %s (local %s)\n\n", now.UTC().Format(time.RFC3339), now.Format(time.RFC3339))
	files := []string{"/etc/os-release", "/proc/version", "/proc/cmdline", "/proc/uptime", "/proc/loadavg", "/proc/meminfo", "/proc/swaps",
		"/proc/pressure/cpu", "/proc/pressure/memory", "/proc/pressure/io", "/proc/sys/kernel/tainted", "/proc/cpuinfo", "/sys/class/dmi/id/sys_vendor", "/sys/class/dmi/id/product_name"}
	for _, path := range files {
		if err := show(w, path); err != nil {
			return err
		}
	}
	return nil
}

func (o *Options) disks(w io.Writer) error {
	mounts, err := o.Host.Mounts()
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "%-9s %9s %9s %5s %10s  %s\n", "type", "MB", "free MB", "full", "inodes left", "mount")
	seen := map[string]bool{}
	for _, m := range mounts {
		if seen[m.Point] || strings.Contains(m.Point, "/kubelet/pods/") || m.Type == "overlay" || m.Type == "nsfs" {
			continue
		}
		seen[m.Point] = true
		var s unix.Statfs_t
		if err := statfs(m.Point, &s); err != nil {
			fmt.Fprintf(w, "%-9s %s: %v\n", m.Type, m.Point, err)
			continue
		}
		if s.Blocks == 0 {
			continue
		}
		size, free := s.Blocks*uint64(s.Bsize)/1e6, s.Bavail*uint64(s.Bsize)/1e6
		fmt.Fprintf(w, "%-9s %9d %9d %4d%% %10d  %s\n", m.Type, size, free, 100-100*s.Bavail/s.Blocks, s.Ffree, m.Point)
	}
	fmt.Fprintln(w)
	for _, path := range []string{"/proc/partitions", "/proc/diskstats", "/proc/mdstat"} {
		if err := show(w, path); err != nil {
			return err
		}
	}
	return nil
}

// statfs gives up on a file system that does not answer, such as that of a stick that was pulled out.
func statfs(path string, s *unix.Statfs_t) error {
	done := make(chan error, 1)
	go func() {
		var mine unix.Statfs_t
		err := unix.Statfs(path, &mine)
		if err == nil {
			*s = mine
		}
		done <- err
	}()
	select {
	case err := <-done:
		return err
	case <-time.After(3 * time.Second):
		return errors.New("does not answer")
	}
}

func kernelSettings(w io.Writer) error {
	for _, s := range kernel.Settings {
		data, err := os.ReadFile(filepath.Join(kernel.Root, filepath.FromSlash(strings.ReplaceAll(s.Name, ".", "/"))))
		value := strings.TrimSpace(string(data))
		if err != nil {
			value = "not there"
		}
		remark := ""
		if value != s.Value {
			remark = "  (wanted: " + s.Value + ": " + s.Why + ")"
		}
		fmt.Fprintf(w, "%s = %s%s\n", s.Name, value, remark)
	}
	return nil
}

// processes lists all processes. What others' were started with may be secret, and is left out.
func (o *Options) processes(w io.Writer) error {
	all, err := o.Host.Processes()
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "%7s %7s %s %9s %-16s %s\n", "pid", "parent", "s", "RSS kB", "name", "arguments of the node's own")
	for _, p := range all {
		data, err := fs.ReadFile(o.Host.FS, fmt.Sprintf("proc/%d/status", p.PID))
		if err != nil {
			continue // it has ended
		}
		fields := map[string]string{}
		for line := range strings.Lines(string(data)) {
			if name, value, found := strings.Cut(line, ":"); found {
				fields[name] = strings.TrimSpace(value)
			}
		}
		state, _, _ := strings.Cut(fields["State"], " ")
		arguments := ""
		exe, err := fs.ReadLink(o.Host.FS, fmt.Sprintf("proc/%d/exe", p.PID))
		if err == nil && hostinfo.Within(strings.TrimSuffix(exe, " (deleted)"), o.paths.Versions()) {
			arguments = strings.Join(p.Args, " ")
		}
		fmt.Fprintf(w, "%7d %7s %s %9s %-16s %s\n", p.PID, fields["PPid"], state, strings.TrimSuffix(fields["VmRSS"], " kB"), p.Name, arguments)
	}
	return nil
}

// controlGroups shows what the node's control groups use, and what was killed in them.
func (o *Options) controlGroups(w io.Writer) error {
	mounts, err := o.Host.Mounts()
	if err != nil {
		return err
	}
	for _, point := range o.Host.Cgroups(mounts).Hierarchies() {
		root := filepath.Join(point, o.paths.CgroupRoot())
		_ = filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
			if err != nil || !entry.IsDir() {
				return nil
			}
			fmt.Fprintln(w, path)
			for _, name := range []string{"memory.current", "memory.max", "memory.events", "memory.usage_in_bytes", "memory.failcnt", "pids.current", "pids.max", "cpu.stat"} {
				if data, err := os.ReadFile(filepath.Join(path, name)); err == nil {
					fmt.Fprintf(w, "  %-16s %s\n", name, strings.Join(strings.Fields(string(data)), " "))
				}
			}
			return nil
		})
	}
	return nil
}

// maxListed bounds the list of the node's files.
const maxListed = 5000

// listing lists the node's files. What containerd and volumes hold is too much, and somebody else's.
func (o *Options) listing(w io.Writer) error {
	n := 0
	skip := []string{o.paths.Containerd(), o.paths.Kubelet(), o.paths.Storage(), o.paths.PodLogs(), filepath.Join(o.paths.Bundles(), "blobs")}
	return filepath.WalkDir(o.paths.DataDir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			fmt.Fprintln(w, err)
			return nil
		}
		info, err := entry.Info()
		if err != nil {
			return nil
		}
		link, _ := os.Readlink(path)
		if link != "" {
			link = " -> " + link
		}
		fmt.Fprintf(w, "%s %12d %s %s%s\n", info.Mode(), info.Size(), info.ModTime().UTC().Format(time.RFC3339), path, link)
		if entry.IsDir() && slices.Contains(skip, path) {
			return fs.SkipDir
		}
		if n++; n > maxListed {
			fmt.Fprintln(w, "…")
			return fs.SkipAll
		}
		return nil
	})
}

// kernelLog reads the kernel's ring buffer, which needs no tool of the host (klogctl(3)).
func kernelLog(w io.Writer) error {
	const readAll, bufferSize = 3, 10
	size, err := unix.Klogctl(bufferSize, nil)
	if err != nil {
		return fmt.Errorf("kernel log: %w", err)
	}
	buffer := make([]byte, size)
	n, err := unix.Klogctl(readAll, buffer)
	if err != nil {
		return fmt.Errorf("kernel log: %w", err)
	}
	_, err = w.Write(buffer[:n])
	return err
}

func addresses(w io.Writer) error {
	links, err := net.Interfaces()
	if err != nil {
		return err
	}
	for _, link := range links {
		fmt.Fprintf(w, "%d %s %s mtu %d %s\n", link.Index, link.Name, link.HardwareAddr, link.MTU, link.Flags)
		list, err := link.Addrs()
		if err != nil {
			fmt.Fprintf(w, "    %v\n", err)
		}
		for _, address := range list {
			fmt.Fprintf(w, "    %s\n", address)
		}
	}
	return nil
}

func (o *Options) listeners(w io.Writer) error {
	all, err := o.Host.Listeners()
	if err != nil {
		return err
	}
	for _, l := range all {
		fmt.Fprintln(w, l.Address)
	}
	return nil
}
