package registry

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	"github.com/containerd/containerd/v2/core/snapshots"
	continuity "github.com/containerd/continuity/fs"
	"golang.org/x/sys/unix"
)

// Whiteouts of the OCI image specification (layer.md).
const (
	whiteoutPrefix = ".wh."
	whiteoutOpaque = ".wh..wh..opq"
)

const (
	paxXattrPrefix = "SCHILY.xattr."
	// maxOpenFolders is about how many folders an applier keeps open.
	maxOpenFolders = 64
	// longFileBytes is from when on a file goes to the disk at once. Left to itself the kernel waits until a tenth of the memory is
	// full of what is to be written, with an idle disk: at the end of an import, somebody waits for that.
	longFileBytes = 1 << 20
	// blockBytes is what an inode's data is rounded up to in a snapshot's usage.
	blockBytes = 4096
)

// applier unpacks a layer's tar into the folder of an overlay snapshot. It does what archive.Apply of
// containerd does with OverlayConvertWhiteout (a test compares the two), in a third of the system
// calls: the kernel resolves the path of a folder, once for all entries in it, instead of this process looking at
// each component of each entry.
//
// Nothing is made outside the root, whatever the names and links of the layer: folders are opened
// with RESOLVE_IN_ROOT (openat2(2)), which takes ".." and symbolic links, also absolute ones,
// as a process that is chrooted there would; the last component is never followed.
type applier struct {
	root    string
	rootFD  int
	folders map[string]int // open folders by their clean path, relative to the root
	buffer  []byte
	late    []*tar.Header // folders, whose times are set at the end
	usage   snapshots.Usage
	// replaced says that an entry took the place of another, so that a folder of late may be
	// something else by now.
	replaced bool
}

func newApplier(root string) (*applier, error) {
	fd, err := unix.Open(root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: root, Err: err}
	}
	return &applier{root: root, rootFD: fd, folders: map[string]int{}, buffer: make([]byte, chunkBytes)}, nil
}

// apply unpacks every entry of the tar. note sees each header.
func (a *applier) apply(ctx context.Context, r io.Reader, note func(*tar.Header) (bool, error)) error {
	entries := tar.NewReader(r)
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		header, err := entries.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		if _, err := note(header); err != nil {
			return err
		}
		if err := a.entry(header, entries); err != nil {
			return fmt.Errorf("entry %q: %w", header.Name, err)
		}
	}
	for _, header := range a.late {
		if err := a.folderTimes(header); err != nil {
			return fmt.Errorf("entry %q: %w", header.Name, err)
		}
	}
	return nil
}

// folderTimes sets the times of a folder that has its contents. To resolve its path component by component is as
// dear as to make it, and only needed where it may no longer be what was made.
func (a *applier) folderTimes(header *tar.Header) error {
	if a.replaced {
		resolved, err := continuity.RootPath(a.root, path.Clean(header.Name))
		if err != nil {
			return err
		}
		return setTimes(unix.AT_FDCWD, resolved, header)
	}
	folder, base := split(header.Name)
	a.limitFolders()
	fd, err := a.folder(folder)
	if err != nil {
		return err
	}
	return setTimes(fd, base, header)
}

// split returns the clean relative path of an entry's folder, "." for the root, and its name in it, which is
// empty for the root itself.
func split(name string) (folder, base string) {
	clean := path.Clean("/" + name)[1:]
	if clean == "" {
		return ".", ""
	}
	return path.Dir(clean), path.Base(clean)
}

func (a *applier) entry(header *tar.Header, contents io.Reader) error {
	folder, base := split(header.Name)
	if base == "" || header.Typeflag == tar.TypeXGlobalHeader {
		return nil
	}
	a.limitFolders()
	fd, err := a.folder(folder)
	if err != nil {
		return err
	}
	if strings.HasPrefix(base, whiteoutPrefix) {
		return a.whiteout(fd, base, header)
	}
	switch header.Typeflag {
	case tar.TypeReg:
		return a.file(fd, base, header, contents)
	case tar.TypeDir:
		a.late = append(a.late, header)
		err = a.make(fd, base, func() error {
			err := unix.Mkdirat(fd, base, permissions(header))
			if err == unix.EEXIST && isFolder(fd, base) {
				return nil // what is in it stays
			}
			return err
		})
	case tar.TypeSymlink:
		err = a.make(fd, base, func() error { return unix.Symlinkat(header.Linkname, fd, base) })
	case tar.TypeLink:
		targetFolder, target := split(header.Linkname)
		targetFD, lookErr := a.folder(targetFolder)
		if lookErr != nil {
			return lookErr
		}
		err = a.make(fd, base, func() error { return unix.Linkat(targetFD, target, fd, base, 0) })
	case tar.TypeChar, tar.TypeBlock, tar.TypeFifo:
		err = a.make(fd, base, func() error { return mknod(fd, base, header) })
	default:
		return fmt.Errorf("unknown type %q", header.Typeflag)
	}
	if err != nil {
		return err
	}
	if header.Typeflag != tar.TypeLink {
		a.usage.Inodes++
	}
	if header.Typeflag == tar.TypeDir {
		a.usage.Size += blockBytes
	}
	return a.attributes(fd, base, header)
}

// file makes a regular file. It works on the open file, to save the look-ups of its name.
func (a *applier) file(fd int, base string, header *tar.Header, contents io.Reader) error {
	var file int
	err := a.make(fd, base, func() (err error) {
		file, err = unix.Openat(fd, base, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, permissions(header))
		return err
	})
	if err != nil {
		return err
	}
	defer func() {
		if file >= 0 {
			unix.Close(file)
		}
	}()
	if err := a.copy(file, contents); err != nil {
		return err
	}
	if err := a.fileAttributes(file, header); err != nil {
		return err
	}
	if header.Size >= longFileBytes {
		startWriteback(file)
	}
	a.usage.Inodes++
	a.usage.Size += (header.Size + blockBytes - 1) / blockBytes * blockBytes
	err = unix.Close(file)
	file = -1
	return os.NewSyscallError("close", err)
}

func (a *applier) copy(file int, contents io.Reader) error {
	for {
		n, err := contents.Read(a.buffer)
		for data := a.buffer[:n]; len(data) > 0; {
			written, err := unix.Write(file, data)
			if err == unix.EINTR {
				continue
			}
			if err != nil {
				return os.NewSyscallError("write", err)
			}
			data = data[written:]
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// make calls create, and if there is something of that name, once more without it: an archive's
// later entry replaces the earlier.
func (a *applier) make(fd int, base string, create func() error) error {
	err := create()
	if err == unix.EEXIST {
		a.replaced = true
		if err := os.RemoveAll(procPath(fd, base)); err != nil {
			return err
		}
		err = create()
		// What was open may be gone. fd itself is not below what was removed.
		for folder, other := range a.folders {
			if other != fd {
				unix.Close(other)
				delete(a.folders, folder)
			}
		}
	}
	return os.NewSyscallError("create", err)
}

// whiteout hides what is below in the form that overlayfs has for it.
func (a *applier) whiteout(fd int, base string, header *tar.Header) error {
	if base == whiteoutOpaque {
		return os.NewSyscallError("setxattr", unix.Setxattr(procPath(fd, ""), "trusted.overlay.opaque", []byte{'y'}, 0))
	}
	hidden := base[len(whiteoutPrefix):]
	if hidden == "" || hidden == "." || hidden == ".." {
		return errors.New("not a valid whiteout")
	}
	err := unix.Mknodat(fd, hidden, unix.S_IFCHR, 0)
	if err == unix.EEXIST {
		return nil // the same layer has it anew: a whiteout is about the layers below
	}
	if err != nil {
		return os.NewSyscallError("mknod", err)
	}
	a.usage.Inodes++
	return os.NewSyscallError("chown", unix.Fchownat(fd, hidden, header.Uid, header.Gid, unix.AT_SYMLINK_NOFOLLOW))
}
