package bundle

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// maxFATFileBytes is the largest file that FAT can hold: its directory entries say sizes in 32 bits.
// Source: Microsoft FAT Specification, "Directory Structure", DIR_FileSize.
const maxFATFileBytes = 1<<32 - 1

// ErrFileTooLarge says that the file system takes no file as large as the bundle.
var ErrFileTooLarge = errors.New("the file system takes no file of that size")

// requireSpace fails if the file system of f has no room for size bytes more (with ENOSPC), or takes no file of largest bytes
// (with [ErrFileTooLarge]).
func requireSpace(f *os.File, size, largest int64) error {
	var stat unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &stat); err != nil {
		return fmt.Errorf("free space: %w", err)
	}
	if err := checkLargest(int64(stat.Type), largest); err != nil {
		return err
	}
	if free := int64(stat.Bavail) * stat.Bsize; size > free {
		return fmt.Errorf("it needs %d MB and %d MB are free: %w", size/1e6, free/1e6, unix.ENOSPC)
	}
	return nil
}

// checkLargest fails if a file system, by its magic number, takes no file of largest bytes.
func checkLargest(magic, largest int64) error {
	if magic == unix.MSDOS_SUPER_MAGIC && largest > maxFATFileBytes {
		return fmt.Errorf("%w: it is FAT, whose files end at 4 GiB, and %d MB are to be written", ErrFileTooLarge, largest/1e6)
	}
	return nil
}

// reserve makes f reach from offset over size bytes, and gives them their space where the file system can do that. Everything is zero
// then: paddings need no writing.
func reserve(f *os.File, offset, size int64) error {
	err := fallocate(f, 0, offset, size)
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS) {
		return f.Truncate(offset + size)
	}
	if errors.Is(err, unix.EFBIG) {
		return fmt.Errorf("%w: %w", ErrFileTooLarge, err)
	}
	return err
}

// canCollapse reports whether the file system of f, which is empty, can take a range out of a file.
func canCollapse(f *os.File) bool {
	if reserve(f, 0, 2*layerAlignment) != nil {
		return false
	}
	able := collapse(f, 0, layerAlignment) == nil
	return f.Truncate(0) == nil && able
}

// collapse takes length bytes from offset on out of f: what is behind them comes in their place. Both are multiples of the file
// system's block.
func collapse(f *os.File, offset, length int64) error {
	if length == 0 {
		return nil
	}
	return fallocate(f, unix.FALLOC_FL_COLLAPSE_RANGE, offset, length)
}

// fallocate is the system call, made again when Go's own signals interrupt it, as they do on tmpfs.
func fallocate(f *os.File, mode uint32, offset, length int64) error {
	for {
		if err := unix.Fallocate(int(f.Fd()), mode, offset, length); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
