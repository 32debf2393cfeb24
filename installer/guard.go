package installer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"

	"golang.org/x/sys/unix"

	"airgap/node/config"
)

// hold is what a run has on a node that it has stopped: the duty to start it again. If the run is killed its guard does that, a process that
// outlives it and calls [Guard]. What the start then finds is what it would find after a power cut.
type hold struct {
	guard *exec.Cmd // nil: there is none
	pipe  *os.File  // to the guard; closed by the kernel, if nobody else does
}

func newHold(o *Options) (*hold, error) {
	if o.Guard == nil {
		return &hold{}, nil
	}
	read, write, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer read.Close()
	cmd := o.Guard(o.Server.DataDir, o.Init)
	cmd.Dir = "/"
	cmd.Stdin = read
	cmd.SysProcAttr = &unix.SysProcAttr{Setsid: true} // Ctrl-C is not for it
	if err := cmd.Start(); err != nil {
		return nil, errors.Join(fmt.Errorf("start a guard: %w", err), write.Close())
	}
	return &hold{guard: cmd, pipe: write}, nil
}

// release ends the guard: the node runs.
func (h *hold) release() error {
	if h.guard == nil {
		return nil
	}
	_, err := h.pipe.Write([]byte{'.'})
	return errors.Join(err, h.pipe.Close(), h.guard.Wait())
}

// abandon leaves the node to the guard.
func (h *hold) abandon() {
	if h.guard != nil {
		_ = h.pipe.Close()
	}
}

// stopNode stops the node, if this machine has one.
func (r *run) stopNode(ctx context.Context) (err error) {
	if r.hold == nil && r.installed() {
		if r.hold, err = newHold(&r.Options); err != nil {
			return err
		}
	}
	if err := r.service.stop(ctx); err != nil {
		return fmt.Errorf("stop the node: %w", err)
	}
	return nil
}

// startNode starts the node, and says whether it could be tried: see service.
func (r *run) startNode(ctx context.Context) (tried bool, err error) {
	if tried, err = r.service.start(ctx); err != nil {
		return tried, err
	}
	if r.hold != nil {
		if err := r.hold.release(); err != nil {
			r.console.warn("the guard of the node did not end: " + err.Error())
		}
		r.hold = nil
	}
	return tried, nil
}

// startAgain starts the node if this run has stopped it, or was about to.
func (r *run) startAgain(ctx context.Context) error {
	if r.hold == nil {
		return nil
	}
	r.console.note("starting the node again")
	err := errors.Join(r.closeImport(), r.service.stop(ctx))
	if err == nil {
		_, err = r.startNode(ctx)
	}
	if err != nil {
		return fmt.Errorf("start the node again: %w", err)
	}
	return nil
}

const (
	guardTries = 50 // a process that has been killed lets go of its files one after the other
	guardRetry = 20 * time.Millisecond
)

// Guard waits for its dismissal, or for the end of the process that has the other end of orders. After that it starts the node, which that process
// has stopped, and says so on log, unless another install has begun: the node is its business then.
func Guard(ctx context.Context, opts Options, orders io.Reader, log io.Writer) error {
	if n, err := orders.Read(make([]byte, 1)); n > 0 || !errors.Is(err, io.EOF) {
		return err
	}
	if err := opts.complete(); err != nil {
		return err
	}
	p := config.PathsOf(opts.Server.DataDir)
	for try := 0; ; try++ {
		held, err := lockHolder(p)
		if err != nil {
			return err
		}
		if held == nil {
			break
		}
		if try == guardTries {
			return nil
		}
		time.Sleep(guardRetry)
	}
	fmt.Fprintln(log, "airgap: the install has ended while the node was stopped for it: starting the node again")
	s := newService(&opts, p)
	err := s.stop(ctx) // it may have been about to
	if err == nil {
		_, err = s.start(ctx)
	}
	return err
}
