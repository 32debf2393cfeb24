package registry

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// reserveBytes is what an import leaves free on the disk: a node with none at all cannot
// even write its database.
const reserveBytes = 64 << 20

// pushReserveBytes is what pushing leaves free: more than the 512 MiB below which the kubelet evicts pods.
const pushReserveBytes = 768 << 20

// RequirePushSpace says with [ErrNoSpace] that the disk of containerd's root folder cannot take need more bytes of
// what is pushed and keep enough for pods.
func RequirePushSpace(root string, need int64) error {
	var fs unix.Statfs_t
	if err := unix.Statfs(root, &fs); err != nil {
		return fmt.Errorf("free space of %s: %w", root, err)
	}
	if free := int64(fs.Bavail) * fs.Bsize; free-pushReserveBytes < need {
		return fmt.Errorf("%w: the node's disk has %d MiB free, of which %d MiB are kept for its pods, and %d bytes more are to be stored",
			ErrNoSpace, free>>20, pushReserveBytes>>20, need)
	}
	return nil
}

// syncFilesystem waits until everything written to dir's filesystem is on the disk.
func syncFilesystem(dir *os.File) error {
	if err := unix.Syncfs(int(dir.Fd())); err != nil {
		return fmt.Errorf("sync the filesystem of %s: %w", dir.Name(), err)
	}
	return nil
}

// syncFolder makes the names in the folder at path durable.
func syncFolder(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}

func onSeparateFilesystems(a, b *os.File) (bool, error) {
	var first, second unix.Stat_t
	if err := unix.Fstat(int(a.Fd()), &first); err != nil {
		return false, err
	}
	if err := unix.Fstat(int(b.Fd()), &second); err != nil {
		return false, err
	}
	return first.Dev != second.Dev, nil
}

// requireSpace says with [ErrNoSpace] that dir's filesystem cannot take need more bytes
// and keep the reserve.
func requireSpace(dir *os.File, need int64) error {
	var fs unix.Statfs_t
	if err := unix.Fstatfs(int(dir.Fd()), &fs); err != nil {
		return fmt.Errorf("free space of %s: %w", dir.Name(), err)
	}
	if free := int64(fs.Bavail) * fs.Bsize; free-reserveBytes < need {
		return fmt.Errorf("%w: the disk of %s has %d MiB free, %d MiB more are needed; free space and run again to continue",
			ErrNoSpace, dir.Name(), free>>20, (need+reserveBytes-free)>>20+1)
	}
	return nil
}

// explainSpace turns the system's "no space left on device" into [ErrNoSpace] with the remedy.
func (s *Store) explainSpace(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fmt.Errorf("%w on the disk of %s; free space and run again to continue: %w", ErrNoSpace, s.root, err)
	}
	return err
}

// startWriteback asks the kernel to begin writing an open file to the disk, and does not wait. It spreads the
// writing over the import; what is durable is decided by sync alone, so an error does not matter.
func startWriteback(fd int) {
	_ = unix.SyncFileRange(fd, 0, 0, unix.SYNC_FILE_RANGE_WRITE)
}

// leaveCache gives up what the page cache has of an open file, as far as it is on the disk already: memory for what pods will run, and
// what comes next is written into memory that is warm.
func leaveCache(fd int) {
	_ = unix.Fadvise(fd, 0, 0, unix.FADV_DONTNEED)
}
