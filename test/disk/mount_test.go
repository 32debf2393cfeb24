package disk

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// attached makes a disk with an empty file system, and what mounts it; at the end of the test neither is there.
func attached(t *testing.T) (*Attached, func() *Mounted) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("mounts need root")
	}
	folder := t.TempDir()
	image, at := filepath.Join(folder, "image"), filepath.Join(folder, "mounted")
	if err := errors.Join(Blank(image, 256<<20), os.Mkdir(at, 0o755)); err != nil {
		t.Fatal(err)
	}
	d, err := Attach(image, folder, 7)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d, func() *Mounted {
		t.Helper()
		on, err := d.Mount(at, filepath.Join(folder, "served"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = on.Unmount() }) // of a test that failed
		return on
	}
}

// A file system that its own reader serves stops both for good, if garbage is collected while a page of a mapped file is on its way.
func TestMountedDiskIsMapped(t *testing.T) {
	_, mount := attached(t)
	on := mount()
	const size = 64 << 20
	name := filepath.Join(on.folder, "file")
	if err := os.WriteFile(name, bytes.Repeat([]byte{'x'}, size), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := on.Unmount(); err != nil { // the kernel forgets what it holds of the file
		t.Fatal(err)
	}
	mount()
	file, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	data, err := unix.Mmap(int(file.Fd()), 0, size, unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Munmap(data) }()
	end := make(chan struct{})
	go func() {
		defer close(end)
		for at := 0; at < size; at += blockBytes {
			if data[at] != 'x' {
				t.Errorf("byte %d is %q", at, data[at])
			}
		}
	}()
	for {
		select {
		case <-end:
			return
		default:
			runtime.GC()
		}
	}
}

// A file that was synced is there, whole, after each of many cuts; of those that were not, some are lost, or the disk would have no cache.
func TestMountedDiskKeepsWhatWasSynced(t *testing.T) {
	d, mount := attached(t)
	on := mount()
	at := on.folder
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
		if err := errors.Join(on.PowerOff(), on.Unmount()); err != nil {
			t.Fatal(err)
		}
		if _, _, err := d.Cut(); err != nil {
			t.Fatal(err)
		}
		on = mount()
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

	if err := on.Unmount(); err != nil {
		t.Error(err)
	}
	if err := unix.Unmount(on.served, 0); !errors.Is(err, unix.EINVAL) {
		t.Errorf("something is still mounted: %v", err)
	}
}

// content is what a file is given: 20 kB that tell it from others.
func content(name string) string {
	return string(bytes.Repeat([]byte(filepath.Base(name)+"\n"), 20_000/len(filepath.Base(name))))
}
