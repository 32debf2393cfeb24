package disk

import (
	"errors"
	"fmt"
	"io"
	"net/rpc"
	"net/rpc/jsonrpc"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// unmountPatience is for the last process that has something open to be gone.
const unmountPatience = 30 * time.Second

// Attached is a disk that this host uses. A process of its own has it and serves it: one that reads its own disk through the
// kernel stops for good as soon as it maps a file from there and collects garbage before the page has come. What its methods do is told at
// [Disk].
type Attached struct {
	cmd    *exec.Cmd
	client *rpc.Client
}

// Attach makes a disk as [New] does.
func Attach(image, folder string, seed uint64) (*Attached, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), serverVariable+"=1")
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // Ctrl-C is not for it
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	d := &Attached{cmd, jsonrpc.NewClient(stream{out, in})}
	if err := d.do("New", made{image, folder, seed}); err != nil {
		return nil, errors.Join(err, d.end())
	}
	return d, nil
}

// stream is what the two processes speak over.
type stream struct {
	io.Reader
	io.WriteCloser
}

// do calls a method that returns nothing.
func (d *Attached) do(method string, arg any) error {
	return d.client.Call(serverName+"."+method, arg, &none{})
}

func (d *Attached) Flush() error                { return d.do("Flush", none{}) }
func (d *Attached) Save(folder string) error    { return d.do("Save", folder) }
func (d *Attached) Restore(folder string) error { return d.do("Restore", folder) }

func (d *Attached) Cut() (cached, lost int, err error) {
	var l loss
	err = d.client.Call(serverName+".Cut", none{}, &l)
	return l.Cached, l.Lost, err
}

// Close ends the disk and its process.
func (d *Attached) Close() error {
	return errors.Join(d.do("Close", none{}), d.end())
}

// end ends the process.
func (d *Attached) end() error { return errors.Join(d.client.Close(), d.cmd.Wait()) }

// Mounted is the file system of a disk, mounted: the server has the disk as a file in a FUSE file system, a loop device is over that file,
// and the kernel has mounted what is on it. What the kernel writes and flushes reaches the disk as a real one would get it. If the process that
// has mounted it dies, the mount is left, without a disk: every access fails.
type Mounted struct {
	disk   *Attached
	folder string // where the disk's file system is
	served string // where FUSE's is
}

// Mount mounts the file system that is on the disk on a folder. What serves it is kept in another folder, made for it.
func (d *Attached) Mount(folder, served string) (*Mounted, error) {
	m := &Mounted{disk: d, folder: folder, served: served}
	if err := os.MkdirAll(served, 0o700); err != nil {
		return nil, err
	}
	if err := d.do("Serve", served); err != nil {
		return nil, fmt.Errorf("serving the disk in %s: %w", served, err)
	}
	if err := run("mount", "-t", "ext4", "-o", "loop,noinit_itable", filepath.Join(served, fileName), folder); err != nil {
		return nil, errors.Join(err, m.stop())
	}
	return m, nil
}

// PowerOff makes the disk what it is when its power goes: from now on nothing that is written reaches it, or its cache, any more, though it says so. [Mounted.Unmount]
// and [Attached.Cut] come next.
func (m *Mounted) PowerOff() error { return m.disk.do("PowerOff", none{}) }

// Unmount unmounts the disk's file system once nobody has anything open on it.
func (m *Mounted) Unmount() error {
	return errors.Join(patiently(m.folder), m.stop())
}

// stop ends FUSE, which the loop device holds for a moment longer than its file system is mounted.
func (m *Mounted) stop() error {
	if err := patiently(m.served); err != nil {
		return err
	}
	return m.disk.do("Wait", none{})
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
