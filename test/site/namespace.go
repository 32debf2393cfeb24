package site

import (
	"errors"
	"net"
	"runtime"

	"golang.org/x/sys/unix"
)

// ListenOutside listens at an address of the LAN's own namespace, where a machine is that is no node.
func (n *Node) ListenOutside(network, address string) (listener net.Listener, err error) {
	err = visit(namespaceFile(n.site.lan), func() error {
		var err error
		listener, err = net.Listen(network, address)
		return err
	})
	return listener, err
}

// visit does something in a network namespace, on a thread that comes back: it may be the process's first one, which does not
// end, and by whose namespace the process is told to be a machine's. A thread that cannot come back ends with its goroutine.
func visit(namespace string, do func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		away, err := visitHere(namespace, do)
		if !away {
			runtime.UnlockOSThread()
		}
		done <- err
	}()
	return <-done
}

// visitHere does it on this very thread, and says whether that is away now.
func visitHere(namespace string, do func() error) (away bool, err error) {
	there, err := unix.Open(namespace, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return false, err
	}
	defer unix.Close(there)
	here, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return false, err
	}
	defer unix.Close(here)
	if err := unix.Setns(there, unix.CLONE_NEWNET); err != nil {
		return false, err
	}
	err = do()
	back := unix.Setns(here, unix.CLONE_NEWNET)
	return back != nil, errors.Join(err, back)
}
