package main

import (
	"path/filepath"
	"strings"
)

const defaultDataDir = "/var/lib/airgap"

// place is a folder that may hold the versions.
type place struct {
	dir      string
	fallback bool // for want of a better one: an error speaks of the first
}

// places returns where the tree may go, best first.
//
// Root's is <data-dir>/data, so that an installed node and the commands that somebody types
// share one copy. The data folder is the one on the command line, else AIRGAP_DATA_DIR, else
// /var/lib/airgap; only for that last one, which nobody chose, there is the cache folder to
// fall back to when it cannot be written. Everyone else has the cache folder.
func places(args []string, getenv func(string) string, uid int) []place {
	cache := place{dir: cacheDir(getenv), fallback: true}
	if uid != 0 {
		return []place{cache}
	}
	if dir := dataDir(args); dir != "" {
		return []place{{dir: versionsDir(dir)}}
	}
	if dir := getenv("AIRGAP_DATA_DIR"); dir != "" {
		return []place{{dir: versionsDir(dir)}}
	}
	return []place{{dir: versionsDir(defaultDataDir)}, cache}
}

func versionsDir(dataDir string) string {
	if abs, err := filepath.Abs(dataDir); err == nil {
		dataDir = abs
	}
	return filepath.Join(dataDir, "data")
}

// cacheDir is the user's, as the XDG base directory specification has it.
func cacheDir(getenv func(string) string) string {
	if dir := getenv("XDG_CACHE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "airgap", "data")
	}
	if home := getenv("HOME"); filepath.IsAbs(home) {
		return filepath.Join(home, ".cache", "airgap", "data")
	}
	return filepath.Join("/root", ".cache", "airgap", "data")
}

// clients are the commands whose arguments are not airgap's: -d means other things there.
var clients = map[string]bool{"kubectl": true, "ctr": true, "helm": true, "crictl": true}

// dataDir finds the data folder on the command line, as airgap itself will: --data-dir X,
// --data-dir=X, -d X, -d=X, before any "--".
func dataDir(args []string) string {
	if len(args) == 0 || clients[filepath.Base(args[0])] {
		return ""
	}
	args = args[1:]
	for i, arg := range args {
		if arg == "--" || i == 0 && clients[arg] {
			return ""
		}
		name, value, hasValue := strings.Cut(arg, "=")
		if name != "--data-dir" && name != "-d" {
			continue
		}
		if !hasValue && i+1 < len(args) {
			value = args[i+1]
		}
		return value
	}
	return ""
}
