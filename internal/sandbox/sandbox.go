// Package sandbox makes a machine of this one: the same kernel, processor and files, but processes, mounts and a network that nobody else has. What
// runs there cannot reach anything outside, what it writes into folders of the system goes elsewhere, and all of it ends with its
// first process: the kernel kills the others, and takes their mounts and interfaces.
//
// The program that makes the machine starts itself anew with [Run], and the new process calls [Enter] before anything else:
//
//	namespaces  processes, mounts and network of its own
//	/proc, /run its own
//	layers      over the folders of [Options.Layered]: reads fall through, writes stay in [Options.Folder]
//	network     lo, and eth0 with [Address], a cable to nowhere: no route leads out
//
// Not its own are the kernel's settings under /proc/sys but for the network's, control groups, devices, and folders without a layer.
package sandbox

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// Address is eth0's in a sandbox. Nobody has it: it is of TEST-NET-1 (RFC 5737).
const Address = "192.0.2.1/24"

// ErrUnavailable says that the kernel, or who runs this one in a container, does not give it namespaces.
var ErrUnavailable = errors.New("no namespaces of its own are to be had here")

// Command prepares a program that is to be the first process of a sandbox, and must call [Enter]. It is killed when ctx ends, and when this
// process does, however that ends; everything in the sandbox dies with it. [Run] runs it.
func Command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNS | unix.CLONE_NEWNET,
		Pdeathsig:  syscall.SIGKILL,
	}
	return cmd
}

// Run runs a command of [Command] and waits until nothing of its sandbox runs any more.
func Run(cmd *exec.Cmd) error {
	// PR_SET_PDEATHSIG is about the thread that forked, not the process: hold it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := cmd.Start(); errors.Is(err, unix.EPERM) || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSPC) { // unshare(2)
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	} else if err != nil {
		return err
	}
	return cmd.Wait()
}

// Options is how a sandbox looks.
type Options struct {
	Folder  string   // for what the layers take up; on a disk
	Layered []string // folders that get a layer each, if they are there
	Seen    []string // folders that stay visible although something of the sandbox hides them; see [Enter]
}

// Enter makes this process, started by [Run], see its machine. It returns where each of [Options.Seen] is now, to be read alone.
func Enter(o Options) (seen []string, err error) {
	if os.Getpid() != 1 {
		return nil, errors.New("not the first process of a sandbox")
	}
	if err := enterMounts(o, &seen); err != nil {
		return nil, err
	}
	return seen, enterNetwork()
}
