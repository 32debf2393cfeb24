package supervise

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
)

// PIDFile says which process supervises. It is locked for as long as that process lives, so a
// file that a power cut or a kill left behind is never mistaken for a running one.
type PIDFile struct{ file *os.File }

// CreatePIDFile writes this process' ID to path and locks it. It fails, naming the holder,
// when a living process has it.
func CreatePIDFile(path string) (*PIDFile, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		defer f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			pid, _ := os.ReadFile(path)
			return nil, fmt.Errorf("%s: process %s is running already; stop it first", path, strings.TrimSpace(string(pid)))
		}
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	if err := f.Truncate(0); err != nil {
		f.Close()
		return nil, err
	}
	if _, err := fmt.Fprintln(f, os.Getpid()); err != nil {
		f.Close()
		return nil, err
	}
	return &PIDFile{file: f}, nil
}

// Remove removes the file and gives up the lock.
func (p *PIDFile) Remove() error {
	return errors.Join(os.Remove(p.file.Name()), p.file.Close())
}
