package supervise

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// watchdogGrace is from the signal that makes a hung command tell what it does to the one that ends it.
const watchdogGrace = 30 * time.Second

// Watchdog ends a command that shows no sign of life, by the protocol of systemd's service managers
// (sd_notify(3)): the command is given a socket in NOTIFY_SOCKET and a time in WATCHDOG_USEC, and says WATCHDOG=1
// at least as often. It is watched from its first word on, and gets SIGABRT, which makes Go programs print what
// each goroutine waits for, when it is silent for that time or says WATCHDOG=trigger.
//
// It uses system calls alone: the launcher that supervises links no network.
type Watchdog struct {
	path    string
	fd      int
	timeout time.Duration
	began   time.Time
	last    atomic.Int64 // time.Duration since began, of the last word; 0: none
	trigger atomic.Bool
}

// ListenWatchdog makes the socket at path, for root alone.
func ListenWatchdog(path string, timeout time.Duration) (*Watchdog, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_DGRAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("watchdog: %w", err)
	}
	err = syscall.Bind(fd, &syscall.SockaddrUnix{Name: path})
	if err == nil {
		err = os.Chmod(path, 0o600)
	}
	if err != nil {
		syscall.Close(fd)
		return nil, fmt.Errorf("watchdog socket %s: %w", path, err)
	}
	w := &Watchdog{path: path, fd: fd, timeout: timeout, began: time.Now()}
	go w.read()
	return w, nil
}

// Close removes the socket. The reader ends with the process.
func (w *Watchdog) Close() error { return os.Remove(w.path) }

// environment is what the command is told.
func (w *Watchdog) environment() []string {
	return []string{"NOTIFY_SOCKET=" + w.path, fmt.Sprintf("WATCHDOG_USEC=%d", w.timeout.Microseconds())}
}

func (w *Watchdog) read() {
	buffer := make([]byte, 4096)
	for {
		n, _, err := syscall.Recvfrom(w.fd, buffer, 0)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if err != nil {
			return
		}
		for line := range strings.Lines(string(buffer[:n])) {
			switch strings.TrimSpace(line) {
			case "WATCHDOG=trigger":
				w.trigger.Store(true)
			case "WATCHDOG=1", "READY=1":
				w.last.Store(int64(max(time.Since(w.began), 1)))
			}
		}
	}
}

// forget begins anew, for another run of the command.
func (w *Watchdog) forget() {
	w.last.Store(0)
	w.trigger.Store(false)
}

// watch ends the process when it is silent for too long; it returns when done is closed.
func (w *Watchdog) watch(process *os.Process, say func(string, ...any), done <-chan struct{}) {
	tick := time.NewTicker(max(w.timeout/20, time.Millisecond))
	defer tick.Stop()
	for {
		select {
		case <-done:
			return
		case <-tick.C:
		}
		last := time.Duration(w.last.Load())
		silent := time.Since(w.began) - last
		if !w.trigger.Load() && (last == 0 || silent < w.timeout) {
			continue
		}
		say("process %d shows no sign of life for %s: ending it", process.Pid, silent.Round(time.Second))
		_ = process.Signal(syscall.SIGABRT) // it may just have ended
		select {
		case <-done:
		case <-time.After(min(watchdogGrace, w.timeout)):
			_ = process.Kill()
		}
		return
	}
}
