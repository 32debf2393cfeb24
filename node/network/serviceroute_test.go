package network

import (
	"net"
	"net/netip"
	"os"
	"runtime"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"airgap/node/config"
)

// A machine without a default route, of both families.
func TestServicesAreReachedWithoutADefaultRoute(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: a network namespace")
	}
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with its namespace
		done <- inNamespace(t)
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func inNamespace(t *testing.T) error {
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return err
	}
	cable := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "eth0"}, PeerName: "peer0"}
	if err := netlink.LinkAdd(cable); err != nil {
		return err
	}
	for _, text := range []string{"10.99.0.2/24", "fd99::2/64"} {
		address, err := netlink.ParseAddr(text)
		if err != nil {
			return err
		}
		address.Flags = unix.IFA_F_NODAD
		if err := netlink.AddrAdd(cable, address); err != nil {
			return err
		}
	}
	peer, err := netlink.LinkByName("peer0")
	if err != nil {
		return err
	}
	for _, end := range []netlink.Link{cable, peer} {
		if err := netlink.LinkSetUp(end); err != nil {
			return err
		}
	}
	services := []netip.Prefix{netip.MustParsePrefix("10.43.0.0/16"), netip.MustParsePrefix("fd43::/112")}
	addresses := []netip.Addr{netip.MustParseAddr("10.99.0.2"), netip.MustParseAddr("fd99::2")}
	for _, run := range []string{"first", "second"} {
		if err := EnsureServiceRoute(services, addresses); err != nil {
			return err
		}
		for i, service := range []string{"10.43.0.10", "fd43::a"} {
			routes, err := netlink.RouteGet(net.ParseIP(service))
			if err != nil {
				t.Errorf("%s run: no route to %s: %v", run, service, err)
			} else if !routes[0].Src.Equal(addresses[i].AsSlice()) {
				t.Errorf("%s run: %s is reached from %s", run, service, routes[0].Src)
			}
		}
	}
	// By their mark an uninstall finds them.
	marked, err := netlink.RouteListFiltered(netlink.FAMILY_ALL, &netlink.Route{Protocol: config.RouteProtocol}, netlink.RT_FILTER_PROTOCOL)
	if err != nil {
		return err
	}
	if len(marked) != 2 {
		t.Errorf("%d routes of ours, want 2: %v", len(marked), marked)
	}
	return nil
}
