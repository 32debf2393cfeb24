package importbench

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"airgap/test/site"
)

// diskBytes is the size of a disk, of which an import takes less than half. What is not written takes no space.
const diskBytes = 16 << 30

// disk is a disk that nothing was on before, with the file system that Debian's installer makes: ext4 with a journal, in a
// file that is written past the page cache. What was on the machine's own, and what has just been deleted there, then does
// not matter: without a journal ext4 steps over inodes that were freed a minute ago in each search for a free one
// (recently_deleted in fs/ext4/ialloc.c).
type disk struct {
	file   string
	device string // the loop device; "" if it is not attached
	root   string // where it is mounted; "" if it is not
}

// newDisk makes a disk in folder. The benchmark's end removes it, if remove has not.
func newDisk(b *testing.B, folder string) *disk {
	file, err := os.CreateTemp(folder, "disk-")
	if err != nil {
		b.Fatal(err)
	}
	d := &disk{file: file.Name()}
	b.Cleanup(func() { d.remove(b) })
	if err := errors.Join(file.Truncate(diskBytes), file.Close()); err != nil {
		b.Fatal(err)
	}
	// Without the "lazy" the kernel would go on making it in the minutes to come.
	site.MustOutput(b, exec.Command("mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0", d.file))
	d.device = strings.TrimSpace(site.MustOutput(b, exec.Command("losetup", "--find", "--show", "--direct-io=on", d.file)))
	mounted := filepath.Join(folder, "root")
	if err := os.MkdirAll(mounted, 0o700); err != nil {
		b.Fatal(err)
	}
	if err := unix.Mount(d.device, mounted, "ext4", 0, ""); err != nil {
		b.Fatalf("mount %s: %v", d.device, err)
	}
	d.root = mounted
	return d
}

// remove takes the disk out, once.
func (d *disk) remove(b *testing.B) {
	if d.root != "" {
		if err := unix.Unmount(d.root, unix.MNT_DETACH); err != nil {
			b.Errorf("unmount %s: %v", d.root, err)
		}
		d.root = ""
	}
	if d.device != "" {
		site.MustOutput(b, exec.Command("losetup", "--detach", d.device))
		d.device = ""
	}
	if err := os.Remove(d.file); err != nil && !errors.Is(err, os.ErrNotExist) {
		b.Error(err)
	}
}
