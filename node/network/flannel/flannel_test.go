package flannel

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"

	"airgap/node/config"
)

// site is two machines on one network, each with a pod, and a third that is no node.
//
//	pod1 ── node1 ── lan ── node2 ── pod2
//	                  └──── world
type site struct {
	t        *testing.T
	socket   string
	api      *fake.Clientset
	lan      machine
	world    machine
	node     [2]machine
	pod      [2]machine
	backend  string
	families []family
	confDirs [2]string
}

// family is the addresses of one, with %d for a machine's number.
type family struct {
	is4                        bool
	cluster, share, node, mask string
	gateway, pod               string
	world                      string
}

var families = []family{
	{true, "10.42.0.0/16", "10.42.%d.0/24", "192.168.77.%d", "/24", "10.42.%d.1", "10.42.%d.9", "192.168.77.9"},
	{false, "fd42::/56", "fd42:0:0:%d::/64", "fd77::%d", "/64", "fd42:0:0:%d::1", "fd42:0:0:%d::9", "fd77::99"},
}

func (f family) of(pattern string, i int) string { return fmt.Sprintf(pattern, i+1) }

func newSite(t *testing.T, backend string, used []family) *site {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: network namespaces")
	}
	s := &site{t: t, backend: backend, families: used, lan: newMachine(t, "lan"), world: newMachine(t, "world")}
	s.lan.ip("link add br0 type bridge", "link set br0 up")
	attach := func(m machine, port string) {
		joined(s.lan, m, port, "eth0")
		s.lan.ip("link set " + port + " master br0")
	}
	attach(s.world, "world")
	for _, f := range used {
		s.world.ip("address add " + f.world + f.mask + " dev eth0")
	}
	var shares [2][]string
	for i := range s.node {
		s.node[i], s.pod[i] = newMachine(t, fmt.Sprintf("node%d", i)), newMachine(t, fmt.Sprintf("pod%d", i))
		s.node[i].run("sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward; echo 1 > /proc/sys/net/ipv6/conf/all/forwarding")
		attach(s.node[i], fmt.Sprintf("node%d", i))
		for _, f := range used {
			s.node[i].ip("address add " + f.of(f.node, i) + f.mask + " dev eth0")
			shares[i] = append(shares[i], f.of(f.share, i))
		}
	}
	s.socket, s.api = serveNodes(t, nodeWith("node0", shares[0]...), nodeWith("node1", shares[1]...))
	return s
}

// settings are those that the agent would give.
func (s *site) settings(i int) settings {
	if s.confDirs[i] == "" {
		s.confDirs[i] = s.t.TempDir()
	}
	o := settings{Node: fmt.Sprintf("node%d", i), Backend: s.backend, ConfDir: s.confDirs[i]}
	for _, f := range s.families {
		o.Cluster = append(o.Cluster, netip.MustParsePrefix(f.cluster))
		o.Addresses = append(o.Addresses, netip.MustParseAddr(f.of(f.node, i)))
	}
	return o
}

func (s *site) startNode(i int) (*exec.Cmd, error) {
	text, err := json.Marshal(s.settings(i))
	if err != nil {
		s.t.Fatal(err)
	}
	return s.node[i].start("node", s.socket, string(text))
}

// start starts both nodes and attaches their pods, as the CNI plugin would.
func (s *site) start() {
	s.t.Helper()
	for i := range s.node {
		if _, err := s.startNode(i); err != nil {
			s.t.Fatal(err)
		}
		mtu := s.mtu(i)
		s.node[i].ip("link add "+config.PodBridge+" type bridge", "link set "+config.PodBridge+" up")
		s.node[i].run("sh", "-c", "echo 0 > /proc/sys/net/ipv6/conf/"+config.PodBridge+"/accept_dad")
		joined(s.node[i], s.pod[i], "veth0", "eth0")
		s.node[i].ip("link set veth0 master " + config.PodBridge)
		s.pod[i].ip(fmt.Sprintf("link set eth0 mtu %d", mtu))
		for _, f := range s.families {
			length := f.share[strings.Index(f.share, "/"):]
			s.node[i].ip("address add " + f.of(f.gateway, i) + length + " dev " + config.PodBridge)
			s.pod[i].ip("address add " + f.of(f.pod, i) + length + " dev eth0")
			version := map[bool]string{true: "-4", false: "-6"}[f.is4]
			s.pod[i].ip(version + " route add default via " + f.of(f.gateway, i))
		}
	}
	for _, m := range []machine{s.pod[0], s.pod[1], s.node[0], s.node[1], s.world} {
		if _, err := m.start("greet", "[::]:7000"); err != nil {
			s.t.Fatal(err)
		}
	}
}

// mtu is what a node tells its pods.
func (s *site) mtu(i int) int {
	data, err := os.ReadFile(filepath.Join(s.confDirs[i], confFile))
	if err != nil {
		s.t.Fatal(err)
	}
	var list struct{ Plugins []struct{ MTU int } }
	if err := json.Unmarshal(data, &list); err != nil {
		s.t.Fatal(err)
	}
	return list.Plugins[0].MTU
}

// seen wants a call from one machine to an address to be seen with an address there.
func seen(from machine, to, as string) error {
	got, err := from.calledBy(netip.AddrPortFrom(netip.MustParseAddr(to), 7000).String())
	if err == nil && got != as {
		err = fmt.Errorf("%s calls %s and is seen as %s, want %s", from.name, to, got, as)
	}
	return err
}

// wireGuardMissing says why the kernel makes no interface of that kind.
func wireGuardMissing() error {
	probe := &netlink.Wireguard{LinkAttrs: netlink.LinkAttrs{Name: "flannelprobe"}}
	if err := netlink.LinkAdd(probe); err != nil {
		return err
	}
	return netlink.LinkDel(probe)
}

func TestPodsReachEachOther(t *testing.T) {
	for name, test := range map[string]struct {
		backend  string
		families []family
	}{
		"vxlan":                 {config.FlannelVXLAN, families[:1]},
		"vxlan dual stack":      {config.FlannelVXLAN, families},
		"vxlan IPv6":            {config.FlannelVXLAN, families[1:]},
		"host-gw dual stack":    {config.FlannelHostGW, families},
		"wireguard dual stack":  {config.FlannelWireGuard, families},
		"host-gw":               {config.FlannelHostGW, families[:1]},
		"wireguard-native IPv6": {config.FlannelWireGuard, families[1:]},
	} {
		t.Run(name, func(t *testing.T) {
			if err := wireGuardMissing(); test.backend == config.FlannelWireGuard && err != nil {
				t.Skipf("this kernel makes no wireguard interface: %v", err)
			}
			s := newSite(t, test.backend, test.families)
			s.start()
			for _, f := range test.families {
				pod1, pod2 := f.of(f.pod, 0), f.of(f.pod, 1)
				eventually(t, func() error { return seen(s.pod[0], pod2, pod1) })
				eventually(t, func() error { return seen(s.pod[1], pod1, pod2) })
				if err := seen(s.pod[0], f.of(f.node, 0), pod1); err != nil {
					t.Error("pod to its node:", err)
				}
				if err := seen(s.pod[0], f.world, f.of(f.node, 0)); err != nil {
					t.Error("pod to the world:", err)
				}
				// A node asks pods of the other, health checks for instance.
				if _, err := s.node[0].calledBy(netip.AddrPortFrom(netip.MustParseAddr(pod2), 7000).String()); err != nil {
					t.Error("node to the other's pod:", err)
				}
				// The largest packet that pods may send must fit through.
				header := map[bool]int{true: 28, false: 48}[f.is4]
				s.pod[0].run("ping", "-c1", "-W2", "-M", "do", "-s", fmt.Sprint(s.mtu(0)-header), pod2)
			}
		})
	}
}

func TestNoWireGuardIsExplained(t *testing.T) {
	if wireGuardMissing() == nil {
		t.Skip("this kernel has WireGuard")
	}
	s := newSite(t, config.FlannelWireGuard, families[:1])
	_, err := s.startNode(0)
	if err == nil || !strings.Contains(err.Error(), "modprobe wireguard") || !strings.Contains(err.Error(), "host-gw") {
		t.Errorf("the node says %v", err)
	}
}

func TestNodesComeAndGo(t *testing.T) {
	s := newSite(t, config.FlannelVXLAN, families[:1])
	s.start()
	f := families[0]
	pod1, pod2 := f.of(f.pod, 0), f.of(f.pod, 1)
	eventually(t, func() error { return seen(s.pod[0], pod2, pod1) })

	if err := s.api.CoreV1().Nodes().Delete(context.Background(), "node1", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		if routes := s.node[0].run("ip", "route"); strings.Contains(routes, "10.42.2.0/24") {
			return fmt.Errorf("the route to a removed node is still there:\n%s", routes)
		}
		return nil
	})
	if err := s.api.Tracker().Add(nodeWith("node1", f.of(f.share, 1))); err != nil {
		t.Fatal(err)
	}
	if _, err := s.startNode(1); err != nil { // as its agent would, since the kubelet registers at its start
		t.Fatal(err)
	}
	eventually(t, func() error { return seen(s.pod[0], pod2, pod1) })
}

func TestPodsOutliveTheAgent(t *testing.T) {
	s := newSite(t, config.FlannelVXLAN, families[:1])
	s.start()
	f := families[0]
	pod1, pod2 := f.of(f.pod, 0), f.of(f.pod, 1)
	eventually(t, func() error { return seen(s.pod[0], pod2, pod1) })
	before := s.node[0].run("ip", "link", "show", "flannel.1")

	agent, err := s.startNode(0) // a second run over the first one's interfaces
	if err != nil {
		t.Fatal(err)
	}
	if after := s.node[0].run("ip", "link", "show", "flannel.1"); after != before {
		t.Errorf("the tunnel is another one:\n%s%s", before, after)
	}
	if err := seen(s.pod[1], pod1, pod2); err != nil {
		t.Error(err)
	}
	if err := agent.Process.Signal(unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := agent.Wait(); err != nil {
		t.Errorf("the agent's end: %v", err)
	}
	if err := seen(s.pod[0], pod2, pod1); err != nil {
		t.Error("without an agent:", err)
	}
}

func TestTunnelComesBack(t *testing.T) {
	s := newSite(t, config.FlannelVXLAN, families[:1])
	s.start()
	f := families[0]
	reach := func() error { return seen(s.pod[0], f.of(f.pod, 1), f.of(f.pod, 0)) }
	eventually(t, reach)
	s.node[0].ip("link delete flannel.1")
	if err := reach(); err == nil {
		t.Fatal("pods reach each other without a tunnel: this test looks in the wrong place")
	}
	eventually(t, reach)
}

func TestRulesComeBack(t *testing.T) {
	s := newSite(t, config.FlannelHostGW, families)
	s.start()
	node, f := s.node[0], families[0]
	translated := func() error { return seen(s.pod[0], f.world, f.of(f.node, 0)) }
	if err := translated(); err != nil {
		t.Fatal(err)
	}
	for name, command := range map[string][]string{
		"table deleted": {"delete", "table", "inet", config.PodTable},
		"chain flushed": {"flush", "chain", "inet", config.PodTable, "postrouting"},
		"all flushed":   {"flush", "ruleset"},
	} {
		t.Run(name, func(t *testing.T) {
			node.run("nft", command...)
			eventually(t, translated)
		})
	}
}

func TestForwardingIsAccepted(t *testing.T) {
	s := newSite(t, config.FlannelVXLAN, families)
	// As iptables -P FORWARD DROP makes it, which Docker does.
	s.node[0].run("nft", "add table ip filter; add chain ip filter FORWARD { type filter hook forward priority 0; policy drop; }")
	s.start()
	reach := func() error {
		for _, f := range families {
			if err := seen(s.pod[0], f.of(f.pod, 1), f.of(f.pod, 0)); err != nil {
				return err
			}
		}
		return nil
	}
	eventually(t, reach)
	// A firewall that comes later, and is reloaded.
	s.node[0].run("nft", "add table inet firewall; add chain inet firewall forward { type filter hook forward priority 10; policy drop; }")
	eventually(t, reach)
	s.node[0].run("nft", "flush chain inet firewall forward")
	eventually(t, reach)
	count := strings.Count(s.node[0].run("nft", "list", "ruleset"), config.ForwardMarker+`"`)
	if count != 2+4 { // to and from, of the families of each table
		t.Errorf("%d accepting rules, want 6", count)
	}
}

func TestExplain(t *testing.T) {
	err := explain("vxlan", fmt.Errorf("create: %w", unix.EOPNOTSUPP))
	if !strings.Contains(err.Error(), "modprobe vxlan") || !errors.Is(err, unix.EOPNOTSUPP) {
		t.Error(err)
	}
	if err := explain("host-gw", unix.EOPNOTSUPP); strings.Contains(err.Error(), "modprobe") {
		t.Error(err)
	}
}
