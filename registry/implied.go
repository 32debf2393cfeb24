package registry

import (
	"archive/tar"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	continuity "github.com/containerd/continuity/fs"
	"github.com/containerd/continuity/sysx"
	"golang.org/x/sys/unix"
)

// impliedFolders notes which folders a layer has entries in without an entry for the folder
// itself. Such a folder must look as it does in the layers below; made anew it would hide
// them, and /tmp, say, would no longer be writable for all. containerd copies the
// attributes from below as it unpacks (mkparent in pkg/archive), for which the lower layers must be there
// already. Here they are unpacked at the same time, so it is done at the end.
//
// The key is a clean relative path; the value is true once the folder has an entry.
type impliedFolders map[string]bool

// note is an archive.Filter that lets everything pass.
func (f impliedFolders) note(header *tar.Header) (bool, error) {
	name := path.Clean("/" + header.Name)[1:]
	for folder := path.Dir(name); folder != "."; folder = path.Dir(folder) {
		if _, known := f[folder]; known {
			break
		}
		f[folder] = false
	}
	if header.Typeflag == tar.TypeDir {
		f[name] = true
	}
	return true, nil
}

// list returns the folders without an entry, parents first.
func (f impliedFolders) list() []string {
	var implied []string
	for folder, own := range f {
		if !own {
			implied = append(implied, folder)
		}
	}
	slices.Sort(implied)
	return implied
}

// inheritFolders gives each of the implied folders in upper the owner, mode, times and extended attributes
// that it has in the first of lowers (nearest first) that has it.
func inheritFolders(upper string, implied, lowers []string) error {
	for _, folder := range implied {
		target := filepath.Join(upper, folder)
		if info, err := os.Lstat(target); err != nil || !info.IsDir() {
			continue // the layer has removed it again, or has a link there
		}
		for _, lower := range lowers {
			source, err := continuity.RootPath(lower, folder)
			if err != nil {
				return err
			}
			info, err := os.Lstat(source)
			if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
				continue
			}
			if err != nil {
				return err
			}
			if info.IsDir() { // else it was replaced, and there is nothing to inherit
				if err := copyAttributes(target, source, info); err != nil {
					return fmt.Errorf("attributes of %s: %w", target, err)
				}
			}
			break
		}
	}
	return nil
}

func copyAttributes(target, source string, info fs.FileInfo) error {
	stat := info.Sys().(*syscall.Stat_t)
	if err := os.Lchown(target, int(stat.Uid), int(stat.Gid)); err != nil {
		return err
	}
	if err := os.Chmod(target, info.Mode()); err != nil {
		return err
	}
	names, err := sysx.LListxattr(source)
	if err != nil && !errors.Is(err, unix.ENOTSUP) {
		return err
	}
	for _, name := range names {
		if strings.HasPrefix(name, "trusted.") { // overlayfs' own, of the lower layer
			continue
		}
		value, err := sysx.LGetxattr(source, name)
		if err != nil {
			return err
		}
		if err := unix.Lsetxattr(target, name, value, 0); err != nil && !errors.Is(err, unix.ENOTSUP) {
			return err
		}
	}
	times := []unix.Timespec{
		unix.NsecToTimespec(stat.Atim.Nano()),
		unix.NsecToTimespec(stat.Mtim.Nano()),
	}
	return unix.UtimesNanoAt(unix.AT_FDCWD, target, times, unix.AT_SYMLINK_NOFOLLOW)
}
