package disk

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// requestBytes is the most that the kernel reads or writes at once; with its header it fits into a pipe.
const requestBytes = 512 << 10

// unmountPatience is for the last process that has something open to be gone.
const unmountPatience = 30 * time.Second

// Mounted is a disk that this host uses: a file in a FUSE file system that this process serves, a loop device over that
// file, and the file system of the disk, which the kernel has mounted from there. What the kernel writes and flushes reaches the disk as a
// real one would get it. A process that dies with a disk mounted leaves the mount, without a disk: every access fails.
type Mounted struct {
	disk   *Disk
	folder string // where the disk's file system is
	served string // where FUSE's is
	server *fuse.Server
	off    atomic.Bool
}

// Mount mounts the file system that is on the disk on a folder. What serves it is kept in another folder, made for it.
func (d *Disk) Mount(folder, served string) (*Mounted, error) {
	m := &Mounted{disk: d, folder: folder, served: served}
	if err := os.MkdirAll(served, 0o700); err != nil {
		return nil, err
	}
	// By hand: what go-fuse opens is inherited by every program that this process starts, and the disk would outlive its server.
	fd, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("open /dev/fuse", err)
	}
	options := fmt.Sprintf("fd=%d,rootmode=%o,user_id=0,group_id=0,max_read=%d", fd, unix.S_IFDIR, requestBytes)
	if err := unix.Mount("disk", served, "fuse.disk", unix.MS_NOSUID|unix.MS_NODEV, options); err != nil {
		return nil, errors.Join(os.NewSyscallError("mount FUSE", err), unix.Close(fd))
	}
	m.server, err = fs.Mount(fmt.Sprintf("/dev/fd/%d", fd), &root{m: m}, &fs.Options{MountOptions: fuse.MountOptions{MaxWrite: requestBytes, DisableXAttrs: true}})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("serving the disk in %s: %w", served, err), patiently(served))
	}
	if err := run("mount", "-t", "ext4", "-o", "loop,noinit_itable", filepath.Join(served, fileName), folder); err != nil {
		return nil, errors.Join(err, m.stop())
	}
	return m, nil
}

// PowerOff makes the disk what it is when its power goes: from now on nothing that is written reaches it, or its cache, any more, though it says so. [Mounted.Unmount]
// and [Disk.Cut] come next.
func (m *Mounted) PowerOff() { m.off.Store(true) }

// Unmount unmounts the disk's file system once nobody has anything open on it.
func (m *Mounted) Unmount() error {
	return errors.Join(patiently(m.folder), m.stop())
}

// stop ends FUSE, which the loop device holds for a moment longer than its file system is mounted.
func (m *Mounted) stop() error {
	err := patiently(m.served)
	if err == nil {
		m.server.Wait()
	}
	return err
}

func patiently(folder string) error {
	for end := time.Now().Add(unmountPatience); ; time.Sleep(50 * time.Millisecond) {
		err := unix.Unmount(folder, 0)
		if err == nil || !errors.Is(err, unix.EBUSY) {
			return os.NewSyscallError("unmount "+folder, err)
		}
		if time.Now().After(end) {
			return fmt.Errorf("unmount %s: %w; %s", folder, err, holders(folder))
		}
		runtime.GC() // closes what this process has forgotten to: containerd's content store leaves the file of its look for fs-verity open
	}
}

// holders tells which processes have something of a folder open or mounted.
func holders(folder string) string {
	var list []string
	links, _ := filepath.Glob("/proc/[0-9]*/*") // cwd, exe, root
	files, _ := filepath.Glob("/proc/[0-9]*/fd/*")
	for _, link := range append(links, files...) {
		if to, err := os.Readlink(link); err == nil && strings.HasPrefix(to, folder) {
			list = append(list, link+" → "+to)
		}
	}
	own, _ := os.Readlink("/proc/self/ns/mnt")
	tables, _ := filepath.Glob("/proc/[0-9]*/maps")
	others, _ := filepath.Glob("/proc/[0-9]*/mountinfo")
	for _, table := range append(tables, others...) {
		text, err := os.ReadFile(table)
		if err != nil || !strings.Contains(string(text), folder) {
			continue
		}
		if namespace, _ := os.Readlink(filepath.Join(filepath.Dir(table), "ns/mnt")); filepath.Base(table) == "mountinfo" && namespace == own {
			continue
		}
		list = append(list, table)
	}
	if len(list) == 0 {
		return "nobody has it open"
	}
	return "held by " + strings.Join(list[:min(len(list), 30)], ", ")
}

// fileName is the one file of the FUSE file system: the disk's bytes.
const fileName = "disk"

type root struct {
	fs.Inode
	m *Mounted
}

func (r *root) OnAdd(ctx context.Context) {
	r.AddChild(fileName, r.NewPersistentInode(ctx, &file{m: r.m}, fs.StableAttr{Mode: unix.S_IFREG}), false)
}

type file struct {
	fs.Inode
	m *Mounted
}

// Open leaves the kernel no cache of the file: what is not on the disk is in the disk's own.
func (f *file) Open(context.Context, uint32) (fs.FileHandle, uint32, syscall.Errno) {
	return nil, fuse.FOPEN_DIRECT_IO, fs.OK
}

func (f *file) Getattr(_ context.Context, _ fs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	out.Mode, out.Size = unix.S_IFREG|0o600, uint64(f.m.disk.size)
	return fs.OK
}

func (f *file) Read(_ context.Context, _ fs.FileHandle, into []byte, off int64) (fuse.ReadResult, syscall.Errno) {
	if into = into[:max(0, min(int64(len(into)), f.m.disk.size-off))]; len(into) == 0 {
		return fuse.ReadResultData(nil), fs.OK
	}
	if _, err := f.m.disk.ReadAt(into, off); err != nil {
		return nil, unix.EIO
	}
	return fuse.ReadResultData(into), fs.OK
}

func (f *file) Write(_ context.Context, _ fs.FileHandle, data []byte, off int64) (uint32, syscall.Errno) {
	if f.m.off.Load() {
		return uint32(len(data)), fs.OK
	}
	if _, err := f.m.disk.WriteAt(data, off); err != nil {
		return 0, unix.EIO
	}
	return uint32(len(data)), fs.OK
}

func (f *file) Fsync(context.Context, fs.FileHandle, uint32) syscall.Errno {
	if f.m.off.Load() {
		return fs.OK
	}
	if err := f.m.disk.Flush(); err != nil {
		return unix.EIO
	}
	return fs.OK
}

// Blank makes the image of a disk with an empty ext4 file system, for [New].
func Blank(path string, bytes int64) error {
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		return err
	}
	if err := os.Truncate(path, bytes); err != nil {
		return err
	}
	return run("mke2fs", "-q", "-t", "ext4", "-E", "lazy_itable_init=1,lazy_journal_init=1", path) // it is all zeros
}

// run runs a program of the host.
func run(name string, args ...string) error {
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", name, err, out)
	}
	return nil
}
