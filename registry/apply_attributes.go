package registry

import (
	"archive/tar"
	"fmt"
	"os"
	"path"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// attributes sets the owner, extended attributes, mode and times of anything but a regular file; a folder's
// times come when it has its contents.
func (a *applier) attributes(fd int, base string, header *tar.Header) error {
	var is unix.Stat_t
	if err := unix.Fstatat(fd, base, &is, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return os.NewSyscallError("stat", err)
	}
	err := settle(header, is, attributeCalls{
		chown: func() error { return unix.Fchownat(fd, base, header.Uid, header.Gid, unix.AT_SYMLINK_NOFOLLOW) },
		chmod: func() error { return unix.Fchmodat(fd, base, permissions(header), 0) },
		setxattr: func(name, value string) error {
			err := unix.Lsetxattr(procPath(fd, base), name, []byte(value), 0)
			if err == unix.EPERM && strings.HasPrefix(name, "user.") && is.Mode&unix.S_IFMT != unix.S_IFDIR {
				return nil // only files and folders have those: xattr(7)
			}
			return err
		},
	})
	if err != nil || header.Typeflag == tar.TypeDir {
		return err
	}
	return setTimes(fd, base, header)
}

// fileAttributes sets the attributes of an open regular file.
func (a *applier) fileAttributes(file int, header *tar.Header) error {
	var is unix.Stat_t
	if err := unix.Fstat(file, &is); err != nil {
		return os.NewSyscallError("fstat", err)
	}
	err := settle(header, is, attributeCalls{
		chown:    func() error { return unix.Fchown(file, header.Uid, header.Gid) },
		chmod:    func() error { return unix.Fchmod(file, permissions(header)) },
		setxattr: func(name, value string) error { return unix.Fsetxattr(file, name, []byte(value), 0) },
	})
	if err != nil {
		return err
	}
	return setFileTimes(file, header)
}

// attributeCalls are the system calls that change one file.
type attributeCalls struct {
	chown, chmod func() error
	setxattr     func(name, value string) error
}

// settle gives a file the owner, extended attributes and mode of its entry. What it has already is left: each of these
// calls writes the inode into the journal, and most files are root's, with the mode that they were made with.
func settle(header *tar.Header, is unix.Stat_t, call attributeCalls) error {
	mayDiffer := is.Mode&0o7777 != permissions(header)
	if is.Uid != uint32(header.Uid) || is.Gid != uint32(header.Gid) {
		if err := call.chown(); err != nil {
			return os.NewSyscallError("chown", err)
		}
		mayDiffer = mayDiffer || is.Mode&(unix.S_ISUID|unix.S_ISGID) != 0 // chown clears them
	}
	err := eachXattr(header, func(name, value string) error {
		mayDiffer = true // an access control list changes the mode
		return call.setxattr(name, value)
	})
	if err != nil {
		return err
	}
	if mayDiffer && is.Mode&unix.S_IFMT != unix.S_IFLNK {
		return os.NewSyscallError("chmod", call.chmod())
	}
	return nil
}

// eachXattr calls set for the extended attributes of an entry. Those in "trusted." are overlayfs' own, and not the
// archive's to set; a filesystem that has none does without.
func eachXattr(header *tar.Header, set func(name, value string) error) error {
	for key, value := range header.PAXRecords {
		name, isXattr := strings.CutPrefix(key, paxXattrPrefix)
		if !isXattr || strings.HasPrefix(name, "trusted.") {
			continue
		}
		if err := set(name, value); err != nil && err != unix.ENOTSUP {
			return fmt.Errorf("extended attribute %s: %w", name, err)
		}
	}
	return nil
}

// maxTime is the last that fits a count of nanoseconds. Times outside are set to 1970, as containerd does.
var maxTime = time.Unix(0, 1<<63-1)

func setTimes(fd int, base string, header *tar.Header) error {
	times := timesOf(header)
	return os.NewSyscallError("utimensat", unix.UtimesNanoAt(fd, base, times[:], unix.AT_SYMLINK_NOFOLLOW))
}

// setFileTimes is futimens(3): without a path there is none to look up.
func setFileTimes(file int, header *tar.Header) error {
	times := timesOf(header)
	_, _, errno := unix.Syscall6(unix.SYS_UTIMENSAT, uintptr(file), 0, uintptr(unsafe.Pointer(&times)), 0, 0, 0)
	if errno != 0 {
		return os.NewSyscallError("utimensat", errno)
	}
	return nil
}

// timesOf returns when an entry was accessed and when modified.
func timesOf(header *tar.Header) (times [2]unix.Timespec) {
	accessed, modified := header.AccessTime, header.ModTime
	if accessed.Before(modified) {
		accessed = modified
	}
	for n, t := range []time.Time{accessed, modified} {
		if t.Before(time.Unix(0, 0)) || t.After(maxTime) {
			t = time.Unix(0, 0)
		}
		times[n] = unix.NsecToTimespec(t.UnixNano())
	}
	return times
}

func mknod(fd int, base string, header *tar.Header) error {
	const largest = 1<<32 - 1
	if header.Devmajor < 0 || header.Devmajor > largest || header.Devminor < 0 || header.Devminor > largest {
		return fmt.Errorf("device %d:%d is out of range", header.Devmajor, header.Devminor)
	}
	kind := map[byte]uint32{tar.TypeChar: unix.S_IFCHR, tar.TypeBlock: unix.S_IFBLK, tar.TypeFifo: unix.S_IFIFO}[header.Typeflag]
	return unix.Mknodat(fd, base, kind|permissions(header), int(unix.Mkdev(uint32(header.Devmajor), uint32(header.Devminor))))
}

func permissions(header *tar.Header) uint32 { return uint32(header.Mode) & 0o7777 }

func isFolder(fd int, base string) bool {
	var is unix.Stat_t
	err := unix.Fstatat(fd, base, &is, unix.AT_SYMLINK_NOFOLLOW)
	return err == nil && is.Mode&unix.S_IFMT == unix.S_IFDIR
}

// procPath is a path of base in an open folder, for the calls that have no variant with a descriptor.
func procPath(fd int, base string) string { return path.Join("/proc/self/fd", fmt.Sprint(fd), base) }
