package main

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
)

const mostExecutableMB = 100

// benchSize weighs the executable, packed and unpacked.
func benchSize(_ context.Context, b *bench) error {
	executable, err := os.Stat(b.built(packed))
	if err != nil {
		return err
	}
	system, err := os.Stat(b.built("dist/system.airgap"))
	if err != nil {
		return err
	}
	unpacked, err := treeMB(b.built("build/root"))
	if err != nil {
		return err
	}
	packedMB := float64(executable.Size()) / 1e6
	rows := [][]string{
		{"`bin/airgap`", quantity(packedMB, "MB")},
		{"what it unpacks to (`build/root`)", quantity(unpacked, "MB")},
	}
	entries, err := os.ReadDir(b.built("build/root/bin"))
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if info, err := entry.Info(); err == nil && info.Size() > 1e6 {
			rows = append(rows, []string{"of it `bin/" + entry.Name() + "`", quantity(float64(info.Size())/1e6, "MB")})
		}
	}
	rows = append(rows, []string{"`dist/system.airgap`: the executable and the system images", quantity(float64(system.Size())/1e6, "MB")})
	printTable([]string{"What", "Size"}, rows)
	b.hold("`bin/airgap`", packedMB, mostExecutableMB, "MB")
	return nil
}

// treeMB is the size of all files under a folder.
func treeMB(root string) (total float64, err error) {
	err = filepath.WalkDir(root, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			total += float64(info.Size()) / 1e6
		}
		return err
	})
	return total, err
}
