package sandbox

import (
	"fmt"

	"github.com/vishvananda/netlink"
)

// enterNetwork brings up what the machine has of a network: itself, and a cable of which both ends are in it.
func enterNetwork() error {
	const near, far = "eth0", "cable"
	cable := &netlink.Veth{LinkAttrs: netlink.NewLinkAttrs(), PeerName: far}
	cable.Name = near
	if err := netlink.LinkAdd(cable); err != nil {
		return fmt.Errorf("%w: interface %s: %w", ErrUnavailable, near, err)
	}
	for _, name := range []string{"lo", near, far} {
		link, err := netlink.LinkByName(name)
		if err != nil {
			return fmt.Errorf("interface %s: %w", name, err)
		}
		if name == near {
			address, err := netlink.ParseAddr(Address)
			if err != nil {
				return err
			}
			if err := netlink.AddrAdd(link, address); err != nil {
				return fmt.Errorf("interface %s: address %s: %w", name, Address, err)
			}
		}
		if err := netlink.LinkSetUp(link); err != nil {
			return fmt.Errorf("interface %s: %w", name, err)
		}
	}
	return nil
}
