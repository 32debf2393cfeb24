package preflight

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"airgap/internal/hostinfo"
	"airgap/node/config"
)

func (c *checker) address() {
	f, s := c.facts, c.Server
	if s.NodeIP == "" {
		addresses, missing := DefaultNodeIP(f, s)
		if missing != "" {
			remedy := "give an interface an address that stays (ip address add 10.20.30.40/24 dev eth0, until the next boot)"
			if len(f.Addresses) == 0 {
				remedy += "; where there is no cable, a pair of interfaces will do: ip link add site0 up type veth peer name site1 && ip link set site1 up && ip address add 10.20.30.40/24 dev site0"
			}
			c.fail("a node needs one", remedy,
				"no interface but loopback has an %s address, and the pods' network %s is of that family", missing, s.ClusterCIDR)
		}
		c.otherwise("%s", addresses)
		return
	}
	for text := range strings.SplitSeq(s.NodeIP, ",") {
		address, err := netip.ParseAddr(strings.TrimSpace(text))
		switch {
		case err != nil:
			c.fail("nobody would reach the node", "give an IP address", "--node-ip %q is none", text)
		case !slices.Contains(f.Addresses, address.Unmap()):
			c.fail("nobody would reach the node", "give one of "+join(f.Addresses), "--node-ip %s is no address of this machine", address)
		}
	}
	c.otherwise("%s", s.NodeIP)
}

// DefaultNodeIP are the addresses that a node without --node-ip gets, separated by commas: the first of each family that the
// pods' networks have, in their order. missing is the family that no interface has an address of, or empty.
func DefaultNodeIP(f Facts, s *config.Server) (addresses, missing string) {
	networks, err := s.ClusterNetworks()
	if err != nil {
		return "", ""
	}
	var chosen []string
	for _, network := range networks {
		is4 := network.Addr().Is4()
		i := slices.IndexFunc(f.Addresses, func(a netip.Addr) bool { return a.Is4() == is4 })
		if i < 0 {
			return "", map[bool]string{true: "IPv4", false: "IPv6"}[is4]
		}
		chosen = append(chosen, f.Addresses[i].String())
	}
	return strings.Join(chosen, ","), ""
}

// networks finds out whether the cluster's networks are somebody else's here.
func (c *checker) networks() {
	s := c.Server
	for _, ours := range []struct{ flag, list string }{{"cluster-cidr", s.ClusterCIDR}, {"service-cidr", s.ServiceCIDR}} {
		remedy := "choose another --" + ours.flag
		if c.Agent {
			remedy = "the cluster has that network on every node: connect this machine to another LAN, or make the cluster anew with another --" + ours.flag
		}
		for text := range strings.SplitSeq(ours.list, ",") {
			network, err := netip.ParsePrefix(strings.TrimSpace(text))
			if err != nil {
				continue // the configuration was refused for it
			}
			for _, a := range c.facts.Addresses {
				if network.Contains(a) {
					c.fail("what the machine sends to its LAN would go to pods", remedy, "the machine's own address %s is in the cluster's network %s", a, network)
				}
			}
			for _, r := range c.facts.Routes {
				inside := network.Overlaps(r.Network) && r.Network.Bits() >= network.Bits() && !slices.ContainsFunc(c.facts.Addresses, r.Network.Contains)
				if inside && !c.facts.Installed {
					c.warn("pods do not reach the machines there", remedy, "the route to %s by %s is in the cluster's network %s", r.Network, r.Interface, network)
				}
			}
		}
	}
	c.otherwise("%s and %s are nobody else's here", s.ClusterCIDR, s.ServiceCIDR)
}

// port is one that a node listens on.
type port struct {
	number  int
	address netip.Addr // invalid: all
	flag    string
	use     string
}

func (c *checker) tcpPorts() []port {
	s := c.Server
	loopback := netip.AddrFrom4([4]byte{127, 0, 0, 1})
	bind, _ := netip.ParseAddr(s.BindAddress)
	all := []port{{s.HTTPSListenPort, bind, "https-listen-port", "API server"}}
	if c.Agent {
		all = []port{{s.LBServerPort, loopback, "lb-server-port", "API server, whichever answers"}}
	}
	if s.DisableAgent {
		return all
	}
	return append(all,
		port{s.PeerPort, netip.Addr{}, "peer-port", "what other nodes get"},
		port{s.KubeletPort, netip.Addr{}, "kubelet-port", "kubelet"},
		port{s.KubeletHealthPort, loopback, "kubelet-healthz-port", "kubelet's health"},
		port{s.ProxyHealthPort, loopback, "kube-proxy-healthz-port", "kube-proxy's health"},
		port{s.ProxyMetricsPort, loopback, "kube-proxy-metrics-port", "kube-proxy's metrics"},
		port{s.RegistryPort, loopback, "registry-port", "image mirror"})
}

// tunnelPorts are Flannel's, over UDP.
func (c *checker) tunnelPorts() []port {
	switch s := c.Server; {
	case s.DisableAgent || s.FlannelConf != "":
	case s.FlannelBackend == config.FlannelVXLAN:
		return []port{{number: 8472, use: "pod network"}}
	case s.FlannelBackend == config.FlannelWireGuard:
		return []port{{number: 51820, use: "pod network"}}
	}
	return nil
}

func (c *checker) ports() {
	f := c.facts
	if f.Running {
		c.pass("in use by the node that runs")
		return
	}
	tcp := c.tcpPorts()
	for _, p := range tcp {
		if l, taken := takenBy(f.Listeners, p); taken {
			c.fail("the node needs it", "stop what listens there, or choose another with --"+p.flag, "TCP port %d (%s) is taken by a listener on %s", p.number, p.use, l.Address)
		}
	}
	for _, p := range c.tunnelPorts() {
		if l, taken := takenBy(f.Datagrams, p); taken {
			c.fail("pods of different nodes would not reach each other", "stop what listens there (another cluster's flannel, perhaps), or give another port with --flannel-conf",
				"UDP port %d (%s) is taken by a socket on %s", p.number, p.use, l.Address)
		}
	}
	if !c.Agent && !c.Server.DisableAgent && !slices.Contains(c.Server.Disable, "traefik") && !slices.Contains(c.Server.Disable, "servicelb") {
		for _, number := range []int{80, 443} {
			if l, taken := takenBy(f.Listeners, port{number: number}); taken {
				c.warn("the ingress controller gets no address on this node", "stop what listens there, or install with --disable traefik", "TCP port %d is taken by a listener on %s", number, l.Address)
			}
		}
	}
	numbers := make([]string, len(tcp))
	for i, p := range tcp {
		numbers[i] = fmt.Sprint(p.number)
	}
	c.otherwise("free: %s", strings.Join(numbers, ", "))
}

func takenBy(listeners []hostinfo.Listener, p port) (hostinfo.Listener, bool) {
	i := slices.IndexFunc(listeners, func(l hostinfo.Listener) bool { return l.Takes(p.address, p.number) })
	if i < 0 {
		return hostinfo.Listener{}, false
	}
	return listeners[i], true
}

func (c *checker) route() {
	if c.facts.DefaultRoute {
		c.pass("there is a default route")
		return
	}
	c.pass("no default route, which is fine: the node is told its address")
}

func (c *checker) nameserver() {
	if found := c.facts.Nameservers; len(found) > 0 {
		c.pass("%s", strings.Join(found, ", "))
		return
	}
	c.pass("none that pods could reach, which is fine: names outside the cluster fail at once")
}

func (c *checker) firewall() {
	s := c.Server
	var tcp []string
	if !c.Agent {
		tcp = append(tcp, fmt.Sprint(s.HTTPSListenPort))
	}
	tcp = append(tcp, fmt.Sprint(s.KubeletPort), fmt.Sprint(s.PeerPort))
	var udp []string
	for _, p := range c.tunnelPorts() {
		udp = append(udp, fmt.Sprint(p.number))
	}
	networks := strings.Split(s.ClusterCIDR+","+s.ServiceCIDR, ",")
	const why = "it turns away pods' packets and other nodes"
	for _, name := range c.facts.Firewalls {
		var commands []string
		switch name {
		case "firewalld":
			open := "firewall-cmd --permanent"
			for _, p := range tcp {
				open += " --add-port=" + p + "/tcp"
			}
			for _, p := range udp {
				open += " --add-port=" + p + "/udp"
			}
			trust := "firewall-cmd --permanent --zone=trusted --add-interface=" + config.PodBridge
			for _, n := range networks {
				trust += " --add-source=" + n
			}
			commands = []string{open, trust, "firewall-cmd --reload"}
		case "ufw":
			commands = append(commands, "ufw allow "+strings.Join(tcp, ",")+"/tcp")
			for _, p := range udp {
				commands = append(commands, "ufw allow "+p+"/udp")
			}
			for _, n := range networks {
				commands = append(commands, "ufw allow from "+n)
			}
			commands = append(commands, "ufw default allow routed")
		}
		c.warn(why, "stop it, or let them through: "+strings.Join(commands, " && "), "%s is on", name)
	}
	if chains := c.facts.ClosedChains; len(chains) > 0 && len(c.facts.Firewalls) == 0 {
		remedy := fmt.Sprintf("add rules to it, and to the file that it comes from (/etc/nftables.conf on many machines): tcp dport { %s } accept; ip saddr { %s } accept", strings.Join(tcp, ", "), strings.Join(networks, ", "))
		if len(udp) > 0 {
			remedy += "; udp dport { " + strings.Join(udp, ", ") + " } accept"
		}
		c.warn(why+", unless its rules let them in", remedy, "the firewall's chain %s drops what comes in", strings.Join(chains, ", and "))
	}
	c.otherwise("neither firewalld nor ufw is on, and no chain of nf_tables drops what comes in by default")
}

// server judges what was seen of the server that the machine is to join.
func (c *checker) server() {
	server := c.facts.Server
	if server == nil {
		return
	}
	now := c.facts.Now
	switch {
	case server.Err != nil:
		c.fail("nothing can be joined", "look whether that machine runs, and whether a cable and a route lead to it", "%v", server.Err)
	case now.Before(server.NotBefore):
		c.warn("certificates made now would count as expired too early", "the installer raises it to that; set it right when you can",
			"the clock says %s, but the server's certificate begins at %s", now.UTC().Format(time.RFC3339), server.NotBefore.UTC().Format(time.RFC3339))
	case now.After(server.NotAfter):
		c.fail("neither would trust the other", "set the clock of whichever of the two machines is wrong",
			"the clock says %s, but the server's certificate ended at %s", now.UTC().Format(time.RFC3339), server.NotAfter.UTC().Format(time.RFC3339))
	}
	c.otherwise("it answers, and is the token's")
}

func join(addresses []netip.Addr) string {
	texts := make([]string, len(addresses))
	for i, a := range addresses {
		texts[i] = a.String()
	}
	return strings.Join(texts, ", ")
}
