package installer

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"airgap/internal/hostinfo"
)

// ourMounts lists what is mounted below the node's folders, and the network namespaces of its
// pods, in the order they were mounted. The data folder itself may be a file system of its own.
func (u *removal) ourMounts() ([]hostinfo.Mount, error) {
	all, err := u.host.Mounts()
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(all, func(m hostinfo.Mount) bool {
		switch {
		case m.Point == u.paths.DataDir:
			return true
		case hostinfo.Within(m.Point, u.paths.DataDir), hostinfo.Within(m.Point, u.paths.Run()):
			return false
		case m.Type == "nsfs":
			return !slices.Contains(u.pods.namespaces, m.Root)
		}
		return true
	}), nil
}

// unmountAll unmounts everything of the node's, the last mounted first. A mount that is busy is detached:
// it vanishes with its last user.
func (u *removal) unmountAll(context.Context) (string, error) {
	count := 0
	// Mounts on one point lie over each other, and some propagate: look again until none is left.
	for range 64 {
		mounts, err := u.ourMounts()
		if err != nil {
			return "", err
		}
		if len(mounts) == 0 {
			return fmt.Sprintf("%d unmounted", count), nil
		}
		for _, m := range slices.Backward(mounts) {
			if err := unmount(m.Point); err != nil {
				return "", err
			}
			count++
			if m.Type == "nsfs" {
				_ = os.Remove(m.Point) // the file that the namespace was mounted on
			}
		}
	}
	return "", errors.New("new mounts appear as fast as they are unmounted")
}

func unmount(point string) error {
	err := unix.Unmount(point, unix.UMOUNT_NOFOLLOW)
	if errors.Is(err, unix.EBUSY) {
		err = unix.Unmount(point, unix.UMOUNT_NOFOLLOW|unix.MNT_DETACH)
	}
	if err == nil || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT) { // gone with another
		return nil
	}
	return &fs.PathError{Op: "unmount", Path: filepath.Clean(point), Err: err}
}
