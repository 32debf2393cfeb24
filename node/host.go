package node

import (
	"errors"
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

// completeFromHost fills in what only the host can tell: the node's address, and a resolver file that pods can use.
func completeFromHost(a *config.Agent) error {
	if a.NodeIP == "" {
		var err error
		if a.NodeIP, err = addressesOf(a); err != nil {
			return err
		}
	}
	if a.ResolvConf == "" {
		file, err := resolvConf(config.PathsOf(a.DataDir), hostinfo.ResolverFiles...)
		if err != nil {
			return err
		}
		a.ResolvConf = file
	}
	return nil
}

// addressesOf finds the addresses of a node that nobody has said, as [nodeAddresses].
func addressesOf(a *config.Agent, towards ...string) (string, error) {
	cluster, err := a.ClusterNetworks()
	if err != nil {
		return "", err
	}
	return nodeAddresses(cluster, towards...)
}

// nodeAddresses are those that other machines of the site most likely reach this one by, separated by
// commas: one of each family that the cluster has, in the cluster's order, which is what its services go by. A family that the
// machine lacks is left out as long as there is another. Where the machine has several, the ones by which it reaches
// towards, "address:port", come first.
func nodeAddresses(cluster []netip.Prefix, towards ...string) (string, error) {
	available, err := hostinfo.Addresses()
	if err != nil {
		return "", err
	}
	var chosen []string
	for _, network := range cluster {
		is4 := network.Addr().Is4()
		address := sourceAddress(is4, towards)
		if !address.IsValid() {
			if i := slices.IndexFunc(available, func(a netip.Addr) bool { return a.Is4() == is4 }); i >= 0 {
				address = available[i]
			}
		}
		if address.IsValid() {
			chosen = append(chosen, address.String())
		}
	}
	if len(chosen) == 0 {
		return "", errors.New("this machine has no address of the cluster's family but loopback; connect it, or give an interface an address (ip address add 10.0.0.1/24 dev eth0) and name it with --node-ip")
	}
	return strings.Join(chosen, ","), nil
}

// sourceAddress is where the kernel would send from to one of towards, or else if it had to leave, or invalid: a host in
// an air gap often has no default route.
func sourceAddress(is4 bool, towards []string) netip.Addr {
	network, far := "udp6", "[2001:db8::1]:9" // documentation's networks, which are nobody's
	if is4 {
		network, far = "udp4", "192.0.2.1:9"
	}
	for _, destination := range append(slices.Clone(towards), far) {
		// Connecting a UDP socket sends nothing; it makes the kernel choose a route.
		conn, err := net.Dial(network, destination)
		if err != nil {
			continue
		}
		local, err := netip.ParseAddrPort(conn.LocalAddr().String())
		conn.Close()
		if err == nil && usable(local.Addr()) {
			return local.Addr()
		}
	}
	return netip.Addr{}
}

func usable(a netip.Addr) bool {
	return a.IsValid() && !a.IsLoopback() && !a.IsLinkLocalUnicast() && !a.IsUnspecified()
}

// resolvConf returns the first of the files that names a resolver which pods can reach; if
// none does, an empty one of our own, so that pods start and names outside fail quickly.
func resolvConf(paths config.Paths, candidates ...string) (string, error) {
	for _, file := range candidates {
		data, err := os.ReadFile(file)
		if err == nil && len(hostinfo.Nameservers(string(data))) > 0 {
			return file, nil
		}
	}
	file := filepath.Join(paths.AgentEtc(), "resolv.conf")
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return "", err
	}
	return file, atomicfile.Write(file, []byte("# this host has no resolver that pods can reach\n"), 0o644)
}
