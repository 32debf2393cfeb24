package registry

import (
	"archive/tar"
	"fmt"
	"os"
	"path"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// attributes sets the owner, extended attributes, mode and times of anything but a regular file.
func (a *applier) attributes(fd int, base string, header *tar.Header) error {
	if err := unix.Fchownat(fd, base, header.Uid, header.Gid, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return os.NewSyscallError("chown", err)
	}
	err := eachXattr(header, func(name, value string) error {
		err := unix.Lsetxattr(procPath(fd, base), name, []byte(value), 0)
		if err == unix.EPERM && strings.HasPrefix(name, "user.") && !isFolder(fd, base) {
			return nil // only files and folders have those: xattr(7)
		}
		return err
	})
	if err != nil {
		return err
	}
	isLink := header.Typeflag == tar.TypeSymlink || header.Typeflag == tar.TypeLink && isSymlink(fd, base)
	if !isLink {
		if err := unix.Fchmodat(fd, base, permissions(header), 0); err != nil {
			return os.NewSyscallError("chmod", err)
		}
	}
	return setTimes(fd, base, header)
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
	accessed, modified := header.AccessTime, header.ModTime
	if accessed.Before(modified) {
		accessed = modified
	}
	var times [2]unix.Timespec
	for n, t := range []time.Time{accessed, modified} {
		if t.Before(time.Unix(0, 0)) || t.After(maxTime) {
			t = time.Unix(0, 0)
		}
		times[n] = unix.NsecToTimespec(t.UnixNano())
	}
	return os.NewSyscallError("utimensat", unix.UtimesNanoAt(fd, base, times[:], unix.AT_SYMLINK_NOFOLLOW))
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

func isFolder(fd int, base string) bool  { return kindOf(fd, base) == syscall.S_IFDIR }
func isSymlink(fd int, base string) bool { return kindOf(fd, base) == syscall.S_IFLNK }

func kindOf(fd int, base string) uint32 {
	var stat unix.Stat_t
	if err := unix.Fstatat(fd, base, &stat, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return 0
	}
	return stat.Mode & syscall.S_IFMT
}

// procPath is a path of base in an open folder, for the calls that have no variant with a descriptor.
func procPath(fd int, base string) string { return path.Join("/proc/self/fd", fmt.Sprint(fd), base) }
