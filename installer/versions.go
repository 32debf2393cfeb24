package installer

import (
	"errors"
	"os"
	"path/filepath"
	"strings"

	"airgap/node/config"
)

// versionsInUse are the folders of the versions from which processes run: the node's own, and the monitors of pods that were started by
// an older one.
func versionsInUse(p config.Paths) (map[string]bool, error) {
	processes, err := filepath.Glob("/proc/[0-9]*/exe")
	if err != nil {
		return nil, err
	}
	used := map[string]bool{}
	for _, process := range processes {
		executable, err := os.Readlink(process)
		if err != nil {
			continue // it has ended, or is the kernel's
		}
		if rest, found := strings.CutPrefix(executable, p.Versions()+"/"); found {
			folder, _, _ := strings.Cut(rest, "/")
			used[folder] = true
		}
	}
	return used, nil
}

// pruneVersions removes the versions that nothing leads to any more: neither the one that runs nor the one before it, nor one that a trial
// or a process has.
func pruneVersions(p config.Paths) (removed int, err error) {
	keep, err := versionsInUse(p)
	if err != nil {
		return 0, err
	}
	for _, link := range []string{p.Current(), p.Previous()} {
		folder, err := versionAt(link)
		if err != nil {
			return 0, err
		}
		keep[folder] = true
	}
	for _, file := range []string{p.Trial(), provenPath(p)} {
		t, err := readTrial(file)
		if err != nil {
			return 0, err
		}
		if t != nil {
			keep[t.From.Folder], keep[t.To.Folder] = true, true
		}
	}
	entries, err := os.ReadDir(p.Versions())
	if err != nil {
		return 0, err
	}
	var errs []error
	for _, entry := range entries {
		if !entry.IsDir() || strings.HasPrefix(entry.Name(), ".") || keep[entry.Name()] {
			continue
		}
		errs = append(errs, os.RemoveAll(filepath.Join(p.Versions(), entry.Name())))
		removed++
	}
	return removed, errors.Join(errs...)
}
