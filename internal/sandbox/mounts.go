package sandbox

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// enterMounts makes the mounts of this process its own, and what it sees of them a machine's.
func enterMounts(o Options, seen *[]string) error {
	// Nothing goes back to the host; within the sandbox mounts propagate, as pods with Bidirectional ones need it.
	for _, propagation := range []uintptr{unix.MS_PRIVATE, unix.MS_SHARED} {
		if err := unix.Mount("", "/", "", unix.MS_REC|propagation, ""); err != nil {
			return fmt.Errorf("%w: mounts of its own: %w", ErrUnavailable, err)
		}
	}
	for i, folder := range o.Seen {
		at := filepath.Join(o.Folder, "seen", fmt.Sprint(i))
		if err := bind(folder, at); err != nil {
			return err
		}
		*seen = append(*seen, at)
	}
	for i, folder := range o.Layered {
		if err := layer(folder, filepath.Join(o.Folder, "layers", fmt.Sprint(i))); err != nil {
			return err
		}
	}
	for _, own := range []struct{ kind, at, options string }{{"proc", "/proc", ""}, {"tmpfs", "/run", "mode=0755"}} {
		if err := unix.Mount(own.kind, own.at, own.kind, unix.MS_NOSUID|unix.MS_NODEV, own.options); err != nil {
			return fmt.Errorf("a %s of its own at %s: %w", own.kind, own.at, err)
		}
	}
	return nil
}

// bind shows a folder, and what is mounted below it, at another place, to be read alone.
func bind(folder, at string) error {
	if err := os.MkdirAll(at, 0o700); err != nil {
		return err
	}
	if err := unix.Mount(folder, at, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("show %s at %s: %w", folder, at, err)
	}
	if err := unix.Mount("", at, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		return fmt.Errorf("make %s read-only: %w", at, err)
	}
	return nil
}

// layer lays an overlay over a folder, whose writes go to store: to memory where store's file system takes no such layer, being one itself.
func layer(folder, store string) error {
	if _, err := os.Stat(folder); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err := os.MkdirAll(store, 0o700); err != nil {
		return err
	}
	overlay := func() error {
		upper, work := filepath.Join(store, "written"), filepath.Join(store, "work")
		for _, dir := range []string{upper, work} {
			if err := os.MkdirAll(dir, 0o755); err != nil {
				return err
			}
		}
		return unix.Mount("overlay", folder, "overlay", 0, fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", folder, upper, work))
	}
	err := overlay()
	if errors.Is(err, unix.EINVAL) {
		if err = unix.Mount("tmpfs", store, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=0700"); err == nil {
			err = overlay()
		}
	}
	if err != nil {
		return fmt.Errorf("%w: a layer over %s: %w", ErrUnavailable, folder, err)
	}
	return nil
}
