package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Executables in the checkout: the packed one, as a user has it, and the program in it that verbs without a node run in.
const (
	packed = "bin/airgap"
	desk   = "build/root/bin/airgap-desk"
)

// usage is what one process took, with the children it waited for.
type usage struct {
	seconds      float64 // from start to end
	cpuSeconds   float64
	peakMB       float64 // largest resident memory of any one of them
	writtenBytes float64 // to files on disks, as the kernel accounts it to the process that wrote
}

// command prepares a process with the environment that airgap needs here. Cancelling ctx asks its process
// group to end, and kills it if it does not.
func (b *bench) command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = b.environment()
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = 30 * time.Second
	return cmd
}

// environment is that of airgap here: without a data folder of our own the packed executable would unpack to the
// machine's.
func (b *bench) environment() []string {
	return append(os.Environ(), "AIRGAP_DATA_DIR="+filepath.Join(b.work, "tool"), "COSIGN_PASSWORD=")
}

// output runs a command and returns its standard output; an error carries what it said.
func output(cmd *exec.Cmd) (string, error) {
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", commandError(cmd, err, stdout.String()+stderr.String())
	}
	return stdout.String(), nil
}

// measured runs a command to its end, says what it took and passes each line of its standard output on
// as it comes; line may be nil.
func measured(cmd *exec.Cmd, line func(text string, sinceStart time.Duration)) (usage, error) {
	var stdout lines
	var stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := forgetPeak(); err != nil {
		return usage{}, err
	}
	began := time.Now()
	stdout.each = func(text string) {
		if line != nil {
			line(text, time.Since(began))
		}
	}
	if err := cmd.Run(); err != nil {
		return usage{}, commandError(cmd, err, stdout.all.String()+stderr.String())
	}
	took := time.Since(began)
	rusage := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	const blockBytes = 512 // of ru_oublock, see getrusage(2)
	return usage{
		seconds:      took.Seconds(),
		cpuSeconds:   (cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Seconds(),
		peakMB:       float64(rusage.Maxrss) * 1024 / 1e6,
		writtenBytes: float64(rusage.Oublock) * blockBytes,
	}, nil
}

// forgetPeak makes this program small. Between fork and exec a child has its parent's memory, and the kernel counts the
// peak of that in its own (clear_refs in proc(5)).
func forgetPeak() error {
	debug.FreeOSMemory()
	return os.WriteFile("/proc/self/clear_refs", []byte("5"), 0)
}

func commandError(cmd *exec.Cmd, err error, said string) error {
	const most = 4000
	said = strings.TrimSpace(said)
	if len(said) > most {
		said = "…" + said[len(said)-most:]
	}
	return fmt.Errorf("%s: %w\n%s", strings.Join(cmd.Args, " "), err, said)
}

// lines is a writer that calls each for every complete line.
type lines struct {
	each func(string)
	all  bytes.Buffer
	rest string
}

func (l *lines) Write(p []byte) (int, error) {
	l.all.Write(p)
	l.rest += string(p)
	for {
		line, rest, found := strings.Cut(l.rest, "\n")
		if !found {
			return len(p), nil
		}
		l.rest = rest
		l.each(line)
	}
}

// warm reads a file, so that it is in the page cache.
func warm(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	_, err = io.Copy(io.Discard, file)
	return err
}

// settle writes out what earlier work has left dirty, so that it is nobody else's burden.
func settle() { unix.Sync() }

// pause waits, unless ctx ends.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// await repeats try every 50 ms until it returns nil. When patience is over, the last error is returned.
func await(ctx context.Context, patience time.Duration, try func(context.Context) error) error {
	limited, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		err := try(limited)
		if err == nil {
			return nil
		}
		if waiting := pause(limited, 50*time.Millisecond); waiting != nil {
			return errors.Join(fmt.Errorf("not within %s: %w", patience, err), ctx.Err())
		}
	}
}
