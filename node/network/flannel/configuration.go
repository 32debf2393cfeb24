package flannel

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"

	"github.com/flannel-io/flannel/pkg/backend"
	"github.com/flannel-io/flannel/pkg/subnet"

	"airgap/node/config"
)

// configuration is what Flannel keeps in net-conf.json: the user's, or one made of the options and of the size in
// bytes of the packets that the interface to the other nodes takes.
func (o Options) configuration(mtu int) (*subnet.Config, error) {
	text, err := json.Marshal(o.generated(mtu))
	origin := "flannel's configuration"
	if o.Conf != "" {
		origin = "flannel-conf " + o.Conf
		text, err = os.ReadFile(o.Conf)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", origin, err)
	}
	conf, err := subnet.ParseConfig(string(text))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", origin, err)
	}
	if err := subnet.CheckNetworkConfig(conf); err != nil {
		return nil, fmt.Errorf("%s: %w", origin, err)
	}
	return conf, nil
}

// ipv6HeaderSurplus is by how many bytes IPv6's header is longer than IPv4's. Flannel leaves room in vxlan's packets
// for the shorter only, and so pods' largest packets would not fit through a tunnel over IPv6.
const ipv6HeaderSurplus = 20

// generated is the configuration that the options describe, in Flannel's format.
func (o Options) generated(mtu int) map[string]any {
	backend := map[string]any{"Type": o.Backend}
	if o.Backend == config.FlannelWireGuard {
		backend["Type"] = "wireguard"
	}
	conf := map[string]any{"EnableIPv4": false, "EnableIPv6": false, "Backend": backend}
	for _, p := range o.Cluster {
		if p.Addr().Is4() {
			conf["EnableIPv4"], conf["Network"] = true, p.String()
		} else {
			conf["EnableIPv6"], conf["IPv6Network"] = true, p.String()
			if o.Backend == config.FlannelVXLAN {
				backend["MTU"] = mtu - ipv6HeaderSurplus
			}
		}
	}
	return conf
}

// external is the interface by which this node reaches the others, with its addresses.
func (o Options) external(found *net.Interface, conf *subnet.Config) (*backend.ExternalInterface, error) {
	own := map[bool]net.IP{}
	for _, a := range o.Addresses {
		if own[a.Is4()] == nil {
			own[a.Is4()] = a.AsSlice()
		}
	}
	e := &backend.ExternalInterface{Iface: found, IfaceName: found.Name}
	for _, family := range []struct {
		name         string
		is4, enabled bool
		inner, outer *net.IP
	}{
		{"IPv4", true, conf.EnableIPv4, &e.IfaceAddr, &e.ExtAddr},
		{"IPv6", false, conf.EnableIPv6, &e.IfaceV6Addr, &e.ExtV6Addr},
	} {
		if !family.enabled {
			continue
		}
		address, err := addressOn(found, own[family.is4], family.is4)
		if err != nil {
			return nil, err
		}
		if address == nil {
			return nil, fmt.Errorf("cluster-cidr has an %s network, but interface %s has no %s address that other nodes could use; give it one, and name it with --node-ip",
				family.name, found.Name, family.name)
		}
		*family.inner, *family.outer = address, address
		for _, a := range o.External {
			if a.Is4() == family.is4 {
				*family.outer = a.AsSlice()
			}
		}
	}
	return e, nil
}

// findInterface returns the interface to the other nodes. It looks for no default route: in an air gap there
// is often none.
func (o Options) findInterface() (*net.Interface, error) {
	if o.Interface != "" {
		found, err := net.InterfaceByName(o.Interface)
		if err != nil {
			return nil, fmt.Errorf("flannel-iface: no interface %q: %w", o.Interface, err)
		}
		return found, nil
	}
	if len(o.Addresses) == 0 {
		return nil, errors.New("the node has no address: give one with --node-ip")
	}
	all, err := net.Interfaces()
	if err != nil {
		return nil, err
	}
	for _, i := range all {
		addresses, err := i.Addrs()
		if err != nil {
			return nil, err
		}
		for _, a := range addresses {
			if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr() == o.Addresses[0] {
				return &i, nil
			}
		}
	}
	return nil, fmt.Errorf("no interface has the node's address %s; say with --flannel-iface which one leads to the other nodes", o.Addresses[0])
}

// addressOn returns the wanted address if the interface has it, else its first of the family, else nil.
func addressOn(i *net.Interface, wanted net.IP, is4 bool) (net.IP, error) {
	addresses, err := i.Addrs()
	if err != nil {
		return nil, err
	}
	var first net.IP
	for _, a := range addresses {
		p, err := netip.ParsePrefix(a.String())
		if err != nil || p.Addr().Is4() != is4 || !p.Addr().IsGlobalUnicast() {
			continue
		}
		address := net.IP(p.Addr().AsSlice())
		if address.Equal(wanted) {
			return address, nil
		}
		if first == nil {
			first = address
		}
	}
	return first, nil
}
