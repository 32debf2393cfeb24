package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// NetworkClaims is the folder in which nodes claim their network namespaces: in one namespace there is
// one kube-proxy, one cni0 and one flannel.1. A file is named by the namespace's number and holds the data folder of
// the node, which keeps it locked while it runs; it stays when the node stops, as the interfaces do.
const NetworkClaims = "/run/airgap-network"

// ErrClaimed says that another node has the network namespace.
var ErrClaimed = errors.New("another node runs in this network namespace")

// ClaimNetwork makes the calling process the node, with this data folder, of the network namespace with
// this number, in the folder of claims dir. The error is [ErrClaimed] if another has it.
func ClaimNetwork(dir string, namespace uint64, dataDir string) (release func(), err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(dir, fmt.Sprint(namespace)), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return nil, err
		}
		owner, _ := NetworkClaimant(dir, namespace)
		return nil, fmt.Errorf("%w, with the data folder %s: the rules and interfaces of both would be the same; "+
			"uninstall that one, or start this one in a network namespace of its own", ErrClaimed, owner)
	}
	if err := errors.Join(f.Truncate(0), writeAt(f, dataDir)); err != nil {
		f.Close()
		return nil, err
	}
	return func() { f.Close() }, nil
}

func writeAt(f *os.File, text string) error {
	_, err := f.WriteAt([]byte(text), 0)
	return err
}

// NetworkClaimant is the data folder of the node that has, or had when it last ran, the network
// namespace; empty if none has.
func NetworkClaimant(dir string, namespace uint64) (string, error) {
	data, err := os.ReadFile(filepath.Join(dir, fmt.Sprint(namespace)))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return strings.TrimSpace(string(data)), err
}

// NetworkNamespace is the number of this process's network namespace.
func NetworkNamespace() (uint64, error) {
	var s unix.Stat_t
	if err := unix.Stat("/proc/self/ns/net", &s); err != nil {
		return 0, &os.PathError{Op: "stat", Path: "/proc/self/ns/net", Err: err}
	}
	return s.Ino, nil
}
