package hostinfo

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Kernel is what trying the kernel's features gave: nil where it works.
type Kernel struct {
	Namespaces error // mount, network, PID, IPC and UTS namespaces
	Overlay    error // an overlay of folders on the file system of the data folder
	Bridge     error // a bridge interface
	Veth       error // a pair of virtual interfaces
	NFTables   error // the nf_tables firewall
	VXLAN      error // a tunnel of Flannel's backend vxlan
	WireGuard  error // one of its backend wireguard-native
}

// ProbeKernel tries each feature in namespaces of its own, which vanish when it returns. It
// needs root. dir is an existing folder on the file system that overlays will be on; a
// folder is made in it and removed again.
func ProbeKernel(dir string) Kernel {
	var k Kernel
	onThread(func() {
		flags := unix.CLONE_NEWNS | unix.CLONE_NEWNET | unix.CLONE_NEWPID | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS
		if err := unix.Unshare(flags); err != nil {
			k.Namespaces = fmt.Errorf("unshare: %w", err)
			return
		}
		k.Overlay = probeOverlay(dir)
		k.Bridge = netlink.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "probe0"}})
		k.Veth = netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "probe1"}, PeerName: "probe2"})
		k.NFTables = probeNFTables()
		k.VXLAN = netlink.LinkAdd(&netlink.Vxlan{LinkAttrs: netlink.LinkAttrs{Name: "probe3"}, VxlanId: 1, Port: 8472})
		k.WireGuard = netlink.LinkAdd(&netlink.Wireguard{LinkAttrs: netlink.LinkAttrs{Name: "probe4"}})
	})
	return k
}

// probeOverlay mounts an overlay and makes in it what an image's layers need: a file copied
// up, and a removal, which becomes a whiteout.
func probeOverlay(dir string) (err error) {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	base, err := os.MkdirTemp(dir, ".airgap-probe-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(base)) }()
	options := make([]string, 0, 3)
	for option, name := range map[string]string{"lowerdir": "l", "upperdir": "u", "workdir": "w"} {
		folder := filepath.Join(base, name)
		if err := os.Mkdir(folder, 0o700); err != nil {
			return err
		}
		options = append(options, option+"="+folder)
	}
	merged := filepath.Join(base, "m")
	err = errors.Join(os.Mkdir(merged, 0o700), os.WriteFile(filepath.Join(base, "l", "file"), nil, 0o600))
	if err != nil {
		return err
	}
	if err := unix.Mount("overlay", merged, "overlay", 0, strings.Join(options, ",")); err != nil {
		return fmt.Errorf("mount overlay: %w", err)
	}
	defer func() { err = errors.Join(err, unix.Unmount(merged, unix.MNT_DETACH)) }()
	return os.Remove(filepath.Join(merged, "file"))
}

// probeNFTables asks nf_tables for the generation of its rules, which makes the kernel load the module.
func probeNFTables() error {
	request := nl.NewNetlinkRequest(unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_GETGEN, 0)
	request.AddData(&nl.Nfgenmsg{NfgenFamily: unix.AF_UNSPEC, Version: nl.NFNETLINK_V0})
	_, err := request.Execute(unix.NETLINK_NETFILTER, 0)
	return err
}

// onThread runs f on a thread of its own that ends with it, so that what f does to the
// thread's namespaces touches nothing else. The thread is never the process's main one,
// whose namespaces /proc/self shows and which cannot end.
func onThread(f func()) {
	done := make(chan struct{})
	go func() {
		runtime.LockOSThread() // and never unlocked unless this is the main thread
		if unix.Gettid() == unix.Getpid() {
			onThread(f) // while this goroutine holds the main thread
			runtime.UnlockOSThread()
		} else {
			f()
		}
		close(done)
	}()
	<-done
}

// Disk is the file system below a folder.
type Disk struct {
	FreeBytes   int64 // for root
	TotalBytes  int64
	FreeInodes  int64
	TotalInodes int64 // 0 where the file system makes inodes as needed (btrfs, xfs shows its bound)
	NoExec      bool
	ReadOnly    bool
}

// DiskAt reads the file system that the existing folder dir is on.
func DiskAt(dir string) (Disk, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return Disk{}, &os.PathError{Op: "statfs", Path: dir, Err: err}
	}
	return Disk{
		FreeBytes:   int64(s.Bavail) * s.Bsize,
		TotalBytes:  int64(s.Blocks) * s.Bsize,
		FreeInodes:  int64(s.Ffree),
		TotalInodes: int64(s.Files),
		NoExec:      s.Flags&unix.ST_NOEXEC != 0,
		ReadOnly:    s.Flags&unix.ST_RDONLY != 0,
	}, nil
}

// ExistingParent returns name, absolute and clean, or the nearest folder above it that exists.
func ExistingParent(name string) string {
	for name != "/" {
		info, err := os.Stat(name)
		if err == nil && info.IsDir() {
			return name
		}
		name = filepath.Dir(name)
	}
	return name
}
