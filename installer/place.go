package installer

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"airgap/internal/atomicfile"
	"airgap/internal/hostinfo"
)

// placement is a file or a symbolic link to be put on the machine.
type placement struct {
	root   string // folder that the target must stay in, symbolic links followed; empty: anywhere
	target string // absolute, clean
	mode   fs.FileMode
	data   []byte
	link   string // not empty: a symbolic link to this, and mode and data are not used
}

// placed is what the journal keeps of a placement, so that it can be undone.
type placed struct {
	Target string   `json:"target"`
	Backup string   `json:"backup,omitempty"` // copy of the file that was there
	Link   string   `json:"link,omitempty"`   // destination of the link that was there
	Made   []string `json:"made,omitempty"`   // folders made for it, the outermost first
}

// place puts a file where it belongs, atomically, after the journal knows how to undo that, and
// says whether it had to. Copies of what was there go to the folder backups.
func place(f placement, backups string, record func(placed) error) (changed bool, err error) {
	root, name, err := f.open()
	if err != nil {
		return false, err
	}
	defer root.Close()
	if same, err := f.isThere(root, name); same || err != nil {
		return false, err
	}
	undo := placed{Target: f.target, Made: missingFolders(filepath.Dir(f.target))}
	info, err := root.Lstat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return false, err
	case info.Mode().Type() == fs.ModeSymlink:
		if undo.Link, err = root.Readlink(name); err != nil {
			return false, err
		}
	case info.Mode().IsRegular():
		if undo.Backup, err = backUp(root, name, info.Mode().Perm(), backups); err != nil {
			return false, err
		}
	default:
		return false, fmt.Errorf("%s is neither a file nor a link: move it away", f.target)
	}
	if err := record(undo); err != nil {
		return false, err
	}
	if err := root.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return false, err
	}
	return true, f.write(root, name)
}

// open opens the folder that the target must stay in, and tells the target's name there.
func (f placement) open() (root *os.Root, name string, err error) {
	within := f.root
	if within == "" {
		within = hostinfo.ExistingParent(filepath.Dir(f.target))
	}
	if name, err = filepath.Rel(within, f.target); err != nil {
		return nil, "", err
	}
	root, err = os.OpenRoot(within)
	return root, name, err
}

// temporaryName is what a file is called until it is whole and takes its name.
func temporaryName(base string) string { return "." + base + ".airgap.tmp" }

// write replaces name by the file or link: the old one is there, or the new, whatever happens.
func (f placement) write(root *os.Root, name string) (err error) {
	dir, base := filepath.Split(name)
	temporary := filepath.Join(dir, temporaryName(base))
	if err := root.Remove(temporary); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	defer func() {
		if err != nil {
			_ = root.Remove(temporary)
		}
	}()
	if f.link != "" {
		err = root.Symlink(f.link, temporary)
	} else {
		err = writeSynced(root, temporary, f.data, f.mode)
	}
	if err != nil {
		return err
	}
	if err := root.Rename(temporary, name); err != nil {
		return err
	}
	folder, err := root.Open(filepath.Join(".", dir))
	if err != nil {
		return err
	}
	return errors.Join(folder.Sync(), folder.Close())
}

func writeSynced(root *os.Root, name string, data []byte, mode fs.FileMode) error {
	file, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(data)
	return errors.Join(err, file.Chmod(mode.Perm()), file.Sync(), file.Close())
}

// isThere says whether the target is this file already.
func (f placement) isThere(root *os.Root, name string) (bool, error) {
	info, err := root.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if f.link != "" {
		if info.Mode().Type() != fs.ModeSymlink {
			return false, nil
		}
		to, err := root.Readlink(name)
		return to == f.link, err
	}
	if !info.Mode().IsRegular() || info.Mode().Perm() != f.mode.Perm() || info.Size() != int64(len(f.data)) {
		return false, nil
	}
	data, err := root.ReadFile(name)
	return bytes.Equal(data, f.data), err
}

// undo takes a placement back. It may be repeated, and be called for one that never came to be.
func (p placed) undo() error {
	dir, base := filepath.Split(p.Target)
	if err := removeIfThere(filepath.Join(dir, temporaryName(base))); err != nil && !errors.Is(err, unix.ENOTDIR) {
		return err
	}
	restore := placement{target: p.Target, link: p.Link}
	switch {
	case p.Backup != "":
		info, err := os.Stat(p.Backup)
		if errors.Is(err, fs.ErrNotExist) {
			return nil // undone before
		}
		if err != nil {
			return err
		}
		restore.mode = info.Mode().Perm()
		if restore.data, err = os.ReadFile(p.Backup); err != nil {
			return err
		}
		fallthrough
	case p.Link != "":
		root, name, err := restore.open()
		if err != nil {
			return err
		}
		defer root.Close()
		if err := restore.write(root, name); err != nil {
			return fmt.Errorf("restore %s: %w", p.Target, err)
		}
	default:
		if err := os.Remove(p.Target); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove %s: %w", p.Target, err)
		}
	}
	for i := len(p.Made) - 1; i >= 0; i-- {
		_ = os.Remove(p.Made[i]) // stays if something else has come to be in it
	}
	return nil
}

// backUp copies a file into the folder backups, durably, and returns the copy's path.
func backUp(root *os.Root, name string, mode fs.FileMode, backups string) (string, error) {
	if err := os.MkdirAll(backups, 0o700); err != nil {
		return "", err
	}
	data, err := root.ReadFile(name)
	if err != nil {
		return "", err
	}
	file, err := os.CreateTemp(backups, filepath.Base(name)+".*")
	if err != nil {
		return "", err
	}
	_, err = file.Write(data)
	return file.Name(), errors.Join(err, file.Chmod(mode), file.Sync(), file.Close(), atomicfile.SyncDir(backups))
}

// missingFolders lists the folders that os.MkdirAll(dir) would make, the outermost first.
func missingFolders(dir string) []string {
	var missing []string
	for dir != "/" && dir != "." {
		if _, err := os.Lstat(dir); !errors.Is(err, fs.ErrNotExist) {
			break
		}
		missing = append([]string{dir}, missing...)
		dir = filepath.Dir(dir)
	}
	return missing
}
