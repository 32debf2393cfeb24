package installer

import (
	"context"
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"airgap/node/config"
)

// bridge is the interface that pods are attached to.
const bridge = "cni0"

// interfaces are those that a node makes on its host; those attached to the bridge go with their pods.
var interfaces = []string{bridge, "flannel.1", "flannel-v6.1", "flannel-wg", "flannel-wg-v6", "kube-ipvs0"}

// table is a table of the nf_tables firewall.
type table struct {
	family byte
	name   string
}

// tables are those that a node makes: its own of network policies, kube-proxy's (pkg/proxy/nftables), and those of the CNI
// plugins portmap (plugins/meta/portmap) and bridge (pkg/ip/ipmasq_nftables_linux.go).
var tables = []table{
	{unix.NFPROTO_IPV4, "kube-proxy"},
	{unix.NFPROTO_IPV6, "kube-proxy"},
	{unix.NFPROTO_IPV4, "cni_hostport"},
	{unix.NFPROTO_IPV6, "cni_hostport"},
	{unix.NFPROTO_INET, "cni_plugins_masquerade"},
	{unix.NFPROTO_INET, config.PolicyTable},
}

// removeNetwork removes the node's interfaces, routes and firewall tables.
func (u *removal) removeNetwork(context.Context) (string, error) {
	links, err := removeLinks()
	if err != nil {
		return "", err
	}
	if err := removeRoutes(); err != nil {
		return "", err
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
	return fmt.Sprintf("%d interfaces, %d firewall tables removed", links, removed), nil
}

// removeRoutes removes the routes that the node added.
func removeRoutes() error {
	own := &netlink.Route{Protocol: config.RouteProtocol}
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		routes, err := netlink.RouteListFiltered(family, own, netlink.RT_FILTER_PROTOCOL)
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
	all, err := netlink.LinkList()
	if err != nil {
		return 0, fmt.Errorf("list interfaces: %w", err)
	}
	index := 0
	for _, link := range all {
		if link.Attrs().Name == bridge {
			index = link.Attrs().Index
		}
	}
	var chosen []netlink.Link
	for _, link := range all {
		if index > 0 && link.Attrs().MasterIndex == index && link.Type() == "veth" {
			chosen = append(chosen, link)
		}
	}
	for _, name := range interfaces {
		for _, link := range all {
			if link.Attrs().Name == name {
				chosen = append(chosen, link)
			}
		}
	}
	for _, link := range chosen {
		err := netlink.LinkDel(link)
		if err != nil && !errors.Is(err, unix.ENODEV) && !errors.Is(err, unix.EINVAL) {
			return removed, fmt.Errorf("remove interface %s: %w", link.Attrs().Name, err)
		}
		removed++
	}
	return removed, nil
}

// remove deletes the table with everything in it. The error is ENOENT if there is none. It asks the
// kernel itself: the node's nft may be gone already.
func (t table) remove() error {
	socket, err := nl.Subscribe(unix.NETLINK_NETFILTER)
	if err != nil {
		return err
	}
	defer socket.Close()
	// Changes come in a batch (linux/netfilter/nfnetlink.h); only the deletion asks for an answer.
	begin := batchMessage(unix.NFNL_MSG_BATCH_BEGIN)
	remove := nl.NewNetlinkRequest(unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_DELTABLE, unix.NLM_F_ACK)
	remove.AddData(&nl.Nfgenmsg{NfgenFamily: t.family, Version: nl.NFNETLINK_V0})
	remove.AddData(nl.NewRtAttr(unix.NFTA_TABLE_NAME, nl.ZeroTerminated(t.name)))
	end := batchMessage(unix.NFNL_MSG_BATCH_END)
	var batch []byte
	for _, message := range []*nl.NetlinkRequest{begin, remove, end} {
		batch = append(batch, message.Serialize()...)
	}
	if err := unix.Sendto(socket.GetFd(), batch, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	for {
		answers, _, err := socket.Receive()
		if err != nil {
			return err
		}
		for _, answer := range answers {
			if answer.Header.Type == unix.NLMSG_ERROR && answer.Header.Seq == remove.Seq {
				if code := int32(nl.NativeEndian().Uint32(answer.Data[:4])); code != 0 {
					return unix.Errno(-code)
				}
				return nil
			}
		}
	}
}

func batchMessage(kind int) *nl.NetlinkRequest {
	request := nl.NewNetlinkRequest(kind, 0)
	message := &nl.Nfgenmsg{NfgenFamily: unix.AF_UNSPEC, Version: nl.NFNETLINK_V0}
	message.ResId = uint16(unix.NFNL_SUBSYS_NFTABLES)<<8 | uint16(unix.NFNL_SUBSYS_NFTABLES)>>8 // big endian
	request.AddData(message)
	return request
}
