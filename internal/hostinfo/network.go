package hostinfo

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Listener is a socket that others can connect or send to.
type Listener struct {
	Address netip.AddrPort // 0.0.0.0 or :: for all addresses
}

// Takes says whether the listener makes it impossible to listen on port of address; an
// invalid address stands for all.
func (l Listener) Takes(address netip.Addr, port int) bool {
	if int(l.Address.Port()) != port {
		return false
	}
	mine := l.Address.Addr().Unmap()
	return !address.IsValid() || address.IsUnspecified() || mine.IsUnspecified() || mine == address.Unmap()
}

// States of a socket in /proc/net (net/tcp_states.h). An unconnected UDP socket is in state "closed".
const (
	stateClosed    = "07"
	stateListening = "0A"
)

// Listeners lists the listening TCP sockets of this network namespace.
func (h Host) Listeners() ([]Listener, error) { return h.sockets("tcp", stateListening) }

// UDPListeners lists the UDP sockets of this network namespace that take datagrams from anyone.
func (h Host) UDPListeners() ([]Listener, error) { return h.sockets("udp", stateClosed) }

func (h Host) sockets(protocol, state string) ([]Listener, error) {
	var all []Listener
	for _, name := range []string{"/proc/self/net/" + protocol, "/proc/self/net/" + protocol + "6"} {
		err := h.lines(name, func(f []string) error {
			if len(f) < 4 || f[3] != state {
				return nil
			}
			address, err := parseSocket(f[1])
			if err != nil {
				return err
			}
			all = append(all, Listener{Address: address})
			return nil
		})
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // no IPv6
			return nil, err
		}
	}
	return all, nil
}

// parseSocket reads "0100007F:1F90": 32-bit words of the address in host order
// (little-endian on every platform of ours), and the port.
func parseSocket(s string) (netip.AddrPort, error) {
	host, port, _ := strings.Cut(s, ":")
	raw, err := hex.DecodeString(host)
	if err != nil || len(raw) != 4 && len(raw) != 16 {
		return netip.AddrPort{}, fmt.Errorf("socket address %q", s)
	}
	for word := range slices.Chunk(raw, 4) {
		slices.Reverse(word)
	}
	number, err := strconv.ParseUint(port, 16, 16)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("socket address %q", s)
	}
	address, _ := netip.AddrFromSlice(raw)
	return netip.AddrPortFrom(address.Unmap(), uint16(number)), nil
}

// DefaultRoute says whether this network namespace has a default route, IPv4 or IPv6.
func (h Host) DefaultRoute() (bool, error) {
	found := false
	err := h.lines("/proc/self/net/route", func(f []string) error {
		found = found || len(f) > 7 && f[1] == "00000000" && f[7] == "00000000"
		return nil
	})
	if err != nil || found {
		return found, err
	}
	err = h.lines("/proc/self/net/ipv6_route", func(f []string) error {
		found = found || len(f) > 9 && f[0] == strings.Repeat("0", 32) && f[1] == "00" && f[9] != "lo"
		return nil
	})
	if errors.Is(err, fs.ErrNotExist) { // no IPv6
		err = nil
	}
	return found, err
}

// Route is a network that this machine reaches through an interface.
type Route struct {
	Interface string
	Network   netip.Prefix
}

// Routes lists the IPv4 networks that are routed to interfaces of this network namespace other than loopback and
// those of pods; without default routes.
func (h Host) Routes() ([]Route, error) {
	var all []Route
	err := h.lines("/proc/self/net/route", func(f []string) error {
		if len(f) < 8 || f[0] == "Iface" || f[0] == "lo" || ofPods(f[0]) {
			return nil
		}
		destination, err := parseSocket(f[1] + ":0")
		if err != nil {
			return err
		}
		mask, err := parseSocket(f[7] + ":0")
		if err != nil {
			return err
		}
		ones, _ := net.IPMask(mask.Addr().AsSlice()).Size()
		if network := netip.PrefixFrom(destination.Addr(), ones); ones > 0 {
			all = append(all, Route{Interface: f[0], Network: network})
		}
		return nil
	})
	return all, err
}

// Addresses lists the addresses by which other machines can reach this one, those of its
// [Interfaces], in the kernel's order. Link-local ones are left out.
func Addresses() ([]netip.Addr, error) {
	interfaces, err := Interfaces()
	if err != nil {
		return nil, err
	}
	var all []netip.Addr
	for _, i := range interfaces {
		addresses, err := AddressesOf(i)
		if err != nil {
			return nil, err
		}
		all = append(all, addresses...)
	}
	return all, nil
}

// Interfaces lists the network interfaces that are up and neither loopback nor a bridge of pods.
func Interfaces() ([]net.Interface, error) {
	all, err := net.Interfaces()
	return slices.DeleteFunc(all, func(i net.Interface) bool {
		return i.Flags&net.FlagUp == 0 || i.Flags&net.FlagLoopback != 0 || ofPods(i.Name)
	}), err
}

// AddressesOf lists the addresses of an interface, without link-local ones.
func AddressesOf(i net.Interface) ([]netip.Addr, error) {
	addresses, err := i.Addrs()
	if err != nil {
		return nil, fmt.Errorf("interface %s: %w", i.Name, err)
	}
	var list []netip.Addr
	for _, address := range addresses {
		prefix, err := netip.ParsePrefix(address.String())
		if err == nil && prefix.Addr().IsGlobalUnicast() {
			list = append(list, prefix.Addr().Unmap())
		}
	}
	return list, nil
}

// ofPods says whether an interface is for pods or containers: its address is not the machine's.
func ofPods(name string) bool {
	return name == "cni0" || name == "docker0" || strings.HasPrefix(name, "flannel")
}
