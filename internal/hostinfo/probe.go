package hostinfo

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	continuity "github.com/containerd/continuity/fs"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Kernel is what trying the kernel's features gave: nil where it works.
type Kernel struct {
	Namespaces error // mount, network, PID, IPC and UTS namespaces
	Overlay    error // an overlay of folders on the file system of the data folder
	DType      error // names in folders tell what they are, without which images are not unpacked onto an overlay
	Bridge     error // a bridge interface
	Veth       error // a pair of virtual interfaces
	NFTables   error // the nf_tables firewall
	Rules      error // the kinds of rules that services and network policies are made of; nil without nft, too
	VXLAN      error // a tunnel of Flannel's backend vxlan
	WireGuard  error // one of its backend wireguard-native
}

// ProbeKernel tries each feature in namespaces of its own, which vanish when it returns. It
// needs root. dir is an existing folder on the file system that overlays will be on; a
// folder is made in it and removed again. nft is the program that loads rules; empty: none are tried.
func ProbeKernel(dir, nft string) Kernel {
	var k Kernel
	onThread(func() {
		flags := unix.CLONE_NEWNS | unix.CLONE_NEWNET | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS
		if err := unix.Unshare(flags); err != nil {
			k.Namespaces = fmt.Errorf("unshare: %w", err)
			return
		}
		k.Overlay = probeOverlay(dir)
		k.DType = probeDType(dir)
		k.Bridge = netlink.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "probe0"}})
		k.Veth = netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "probe1"}, PeerName: "probe2"})
		if k.NFTables = probeNFTables(); k.NFTables == nil && nft != "" {
			k.Rules = probeRules(nft)
		}
		k.VXLAN = netlink.LinkAdd(&netlink.Vxlan{LinkAttrs: netlink.LinkAttrs{Name: "probe3"}, VxlanId: 1, Port: 8472})
		k.WireGuard = netlink.LinkAdd(&netlink.Wireguard{LinkAttrs: netlink.LinkAttrs{Name: "probe4"}})
		if err := unix.Unshare(unix.CLONE_NEWPID); err != nil { // the last: the thread has no second child afterwards
			k.Namespaces = fmt.Errorf("unshare: %w", err)
		}
	})
	return k
}

// ProbePrefix begins the name of the folder that a probe makes; the ID of its process follows, and a dash.
const ProbePrefix = ".airgap-probe-"

// RemoveProbes removes the folders in dir of probes that were killed.
func RemoveProbes(dir string) error {
	folders, err := filepath.Glob(filepath.Join(dir, ProbePrefix+"*"))
	if err != nil {
		return err
	}
	var errs []error
	for _, folder := range folders {
		id, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(folder), ProbePrefix), "-")
		if pid, err := strconv.Atoi(id); err == nil && unix.Kill(pid, 0) == nil {
			continue // it may be at work
		}
		errs = append(errs, os.RemoveAll(folder))
	}
	return errors.Join(errs...)
}

// probeOverlay mounts an overlay and makes in it what an image's layers need: a file copied
// up, and a removal, which becomes a whiteout.
func probeOverlay(dir string) (err error) {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if err := RemoveProbes(dir); err != nil {
		return err
	}
	base, err := os.MkdirTemp(dir, fmt.Sprintf("%s%d-", ProbePrefix, os.Getpid()))
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

// probeDType looks at a folder as containerd does before it unpacks images: XFS made with ftype=0, and some network file
// systems, do not say there what a name stands for.
func probeDType(dir string) error {
	supported, err := continuity.SupportsDType(dir)
	if err == nil && !supported {
		err = errors.New("the file system does not say what the names in a folder are (XFS made with ftype=0)")
	}
	return err
}

// probedRules have each kind of expression that kube-proxy, the portmap plug-in and the network policies use: on many kernels each is a
// module of its own.
const probedRules = `
table ip probe {
	map services { type ipv4_addr . inet_proto . inet_service : verdict; }
	set clients { type ipv4_addr; flags dynamic,timeout; timeout 1h; }
	chain endpoint { update @clients { ip saddr }; meta l4proto tcp dnat to 192.0.2.1:80; }
	chain service { numgen random mod 2 vmap { 0: goto endpoint, 1: goto endpoint }; }
	chain local { type nat hook prerouting priority dstnat; ip daddr . meta l4proto . th dport vmap @services; fib daddr type local goto service; }
	chain leave { type nat hook postrouting priority srcnat; meta mark & 0x4000 != 0 masquerade fully-random; }
}
table inet probe {
	chain forward { type filter hook forward priority filter; ct state established,related accept; ct state invalid drop; meta l4proto tcp reject with tcp reset; counter reject; }
}
`

// probeRules loads rules into the network namespace of this thread.
func probeRules(nft string) error {
	cmd := exec.Command(nft, "-f", "-")
	cmd.Stdin = strings.NewReader(probedRules)
	if out, err := cmd.CombinedOutput(); err != nil {
		said, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
		return fmt.Errorf("%w: %s", err, said)
	}
	return nil
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
