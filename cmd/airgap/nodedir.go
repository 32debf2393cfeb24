package main

import (
	"os"
	"path/filepath"

	"airgap/node/config"
)

// nodeDataDir is the data folder of the node that the clients are about: the one given by
// the environment, or the one this executable was installed under, or the default.
func nodeDataDir() string {
	if dir := os.Getenv("AIRGAP_DATA_DIR"); dir != "" {
		return dir
	}
	if self, err := os.Executable(); err == nil {
		// <data folder>/data/<digest>/bin/airgap
		if versions := filepath.Dir(filepath.Dir(filepath.Dir(self))); filepath.Base(versions) == "data" {
			dir := filepath.Dir(versions)
			if _, err := os.Lstat(config.PathsOf(dir).Current()); err == nil {
				return dir
			}
		}
	}
	return config.DefaultDataDir
}

// toolsFolder is where the executables that come with this one are, once it is unpacked; empty if nobody knows.
func toolsFolder() string {
	self, err := os.Executable()
	if err != nil {
		return ""
	}
	return filepath.Dir(self)
}
