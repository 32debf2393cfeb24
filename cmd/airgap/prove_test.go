package main

import (
	"os"
	"path/filepath"
	"sync"
	"testing"
)

// Builds that prove sweep what killed ones have left, but never what another has just made.
func TestProofFoldersAmongOthers(t *testing.T) {
	dir := t.TempDir()
	for _, left := range []string{"1", "2"} {
		if err := os.Mkdir(filepath.Join(dir, proofPrefix+left), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	var builds sync.WaitGroup
	for range 8 {
		builds.Go(func() {
			for range 100 {
				if err := sweepProofs(dir, os.RemoveAll); err != nil {
					t.Errorf("sweep: %v", err)
				}
				folder, lock, err := newProofFolder(dir)
				if err != nil {
					t.Errorf("folder: %v", err)
					continue
				}
				if err := os.Mkdir(filepath.Join(folder, "image"), 0o700); err != nil {
					t.Errorf("a folder that is held: %v", err)
				}
				if err := os.RemoveAll(folder); err != nil {
					t.Errorf("remove: %v", err)
				}
				lock.Close()
			}
		})
	}
	builds.Wait()
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}
