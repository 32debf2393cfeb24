package network

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"airgap/node/config"
)

// EnsureServiceRoute makes the addresses of services reachable from the node itself. The kernel
// looks for a route before kube-proxy's rules translate a service's address, and a
// machine without a default route, as in an air gap most are, finds none: so one is
// added, by the interface that has the node's address. No packet ever leaves by it
// untranslated: kube-proxy drops what is for no service. Where a route leads already, nothing is done.
func EnsureServiceRoute(services []netip.Prefix, nodeAddresses []netip.Addr) error {
	for _, service := range services {
		for _, address := range nodeAddresses {
			if address.Is4() != service.Addr().Is4() {
				continue
			}
			if err := ensureRoute(service, address); err != nil {
				return fmt.Errorf("route to the services' network %s: %w", service, err)
			}
		}
	}
	return nil
}

func ensureRoute(service netip.Prefix, address netip.Addr) error {
	_, err := netlink.RouteGet(service.Addr().AsSlice())
	if err == nil {
		return nil
	}
	if !errors.Is(err, unix.ENETUNREACH) && !errors.Is(err, unix.EHOSTUNREACH) {
		return err
	}
	link, err := linkWith(address)
	if err != nil {
		return err
	}
	return netlink.RouteReplace(&netlink.Route{
		LinkIndex: link,
		Dst:       &net.IPNet{IP: service.Addr().AsSlice(), Mask: net.CIDRMask(service.Bits(), service.Addr().BitLen())},
		Src:       address.AsSlice(),
		Scope:     netlink.SCOPE_LINK,
		Protocol:  config.RouteProtocol,
	})
}

// linkWith returns the index of the interface that has the address.
func linkWith(address netip.Addr) (int, error) {
	interfaces, err := net.Interfaces()
	if err != nil {
		return 0, err
	}
	for _, i := range interfaces {
		addresses, err := i.Addrs()
		if err != nil {
			return 0, err
		}
		for _, a := range addresses {
			if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr() == address {
				return i.Index, nil
			}
		}
	}
	return 0, fmt.Errorf("no interface has the node's address %s", address)
}
