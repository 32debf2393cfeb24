package node

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"airgap/internal/atomicfile"
	"airgap/internal/hostinfo"
	"airgap/node/config"
)

// completeFromHost fills in what only the host can tell: the node's name, its address,
// and a resolver file that pods can use.
func completeFromHost(a *config.Agent) error {
	if a.NodeName == "" {
		name, err := os.Hostname()
		if err != nil {
			return fmt.Errorf("node name: %w; give one with --node-name", err)
		}
		a.NodeName = strings.ToLower(name)
	}
	if a.NodeIP == "" {
		address, err := nodeAddress()
		if err != nil {
			return err
		}
		a.NodeIP = address.String()
	}
	if a.ResolvConf == "" {
		file, err := resolvConf(config.PathsOf(a.DataDir), "/etc/resolv.conf", "/run/systemd/resolve/resolv.conf")
		if err != nil {
			return err
		}
		a.ResolvConf = file
	}
	return nil
}

// nodeAddress is the address that other machines of the site most likely reach this one
// by: where the kernel would send from if it had to leave, or else the first address of
// an interface that is up. A host in an air gap often has no default route.
func nodeAddress() (netip.Addr, error) {
	// Connecting a UDP socket sends nothing; it makes the kernel choose a route.
	if conn, err := net.Dial("udp", "192.0.2.1:9"); err == nil {
		defer conn.Close()
		if a, err := netip.ParseAddrPort(conn.LocalAddr().String()); err == nil && usable(a.Addr()) {
			return a.Addr(), nil
		}
	}
	addresses, err := hostinfo.Addresses()
	if err != nil {
		return netip.Addr{}, err
	}
	if i := slices.IndexFunc(addresses, netip.Addr.Is4); i >= 0 {
		return addresses[i], nil
	}
	if len(addresses) > 0 {
		return addresses[0], nil
	}
	return netip.Addr{}, errors.New("this machine has no address but loopback; connect it, or give an interface an address (ip address add 10.0.0.1/24 dev eth0) and name it with --node-ip")
}

func usable(a netip.Addr) bool {
	return a.IsValid() && !a.IsLoopback() && !a.IsLinkLocalUnicast() && !a.IsUnspecified()
}

// resolvConf returns the first of the files that names a resolver which pods can reach; if
// none does, an empty one of our own, so that pods start and names outside fail quickly.
func resolvConf(paths config.Paths, candidates ...string) (string, error) {
	for _, file := range candidates {
		data, err := os.ReadFile(file)
		if err == nil && len(nameservers(string(data))) > 0 {
			return file, nil
		}
	}
	file := filepath.Join(paths.AgentEtc(), "resolv.conf")
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return "", err
	}
	return file, atomicfile.Write(file, []byte("# this host has no resolver that pods can reach\n"), 0o644)
}

// nameservers lists the resolvers of a resolv.conf that are not on loopback: those would be
// the pod's own loopback.
func nameservers(conf string) []string {
	var list []string
	for line := range strings.Lines(conf) {
		fields := strings.Fields(line)
		if len(fields) < 2 || fields[0] != "nameserver" {
			continue
		}
		if a, err := netip.ParseAddr(fields[1]); err == nil && !a.IsLoopback() && !a.IsUnspecified() {
			list = append(list, fields[1])
		}
	}
	return list
}
