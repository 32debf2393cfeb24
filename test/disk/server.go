package disk

import (
	"context"
	"errors"
	"fmt"
	"net/rpc"
	"net/rpc/jsonrpc"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// requestBytes is the most that the kernel reads or writes at once; with its header it fits into a pipe.
const requestBytes = 512 << 10

// serverVariable makes a program that imports this package the server of a disk and nothing else.
const serverVariable = "AIRGAP_TEST_DISK_SERVER"

func init() {
	if os.Getenv(serverVariable) == "" {
		return
	}
	signal.Ignore(syscall.SIGINT, syscall.SIGHUP, syscall.SIGTERM)
	orders := rpc.NewServer()
	if err := orders.RegisterName(serverName, &server{}); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	orders.ServeCodec(jsonrpc.NewServerCodec(stream{os.Stdin, os.Stdout})) // until the process that has the disk ends
	os.Exit(0)
}

// server is a disk in the process that serves it. Each method with two arguments is what net/rpc calls for one of [Attached] or [Mounted]; the
// second is where its result goes.
type server struct {
	disk *Disk
	fuse *fuse.Server
	off  atomic.Bool
}

const serverName = "Disk"

// made is what a disk is made from; see [New].
type made = struct {
	Image, Folder string
	Seed          uint64
}

// loss is what a power cut has done; see [Disk.Cut].
type loss = struct{ Cached, Lost int }

type none = struct{}

func (s *server) New(from made, _ *none) (err error) {
	s.disk, err = New(from.Image, from.Folder, from.Seed)
	return err
}

func (s *server) Flush(none, *none) error              { return s.disk.Flush() }
func (s *server) Save(folder string, _ *none) error    { return s.disk.Save(folder) }
func (s *server) Restore(folder string, _ *none) error { return s.disk.Restore(folder) }
func (s *server) Close(none, *none) error              { return s.disk.Close() }

func (s *server) Cut(_ none, l *loss) (err error) {
	l.Cached, l.Lost, err = s.disk.Cut()
	return err
}

func (s *server) PowerOff(none, *none) error {
	s.off.Store(true)
	return nil
}

// Serve mounts a FUSE file system whose one file is the disk.
func (s *server) Serve(at string, _ *none) error {
	s.off.Store(false)
	// By hand: what go-fuse opens is inherited by every program that this process starts, and the disk would outlive its server.
	fd, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("open /dev/fuse", err)
	}
	options := fmt.Sprintf("fd=%d,rootmode=%o,user_id=0,group_id=0,max_read=%d", fd, unix.S_IFDIR, requestBytes)
	if err := unix.Mount("disk", at, "fuse.disk", unix.MS_NOSUID|unix.MS_NODEV, options); err != nil {
		return errors.Join(os.NewSyscallError("mount FUSE", err), unix.Close(fd))
	}
	s.fuse, err = fs.Mount(fmt.Sprintf("/dev/fd/%d", fd), &root{server: s}, &fs.Options{MountOptions: fuse.MountOptions{MaxWrite: requestBytes, DisableXAttrs: true}})
	if err != nil {
		return errors.Join(err, os.NewSyscallError("unmount FUSE", unix.Unmount(at, unix.MNT_DETACH)))
	}
	return nil
}

// Wait returns when what Serve has mounted is unmounted, and all that came before is answered.
func (s *server) Wait(none, *none) error {
	s.fuse.Wait()
	return nil
}

// fileName is the one file of the FUSE file system: the disk's bytes.
const fileName = "disk"

type root struct {
	fs.Inode
	server *server
}

func (r *root) OnAdd(ctx context.Context) {
	r.AddChild(fileName, r.NewPersistentInode(ctx, &file{server: r.server}, fs.StableAttr{Mode: unix.S_IFREG}), false)
}

type file struct {
	fs.Inode
	server *server
}

// Open leaves the kernel no cache of the file: what is not on the disk is in the disk's own.
func (f *file) Open(context.Context, uint32) (fs.FileHandle, uint32, syscall.Errno) {
	return nil, fuse.FOPEN_DIRECT_IO, fs.OK
}

func (f *file) Getattr(_ context.Context, _ fs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	out.Mode, out.Size = unix.S_IFREG|0o600, uint64(f.server.disk.size)
	return fs.OK
}

func (f *file) Read(_ context.Context, _ fs.FileHandle, into []byte, off int64) (fuse.ReadResult, syscall.Errno) {
	if into = into[:max(0, min(int64(len(into)), f.server.disk.size-off))]; len(into) == 0 {
		return fuse.ReadResultData(nil), fs.OK
	}
	if _, err := f.server.disk.ReadAt(into, off); err != nil {
		return nil, unix.EIO
	}
	return fuse.ReadResultData(into), fs.OK
}

func (f *file) Write(_ context.Context, _ fs.FileHandle, data []byte, off int64) (uint32, syscall.Errno) {
	if f.server.off.Load() {
		return uint32(len(data)), fs.OK
	}
	if _, err := f.server.disk.WriteAt(data, off); err != nil {
		return 0, unix.EIO
	}
	return uint32(len(data)), fs.OK
}

func (f *file) Fsync(context.Context, fs.FileHandle, uint32) syscall.Errno {
	if f.server.off.Load() {
		return fs.OK
	}
	if err := f.server.disk.Flush(); err != nil {
		return unix.EIO
	}
	return fs.OK
}
