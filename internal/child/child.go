// Package child keeps a process running that this one depends on: it is started again
// when it ends, it ends when this process does, however this process ends, and it is
// stopped in order: SIGTERM first, SIGKILL when its time is up.
package child

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

// Restarts back off from the first to the second; a process that ran for longer
// than steady starts from the first again.
const (
	firstBackOff = 500 * time.Millisecond
	maxBackOff   = 10 * time.Second
	steady       = 30 * time.Second
)

// Spec says what to run.
type Spec struct {
	Name   string                           // for messages
	Path   string                           // absolute path of the executable
	Args   []string                         // argv, argv[0] included
	Env    []string                         // whole environment
	Log    *os.File                         // stdout and stderr
	Stop   time.Duration                    // from SIGTERM to SIGKILL
	Abort  <-chan struct{}                  // makes a process that hangs say what it does (SIGABRT), and end; may be nil
	Report func(format string, args ...any) // told about restarts; may be nil
}

// Run keeps the process running until ctx is done, then stops it and returns nil. It
// returns an error only when the process cannot be started at all.
func Run(ctx context.Context, s Spec) error {
	// PR_SET_PDEATHSIG is about the thread that forked, not the process: hold it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()

	backOff := firstBackOff
	for {
		started := time.Now()
		err := runOnce(ctx, s)
		if ctx.Err() != nil {
			return nil
		}
		var start *startError
		if errors.As(err, &start) {
			return fmt.Errorf("%s: %w", s.Name, start.err)
		}
		if time.Since(started) > steady {
			backOff = firstBackOff
		}
		if s.Report != nil {
			s.Report("%s ended (%v), starting it again in %s", s.Name, err, backOff)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(backOff):
		}
		backOff = min(2*backOff, maxBackOff)
	}
}

type startError struct{ err error }

func (e *startError) Error() string { return e.err.Error() }

func runOnce(ctx context.Context, s Spec) error {
	cmd := &exec.Cmd{
		Path: s.Path, Args: s.Args, Env: s.Env, Stdout: s.Log, Stderr: s.Log, Dir: "/",
		SysProcAttr: &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM},
	}
	if err := cmd.Start(); err != nil {
		return &startError{err}
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	end := syscall.SIGTERM
	select {
	case err := <-ended:
		if err == nil {
			err = errors.New("exit status 0")
		}
		return err
	case <-s.Abort:
		end = syscall.SIGABRT
	case <-ctx.Done():
	}
	_ = cmd.Process.Signal(end) // it may have ended just now
	select {
	case err := <-ended:
		return err
	case <-time.After(s.Stop):
		_ = cmd.Process.Kill()
		return <-ended
	}
}

// WithPath returns env with dir in front of its PATH.
func WithPath(env []string, dir string) []string {
	path := "PATH=" + dir
	rest := slices.DeleteFunc(slices.Clone(env), func(v string) bool {
		old, found := strings.CutPrefix(v, "PATH=")
		if found && old != "" {
			path = "PATH=" + dir + ":" + old
		}
		return found
	})
	return append(rest, path)
}
