package main

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// machineFacts tells what the figures were measured on, as a line of Markdown.
func machineFacts(b *bench) (string, error) {
	memory, err := matchIn("/proc/meminfo", `MemTotal:\s+(\d+) kB`)
	if err != nil {
		return "", err
	}
	kib, err := strconv.ParseFloat(memory, 64)
	if err != nil {
		return "", err
	}
	kernel, err := matchIn("/proc/sys/kernel/osrelease", `(\S+)`)
	if err != nil {
		return "", err
	}
	load, err := matchIn("/proc/loadavg", `(\S+)`)
	if err != nil {
		return "", err
	}
	system, err := matchIn("/etc/os-release", `PRETTY_NAME="([^"]*)"`)
	if err != nil {
		system = "unknown system"
	}
	processor, err := matchIn("/proc/cpuinfo", `model name\s*: (.*)`)
	if err != nil {
		processor = runtime.GOARCH
	}
	disk, err := filesystemOf(b.work)
	if err != nil {
		return "", err
	}
	version, err := output(b.command(context.Background(), b.built("build/root/bin/airgap"), "version"))
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%s, %d cores (%s), %.1f GB of memory, %s, Linux %s, disk %s, load before the start %s. %s. Runs: %d. 1 MB is 10⁶ bytes.",
		time.Now().UTC().Format("2006-01-02"), runtime.NumCPU(), processor, kib*1024/1e9, system, kernel, disk, load,
		strings.Join(strings.Fields(strings.ReplaceAll(strings.TrimSpace(version), "\n", ", ")), " "), b.runs), nil
}

// matchIn returns the first group of a pattern's first match in a file.
func matchIn(path, pattern string) (string, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	match := regexp.MustCompile(pattern).FindSubmatch(text)
	if match == nil {
		return "", fmt.Errorf("%s has no %s", path, pattern)
	}
	return string(match[1]), nil
}

// filesystemOf returns type and device of the filesystem that a folder is on: "ext4 on /dev/vda".
func filesystemOf(folder string) (string, error) {
	var stat unix.Stat_t
	if err := unix.Stat(folder, &stat); err != nil {
		return "", err
	}
	device := fmt.Sprintf("%d:%d", unix.Major(stat.Dev), unix.Minor(stat.Dev))
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(mounts)) {
		// "36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw": proc_pid_mountinfo(5)
		before, after, _ := strings.Cut(line, " - ")
		fields, kind := strings.Fields(before), strings.Fields(after)
		if len(fields) > 2 && fields[2] == device && len(kind) > 1 {
			return kind[0] + " on " + kind[1], nil
		}
	}
	return "on device " + device, nil
}
