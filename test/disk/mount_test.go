package disk

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// A file that was synced is there, whole, after each of many cuts; of those that were not, some are lost, or the disk would have no cache.
func TestMountedDiskKeepsWhatWasSynced(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounts need root")
	}
	folder := t.TempDir()
	image, at := filepath.Join(folder, "image"), filepath.Join(folder, "mounted")
	d := func() *Disk {
		if err := errors.Join(Blank(image, 256<<20), os.Mkdir(at, 0o755)); err != nil {
			t.Fatal(err)
		}
		d, err := New(image, folder, 7)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}()
	defer d.Close()
	var on *Mounted
	mount := func() {
		t.Helper()
		var err error
		if on, err = d.Mount(at, filepath.Join(folder, "served")); err != nil {
			t.Fatal(err)
		}
	}
	defer func() {
		if on != nil {
			_ = on.Unmount()
		}
	}()
	mount()
	var synced []string
	lost := 0
	for round := range 10 {
		var loose []string
		for i := range 20 {
			name := filepath.Join(at, fmt.Sprintf("file-%d-%d", round, i))
			file, err := os.Create(name)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := file.WriteString(content(name)); err != nil {
				t.Fatal(err)
			}
			if i%2 == 0 {
				err = file.Sync()
				synced = append(synced, name)
			} else {
				loose = append(loose, name)
			}
			if err := errors.Join(err, file.Close()); err != nil {
				t.Fatal(err)
			}
		}
		on.PowerOff()
		if err := on.Unmount(); err != nil {
			t.Fatal(err)
		}
		on = nil
		if _, _, err := d.Cut(); err != nil {
			t.Fatal(err)
		}
		mount()
		for _, name := range synced {
			if got, err := os.ReadFile(name); err != nil || string(got) != content(name) {
				t.Errorf("cut %d: %s was synced, and has %d bytes, %v", round+1, name, len(got), err)
			}
		}
		for _, name := range loose {
			if got, err := os.ReadFile(name); err != nil || !bytes.Equal(got, []byte(content(name))) {
				lost++
			}
		}
	}
	if lost == 0 {
		t.Error("no cut has lost anything")
	}
	t.Logf("%d files were synced, and are there; %d of 100 others are lost", len(synced), lost)

	err := on.Unmount()
	on = nil
	if err != nil {
		t.Error(err)
	}
	if err := unix.Unmount(filepath.Join(folder, "served"), 0); !errors.Is(err, unix.EINVAL) {
		t.Errorf("something is still mounted: %v", err)
	}
}

// content is what a file is given: 20 kB that tell it from others.
func content(name string) string {
	return string(bytes.Repeat([]byte(filepath.Base(name)+"\n"), 20_000/len(filepath.Base(name))))
}
