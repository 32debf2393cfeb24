// Package supervise keeps one command running on a host that has no init system to do it.
//
//	          exit 0 ────────────────► done
//	start ──► exit ≠ 0, killed ──► wait 1 s, 2 s … 10 s ──► start
//	          asked to stop ─► TERM or INT passed on ─► wait for its end ─► done
//
// The wait starts over at one second after a run of [settled]. Nothing is ever given up: a
// machine in the field has nobody to start it again.
package supervise

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"
)

const (
	firstWait = time.Second
	longWait  = 10 * time.Second
	// settled is how long a run must last for its end to count as a new trouble.
	settled = time.Minute
)

// Options say what to supervise.
type Options struct {
	Command []string         // path and arguments; never empty
	Log     io.Writer        // takes the command's stdout and stderr, and one line per start and end
	Stop    <-chan os.Signal // a signal here is passed to the command and ends the restarting
	Before  []string         // run before each start of the command; how it ends does not matter
	Count   string           // file that is told how often the command was started again; empty: none
	Watch   *Watchdog        // nil: nobody watches the command
	// After waits between two starts; nil is [time.After].
	After func(time.Duration) <-chan time.Time
}

// Run runs the command until it exits with 0 or is asked to stop. The command is also sent
// SIGTERM when the supervising process dies, so that a later supervisor never meets it. An
// error means that nothing could be supervised at all.
//
// What the command starts in turn may outlive it and keep writing to the log; only the
// command itself is waited for.
func Run(opts Options) error {
	after := opts.After
	if after == nil {
		after = time.After
	}
	// The parent-death signal follows the thread that started the child, not the process.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()

	out, closeOut, err := pipeTo(opts.Log)
	if err != nil {
		return err
	}
	defer closeOut()
	say := func(format string, args ...any) {
		fmt.Fprintf(opts.Log, "%s supervise: %s\n", time.Now().UTC().Format(time.RFC3339), fmt.Sprintf(format, args...))
	}

	restarts := 0
	for wait := firstWait; ; wait = min(2*wait, longWait) {
		if opts.Count != "" {
			_ = os.WriteFile(opts.Count, fmt.Appendln(nil, restarts), 0o644) // what counts is that the command runs
		}
		runBefore(opts, out, say)
		started := time.Now()
		end, stopped := runOnce(opts, out, say)
		switch {
		case stopped:
			say("%s stopped as asked: %s", opts.Command[0], end)
			return nil
		case end == "":
			say("%s is done", opts.Command[0])
			return nil
		case time.Since(started) >= settled:
			wait = firstWait
		}
		say("%s ended: %s; starting it again in %v", opts.Command[0], end, wait)
		select {
		case <-opts.Stop:
			return nil
		case <-after(wait):
		}
		restarts++
	}
}

// runBefore runs what comes before the command.
func runBefore(opts Options, out *os.File, say func(string, ...any)) {
	if len(opts.Before) == 0 {
		return
	}
	cmd := exec.Command(opts.Before[0], opts.Before[1:]...)
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Run(); err != nil {
		say("%s: %v", strings.Join(opts.Before, " "), err)
	}
}

// runOnce runs the command to its end, and tells how that was (empty: exit 0) and whether it
// had been asked for.
func runOnce(opts Options, out *os.File, say func(string, ...any)) (end string, stopped bool) {
	cmd := exec.Command(opts.Command[0], opts.Command[1:]...)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	if opts.Watch != nil {
		opts.Watch.forget()
		cmd.Env = append(os.Environ(), opts.Watch.environment()...)
	}
	if err := cmd.Start(); err != nil {
		return err.Error(), false
	}
	say("started %s as process %d", opts.Command[0], cmd.Process.Pid)

	ctx, cancel := context.WithCancel(context.Background())
	if opts.Watch != nil {
		go opts.Watch.watch(cmd.Process, say, ctx.Done())
	}
	relayed := make(chan bool, 1)
	go func() {
		asked := false
		for {
			select {
			case s := <-opts.Stop:
				asked = true
				_ = cmd.Process.Signal(s) // it may just have ended: then there is nobody to tell
			case <-ctx.Done():
				relayed <- asked
				return
			}
		}
	}()
	err := cmd.Wait()
	cancel()
	stopped = <-relayed
	if err != nil {
		end = err.Error()
	}
	return end, stopped
}

// pipeTo returns a file whose readers' end is copied to w, so that everything the command
// starts can inherit it and no write of theirs waits for anything but w. Closing does not wait for
// those who still hold it.
func pipeTo(w io.Writer) (out *os.File, closeOut func(), err error) {
	in, out, err := os.Pipe()
	if err != nil {
		return nil, nil, err
	}
	copied := make(chan struct{})
	go func() {
		defer close(copied)
		_, _ = io.Copy(w, in)
	}()
	return out, func() {
		out.Close()
		select {
		case <-copied:
		case <-time.After(time.Second): // the command's own children still hold it
		}
		in.Close()
	}, nil
}
