package hostinfo

import (
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Disk is the file system below a folder.
type Disk struct {
	FreeBytes   int64 // for root
	TotalBytes  int64
	FreeInodes  int64
	TotalInodes int64 // 0 where the file system makes inodes as needed (btrfs, xfs shows its bound)
	NoExec      bool
	ReadOnly    bool
	Device      uint64 // the same for folders on the same file system
}

// DiskAt reads the file system that the existing folder dir is on.
func DiskAt(dir string) (Disk, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return Disk{}, &os.PathError{Op: "statfs", Path: dir, Err: err}
	}
	var folder unix.Stat_t
	if err := unix.Stat(dir, &folder); err != nil {
		return Disk{}, &os.PathError{Op: "stat", Path: dir, Err: err}
	}
	return Disk{
		FreeBytes:   int64(s.Bavail) * s.Bsize,
		TotalBytes:  int64(s.Blocks) * s.Bsize,
		FreeInodes:  int64(s.Ffree),
		TotalInodes: int64(s.Files),
		NoExec:      s.Flags&unix.ST_NOEXEC != 0,
		ReadOnly:    s.Flags&unix.ST_RDONLY != 0,
		Device:      folder.Dev,
	}, nil
}

// ExistingParent returns name, absolute and clean, or the nearest folder above it that exists.
func ExistingParent(name string) string {
	for name != "/" {
		info, err := os.Stat(name)
		if err == nil && info.IsDir() {
			return name
		}
		name = filepath.Dir(name)
	}
	return name
}
