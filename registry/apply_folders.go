package registry

import (
	"os"
	"strings"
	"sync"

	continuity "github.com/containerd/continuity/fs"
	"golang.org/x/sys/unix"
)

// canResolveInRoot says whether the kernel has openat2 (Linux 5.6) and lets us use it.
var canResolveInRoot = sync.OnceValue(func() bool {
	fd, err := unix.Openat2(unix.AT_FDCWD, "/", &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT})
	if err != nil {
		return false
	}
	unix.Close(fd)
	return true
})

// folder opens the folder with the given clean path, and makes what is missing of it.
// The descriptor is valid while the entry is made that it was opened for.
func (a *applier) folder(name string) (int, error) {
	if name == "." {
		return a.rootFD, nil
	}
	if fd, open := a.folders[name]; open {
		return fd, nil
	}
	fd, err := a.open(name)
	if err == unix.ENOENT {
		if err := a.makeFolder(name); err != nil {
			return -1, err
		}
		fd, err = a.open(name)
	}
	if err != nil {
		return -1, &os.PathError{Op: "open folder", Path: name, Err: err}
	}
	a.folders[name] = fd
	return fd, nil
}

func (a *applier) open(name string) (int, error) {
	for {
		fd, err := unix.Openat2(a.rootFD, name, &unix.OpenHow{
			Flags:   unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC,
			Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
		})
		if err != unix.EAGAIN && err != unix.EINTR { // again: something was renamed while ".." was resolved
			return fd, err
		}
	}
}

// makeFolder makes a folder that no entry has made. A link on the way may point to a folder that only the layers
// below have; it is made where the link points.
func (a *applier) makeFolder(name string) error {
	resolved, err := continuity.RootPath(a.root, name)
	if err != nil {
		return err
	}
	folder, base := split(strings.TrimPrefix(resolved, a.root))
	if base == "" {
		return nil
	}
	fd, err := a.folder(folder)
	if err != nil {
		return err
	}
	if err := unix.Mkdirat(fd, base, 0o755); err != nil && err != unix.EEXIST {
		return os.NewSyscallError("mkdir", err)
	}
	a.usage.Inodes++
	a.usage.Size += blockBytes
	return os.NewSyscallError("chmod", unix.Fchmodat(fd, base, 0o755, 0))
}

func (a *applier) close() {
	a.closeFolders()
	unix.Close(a.rootFD)
}

// limitFolders closes what is open when that is much. It is called where no descriptor of a folder is held.
func (a *applier) limitFolders() {
	if len(a.folders) >= maxOpenFolders {
		a.closeFolders()
	}
}

func (a *applier) closeFolders() {
	for _, fd := range a.folders {
		unix.Close(fd)
	}
	clear(a.folders)
}
