package policy

import (
	"context"
	"net"
	"net/netip"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// The ways of packets that are not simply from pod to pod.
func TestPaths(t *testing.T) {
	n := newNode(t)
	web, client := n.pod(0, "a", "web", app("web")), n.pod(1, "a", "client", app("client"))
	host := &machine{NetNS: current(t), t: t, addresses: n.gate}
	host.serve()
	to := func(m *machine, f family) netip.AddrPort { return netip.AddrPortFrom(m.addresses[f], 8080) }
	for _, f := range bothFamilies {
		t.Run(f.String(), func(t *testing.T) {
			n.t = t
			n.apply("p", "{podSelector: {}, policyTypes: [Ingress, Egress]}")
			n.settled()
			t.Run("the node reaches an isolated pod", func(t *testing.T) {
				for _, protocol := range []string{"tcp", "udp"} {
					if !host.reaches(protocol, to(web, f), web) {
						t.Errorf("%s does not", protocol)
					}
				}
			})
			t.Run("an isolated pod reaches the node if a rule says so", func(t *testing.T) {
				if web.reaches("tcp", to(host, f), host) {
					t.Error("it does without")
				}
				n.apply("p", `{podSelector: {}, policyTypes: [Ingress, Egress], egress: [{to: [{ipBlock: {cidr: 10.42.0.1/32}}, {ipBlock: {cidr: "fd42::1/128"}}]}]}`)
				n.settled()
				if !web.reaches("tcp", to(host, f), host) {
					t.Error("it does not")
				}
			})
			t.Run("services", func(t *testing.T) { testServices(t, n, web, client, f) })
		})
	}
	n.t = t
	t.Run("broadcast", func(t *testing.T) {
		n.t = t
		for _, isolated := range []bool{false, true} {
			if isolated {
				n.apply("p", "{podSelector: {matchLabels: {app: web}}}")
			} else {
				n.apply("p", "{podSelector: {matchLabels: {app: nothing}}}")
			}
			n.settled()
			before := web.udp.Load()
			for _, address := range []string{"255.255.255.255:8080", "10.42.0.255:8080"} {
				client.do(func() error {
					conn, err := net.Dial("udp", address) // Go's sockets may broadcast
					if err != nil {
						return err
					}
					defer conn.Close()
					_, err = conn.Write([]byte("!"))
					return err
				})
			}
			time.Sleep(quiet)
			if heard := web.udp.Load() > before; heard == isolated {
				t.Errorf("isolated: %v, a broadcast was heard: %v", isolated, heard)
			}
		}
	})
}

// Every interface has a link-local address, which no policy can name.
func TestLinkLocal(t *testing.T) {
	n := newNode(t)
	web, client := n.pod(0, "a", "web", app("web")), n.pod(1, "a", "client", app("client"))
	host := &machine{NetNS: current(t), t: t, addresses: n.gate}
	host.serve()
	linkLocal := func(m *machine, device string) (address netip.Addr, index int) {
		m.do(func() error {
			link, err := netlink.LinkByName(device)
			if err != nil {
				return err
			}
			index = link.Attrs().Index
			all, err := netlink.AddrList(link, netlink.FAMILY_V6)
			for _, a := range all {
				if a.IP.IsLinkLocalUnicast() {
					address, _ = netip.AddrFromSlice(a.IP)
				}
			}
			return err
		})
		return address, index
	}
	reaches := func(to *machine, device string) (ok bool) {
		target, _ := linkLocal(to, device)
		source, index := linkLocal(client, "eth0")
		zone := strconv.Itoa(index)
		// From an address of its own choice the kernel takes the pod's, which policies do know, as long as it still
		// checks that the link-local one is nobody else's.
		dialer := net.Dialer{Timeout: quiet, LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(source.WithZone(zone), 0))}
		client.do(func() error {
			conn, err := dialer.Dial("tcp", netip.AddrPortFrom(target.WithZone(zone), 8080).String())
			if err != nil {
				return nil
			}
			defer conn.Close()
			ok = answers(conn)
			return nil
		})
		return ok
	}
	n.apply("p", "{podSelector: {matchLabels: {app: nobody}}}")
	n.settled()
	eventually(t, func() string { // once the kernel has checked that the addresses are nobody else's
		if !reaches(web, "eth0") || !reaches(host, n.bridge.Name) {
			return "nothing is isolated, and nothing is reached: the test is wrong"
		}
		return ""
	})
	for name, spec := range map[string]string{
		"ingress": "{podSelector: {matchLabels: {app: web}}}",
		"egress":  "{podSelector: {matchLabels: {app: client}}, policyTypes: [Egress]}",
	} {
		n.apply("p", spec)
		n.settled()
		if reaches(web, "eth0") {
			t.Errorf("%s: an isolated pod is reached round its policies", name)
		}
		if reaches(host, n.bridge.Name) {
			t.Errorf("%s: the node is reached round policies", name)
		}
		if !web.reaches("tcp", netip.AddrPortFrom(client.addresses[ip6], 8080), client) {
			t.Errorf("%s: neighbours are not found", name)
		}
	}
}

// testServices puts a service's address before web, as kube-proxy would.
func testServices(t *testing.T, n *node, web, client *machine, f family) {
	service := map[family]string{ip4: "10.43.0.9", ip6: "fd43::9"}[f]
	backend := net.JoinHostPort(web.addresses[f].String(), "8080")
	header := f.header()
	nft(t, strings.NewReplacer("F", header, "SERVICE", service, "BACKEND", backend, "POD", web.addresses[f].String()).Replace(`
table F services {
  chain prerouting { type nat hook prerouting priority dstnat; F daddr SERVICE tcp dport 80 dnat to BACKEND; }
  chain output { type nat hook output priority -100; F daddr SERVICE tcp dport 80 dnat to BACKEND; }
  chain postrouting { type nat hook postrouting priority srcnat; F saddr POD F daddr POD masquerade; }
}`))
	t.Cleanup(func() { nft(t, "delete table "+header+" services") })
	address := netip.AddrPortFrom(netip.MustParseAddr(service), 80)
	n.t = t
	n.apply("p", "{podSelector: {matchLabels: {app: web}}, policyTypes: [Ingress, Egress]}")
	n.settled()
	if client.reaches("tcp", address, web) {
		t.Error("a forbidden pod goes round the policy by the service")
	}
	if !web.reaches("tcp", address, web) {
		t.Error("an isolated pod does not reach itself by its service")
	}
	n.apply("p", "{podSelector: {matchLabels: {app: web}}, ingress: [{from: [{podSelector: {matchLabels: {app: client}}}], ports: [{port: 8080}]}]}")
	n.settled()
	if !client.reaches("tcp", address, web) {
		t.Error("an allowed pod does not reach the service")
	}
}

// What makes no sense harms nothing else, and is told in one event on the policy.
func TestNonsenseIsAnEvent(t *testing.T) {
	n := newNode(t)
	web, client := n.pod(0, "a", "web", app("web")), n.pod(1, "a", "client", app("client"))
	n.apply("nonsense", "{podSelector: {matchLabels: {app: web}}, ingress: [{ports: [{port: 90, endPort: 80}, {port: metrics}]}]}")
	n.apply("good", "{podSelector: {matchLabels: {app: web}}, ingress: [{ports: [{port: 8081}]}]}")
	n.settled()
	if !client.reaches("tcp", netip.AddrPortFrom(web.addresses[ip4], 8081), web) || client.reaches("tcp", netip.AddrPortFrom(web.addresses[ip4], 8080), web) {
		t.Error("the good policy does not hold beside the bad one")
	}
	var events *corev1.EventList
	eventually(t, func() string {
		var err error
		events, err = n.api.CoreV1().Events("a").List(context.Background(), metav1.ListOptions{})
		must(t, err)
		if len(events.Items) == 0 {
			return "no event"
		}
		return ""
	})
	e := events.Items[0]
	if len(events.Items) != 1 || e.InvolvedObject.Name != "nonsense" || e.Type != corev1.EventTypeWarning ||
		!strings.Contains(e.Message, "90 to 80") || !strings.Contains(e.Message, `"metrics"`) {
		t.Errorf("%+v", events.Items)
	}
}

// Every rule that this package can write, nft reads back as it was meant.
func TestRulesReadBack(t *testing.T) {
	n := newNode(t)
	n.pod(0, "a", "web", app("web"))
	n.apply("p", `{podSelector: {matchLabels: {app: web}}, policyTypes: [Egress], egress: [{to: [{ipBlock: {cidr: 192.0.2.0/24}}], ports: [{port: 443}, {port: http}, {port: 100, endPort: 200, protocol: SCTP}]}]}`)
	n.settled()
	out, err := exec.Command("nft", "list", "chain", "inet", "airgap-policy", (&policy{namespace: "a", name: "p"}).chainName(egress)).CombinedOutput()
	must(t, err)
	for _, want := range []string{`comment "a/p"`, "192.0.2.0-192.0.2.255", "jump ports-"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
}
