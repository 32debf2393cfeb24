package payload

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"airgap/internal/atomicfile"
)

const (
	// executableName is, in a version's folder, the packed executable itself. A folder that a
	// launcher made for its own use has none.
	executableName = "airgap"

	lockName        = ".lock"
	temporaryPrefix = ".unpacking-"
)

// Stage makes the version that the packed executable carries present under versionsDir, with
// the executable itself in it as "airgap", and returns its folder. The folder of other versions
// and what runs from them is not touched. Staging again is cheap and changes nothing.
//
// The executable is read once; the copy is made of the very bytes that were verified.
func Stage(executable, versionsDir string) (dir string, err error) {
	p, err := Open(executable)
	if err != nil {
		return "", err
	}
	defer p.Close()
	return p.Ensure(versionsDir, true)
}

// Ensure returns the folder of p's version under versionsDir, after unpacking if it is not yet
// there. With keepExecutable the packed executable is put into it also.
func (p *Payload) Ensure(versionsDir string, keepExecutable bool) (dir string, err error) {
	dir = filepath.Join(versionsDir, p.Digest())
	if done, err := complete(dir, keepExecutable); done || err != nil {
		return dir, err
	}
	if err := os.MkdirAll(versionsDir, 0o755); err != nil {
		return "", err
	}
	unlock, err := lock(versionsDir)
	if err != nil {
		return "", err
	}
	defer unlock()
	if done, err := complete(dir, keepExecutable); done || err != nil { // another process was quicker
		return dir, err
	}
	if err := removeTemporaries(versionsDir); err != nil {
		return "", err
	}
	if _, err := os.Lstat(dir); err == nil {
		return dir, p.addExecutable(dir)
	}

	tmp, err := os.MkdirTemp(versionsDir, temporaryPrefix)
	if err != nil {
		return "", err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(tmp))
		}
	}()
	if err := os.Chmod(tmp, 0o755); err != nil {
		return "", err
	}
	if err := p.fill(tmp, keepExecutable); err != nil {
		return "", err
	}
	if err := os.Rename(tmp, dir); err != nil {
		return "", err
	}
	return dir, atomicfile.SyncDir(versionsDir)
}

// complete says whether dir holds an unpacked version. A folder under its final name is
// complete by the package's invariant; only that nobody else made it must be checked.
func complete(dir string, withExecutable bool) (bool, error) {
	info, err := os.Lstat(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if err := trusted(info); err != nil {
		return false, fmt.Errorf("refusing to run from %s: %w; remove it and try again", dir, err)
	}
	if withExecutable {
		_, err = os.Lstat(filepath.Join(dir, executableName))
	}
	return err == nil, nil
}

// trusted says why a folder must not be executed from: somebody other than root and this
// process' user could have made its content.
func trusted(info fs.FileInfo) error {
	stat, ok := info.Sys().(*syscall.Stat_t)
	switch {
	case !info.IsDir():
		return errors.New("it is not a folder")
	case !ok:
		return errors.New("its owner is unknown")
	case stat.Uid != 0 && int(stat.Uid) != os.Geteuid():
		return fmt.Errorf("it belongs to user %d", stat.Uid)
	case info.Mode().Perm()&0o022 != 0:
		return fmt.Errorf("others may write to it (mode %#o)", info.Mode().Perm())
	}
	return nil
}

// fill unpacks into dir, and puts the executable there when asked to.
func (p *Payload) fill(dir string, keepExecutable bool) error {
	if !keepExecutable {
		return p.Unpack(dir)
	}
	f, err := os.CreateTemp(filepath.Dir(dir), temporaryPrefix)
	if err != nil {
		return err
	}
	defer f.Close()
	defer os.Remove(f.Name()) // fails once it has been renamed
	if err := p.unpack(dir, f); err != nil {
		return err
	}
	return p.publishExecutable(f, dir)
}

// addExecutable puts the executable into the folder of a version that a launcher unpacked.
func (p *Payload) addExecutable(dir string) error {
	f, err := os.CreateTemp(filepath.Dir(dir), temporaryPrefix)
	if err != nil {
		return err
	}
	defer f.Close()
	defer os.Remove(f.Name()) // fails once it has been renamed
	hash := sha256.New()
	if _, err := io.Copy(io.MultiWriter(f, hash), p.reader()); err != nil {
		return fmt.Errorf("copy %s to %s: %w", p.file.Name(), dir, err)
	}
	if !bytes.Equal(hash.Sum(nil), p.sum[:]) {
		return fmt.Errorf("%s: %w", p.file.Name(), ErrDamaged)
	}
	return p.publishExecutable(f, dir)
}

// publishExecutable gives f, which holds launcher and payload, its trailer, mode and name.
func (p *Payload) publishExecutable(f *os.File, dir string) error {
	if _, err := f.Write(p.encode()); err != nil {
		return err
	}
	if err := f.Chmod(0o755); err != nil {
		return err
	}
	return atomicfile.Commit(f, filepath.Join(dir, executableName))
}

// lock waits for the lock on versionsDir. It goes with the process, however that ends.
func lock(versionsDir string) (unlock func() error, err error) {
	f, err := os.OpenFile(filepath.Join(versionsDir, lockName), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	for {
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX)
		if !errors.Is(err, syscall.EINTR) {
			break
		}
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", f.Name(), err)
	}
	return f.Close, nil
}

// removeTemporaries removes what killed processes left. The caller holds the lock, so that
// none is in use.
func removeTemporaries(versionsDir string) error {
	entries, err := os.ReadDir(versionsDir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), temporaryPrefix) {
			err = errors.Join(err, os.RemoveAll(filepath.Join(versionsDir, e.Name())))
		}
	}
	return err
}
