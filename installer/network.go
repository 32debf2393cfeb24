package installer

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"airgap/node/config"
)

// isOurs says whether a node made the interface: the bridge of its pods, or one of Flannel's, whose tunnels
// end in the number of their network. Those attached to the bridge go with their pods.
func isOurs(link netlink.Link) bool {
	name := link.Attrs().Name
	switch link.Type() {
	case "bridge":
		return name == config.PodBridge
	case "vxlan":
		return strings.HasPrefix(name, "flannel.") || strings.HasPrefix(name, "flannel-v6.")
	case "wireguard":
		return name == "flannel-wg" || name == "flannel-wg-v6"
	}
	return name == "kube-ipvs0"
}

// table is a table of the nf_tables firewall.
type table struct {
	family byte
	name   string
}

// tables are those that a node makes: its own, kube-proxy's (pkg/proxy/nftables), and that of the CNI
// plugin portmap (plugins/meta/portmap).
var tables = []table{
	{unix.NFPROTO_IPV4, "kube-proxy"},
	{unix.NFPROTO_IPV6, "kube-proxy"},
	{unix.NFPROTO_IPV4, "cni_hostport"},
	{unix.NFPROTO_IPV6, "cni_hostport"},
	{unix.NFPROTO_INET, config.PodTable},
	{unix.NFPROTO_INET, config.PolicyTable},
}

// removeNetwork removes the node's interfaces, routes and firewall tables.
func (u *removal) removeNetwork(context.Context) (string, error) {
	owner, err := claimant()
	if err != nil {
		return "", err
	}
	if owner != "" && owner != u.paths.DataDir {
		return "left alone: here it is of the node with the data folder " + owner, removeClaims(u.paths.DataDir)
	}
	links, err := removeLinks()
	if err != nil {
		return "", err
	}
	if err := removeRoutes(); err != nil {
		return "", err
	}
	if err := removeMarkedRules(); err != nil {
		return "", fmt.Errorf("firewall rules in other programs' tables: %w", err)
	}
	removed := 0
	for _, t := range tables {
		switch err := t.remove(); {
		case err == nil:
			removed++
		case !errors.Is(err, unix.ENOENT):
			return "", fmt.Errorf("firewall table %s: %w", t.name, err)
		}
	}
	return fmt.Sprintf("%d interfaces, %d firewall tables removed", links, removed), removeClaims(u.paths.DataDir)
}

// dumpAttempts is how often the kernel is asked for a list that changes while it is told.
const dumpAttempts = 50

// whole asks the kernel for a list until nothing has changed while it was told: the interfaces of pods that have just ended go one by one.
func whole[T any](list func() ([]T, error)) (all []T, err error) {
	for range dumpAttempts {
		if all, err = list(); !errors.Is(err, netlink.ErrDumpInterrupted) {
			return all, err
		}
		time.Sleep(20 * time.Millisecond)
	}
	return nil, err
}

// removeRoutes removes the routes that the node added.
func removeRoutes() error {
	own := &netlink.Route{Protocol: config.RouteProtocol}
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		routes, err := whole(func() ([]netlink.Route, error) {
			return netlink.RouteListFiltered(family, own, netlink.RT_FILTER_PROTOCOL)
		})
		if err != nil {
			return fmt.Errorf("list routes: %w", err)
		}
		for _, route := range routes {
			if err := netlink.RouteDel(&route); err != nil && !errors.Is(err, unix.ESRCH) {
				return fmt.Errorf("remove route %s: %w", route.Dst, err)
			}
		}
	}
	return nil
}

// removeLinks removes the node's interfaces, and first those attached to its bridge: the
// pods' ends of them are gone with the pods, or go with these.
func removeLinks() (removed int, err error) {
	all, err := whole(netlink.LinkList)
	if err != nil {
		return 0, fmt.Errorf("list interfaces: %w", err)
	}
	index := 0
	var chosen, own []netlink.Link
	for _, link := range all {
		if isOurs(link) {
			own = append(own, link)
			if link.Attrs().Name == config.PodBridge {
				index = link.Attrs().Index
			}
		}
	}
	for _, link := range all {
		if index > 0 && link.Attrs().MasterIndex == index && link.Type() == "veth" {
			chosen = append(chosen, link)
		}
	}
	chosen = append(chosen, own...)
	for _, link := range chosen {
		err := netlink.LinkDel(link)
		if err != nil && !errors.Is(err, unix.ENODEV) && !errors.Is(err, unix.EINVAL) {
			return removed, fmt.Errorf("remove interface %s: %w", link.Attrs().Name, err)
		}
		removed++
	}
	return removed, nil
}
