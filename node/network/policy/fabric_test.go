package policy

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/containernetworking/plugins/pkg/ns"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// The tests with real packets need a node: this process starts itself again in a network namespace of its
// own, which is the node; its pods are further namespaces on a bridge.
const inNodeVariable = "AIRGAP_TEST_IN_NODE"

func TestMain(m *testing.M) {
	if os.Geteuid() != 0 || os.Getenv(inNodeVariable) != "" {
		os.Exit(m.Run())
	}
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), inNodeVariable+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET, Pdeathsig: unix.SIGKILL}
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		os.Exit(exit.ExitCode())
	case err != nil:
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// quiet is after how long without an answer a packet is taken for dropped; an answer takes well under a millisecond.
const quiet = 300 * time.Millisecond

// The ports that every machine of a fabric serves, with each protocol.
var servedPorts = []uint16{8080, 8081}

// fabric is a node's network: a bridge, with its pods.
type fabric struct {
	t      testing.TB
	bridge *netlink.Bridge
	gate   map[family]netip.Addr // the node's own addresses on the bridge
}

// machine is a network namespace with one interface, eth0, that answers on servedPorts.
type machine struct {
	ns.NetNS
	t         testing.TB
	addresses map[family]netip.Addr

	link netlink.Link // the bridge's end of its interface
	sctp sync.Map     // initiate tags of SCTP packets that arrived
	udp  atomic.Int64
}

func newFabric(t testing.TB) *fabric {
	t.Helper()
	if os.Getenv(inNodeVariable) == "" {
		t.Skip("needs root, for network namespaces")
	}
	f := &fabric{t: t, gate: map[family]netip.Addr{ip4: netip.MustParseAddr("10.42.0.1"), ip6: netip.MustParseAddr("fd42::1")}}
	f.bridge = &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "br" + strconv.Itoa(int(time.Now().UnixNano()%1e9))}}
	must(t, netlink.LinkAdd(f.bridge))
	t.Cleanup(func() { must(t, netlink.LinkDel(f.bridge)) })
	for name, value := range map[string]string{
		"net/ipv4/ip_forward": "1", "net/ipv6/conf/all/forwarding": "1",
		"net/bridge/bridge-nf-call-iptables": "1", "net/bridge/bridge-nf-call-ip6tables": "1",
	} {
		must(t, os.WriteFile(filepath.Join("/proc/sys", name), []byte(value), 0))
	}
	lo, err := netlink.LinkByName("lo")
	must(t, err)
	must(t, netlink.LinkSetUp(lo))
	f.addAddresses(f.bridge, f.gate)
	must(t, netlink.LinkSetUp(f.bridge))
	return f
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (f *fabric) addAddresses(link netlink.Link, addresses map[family]netip.Addr) {
	for family, a := range addresses {
		bits := 24
		if family == ip6 {
			bits = 64
		}
		mask := net.CIDRMask(bits, a.BitLen())
		address := &netlink.Addr{IPNet: &net.IPNet{IP: a.AsSlice(), Mask: mask}, Flags: unix.IFA_F_NODAD}
		if family == ip4 {
			broadcast := a.As4()
			broadcast[3] = 255
			address.Broadcast = broadcast[:]
		}
		must(f.t, netlink.AddrAdd(link, address))
	}
}

var machines atomic.Int64

// attach makes a machine on the bridge.
func (f *fabric) attach(addresses map[family]netip.Addr) *machine {
	f.t.Helper()
	namespace, err := ns.TempNetNS()
	must(f.t, err)
	m := &machine{NetNS: namespace, t: f.t, addresses: addresses}
	name := fmt.Sprint("veth", machines.Add(1))
	must(f.t, netlink.LinkAdd(&netlink.Veth{
		LinkAttrs: netlink.LinkAttrs{Name: name}, PeerName: "eth0", PeerNamespace: netlink.NsFd(namespace.Fd()),
	}))
	host, err := netlink.LinkByName(name)
	must(f.t, err)
	m.link = host
	f.t.Cleanup(func() { _ = netlink.LinkDel(host); namespace.Close() })
	must(f.t, netlink.LinkSetMaster(host, f.bridge))
	must(f.t, netlink.LinkSetHairpin(host, true))
	must(f.t, netlink.LinkSetUp(host))
	m.do(func() error {
		for _, name := range []string{"lo", "eth0"} {
			link, err := netlink.LinkByName(name)
			if err != nil {
				return err
			}
			if err := netlink.LinkSetUp(link); err != nil {
				return err
			}
			if name == "eth0" {
				f.addAddresses(link, addresses)
				for family, gate := range f.gate {
					if _, ok := addresses[family]; ok {
						if err := netlink.RouteAdd(&netlink.Route{Gw: gate.AsSlice(), LinkIndex: link.Attrs().Index}); err != nil {
							return err
						}
					}
				}
			}
		}
		return nil
	})
	m.serve()
	return m
}

// detach takes the machine off the bridge, for another at its addresses.
func (m *machine) detach() { must(m.t, netlink.LinkDel(m.link)) }

// current is the network namespace of this process: the node's.
func current(t testing.TB) ns.NetNS {
	t.Helper()
	n, err := ns.GetNS("/proc/self/ns/net")
	must(t, err)
	t.Cleanup(func() { n.Close() })
	return n
}

// do calls f inside the machine's namespace: sockets that it opens are the machine's.
func (m *machine) do(f func() error) {
	m.t.Helper()
	must(m.t, m.Do(func(ns.NetNS) error { return f() }))
}

// serve echoes TCP and UDP, and notes SCTP.
func (m *machine) serve() {
	m.do(func() error {
		for _, port := range servedPorts {
			address := ":" + strconv.Itoa(int(port))
			listener, err := net.Listen("tcp", address)
			if err != nil {
				return err
			}
			m.t.Cleanup(func() { listener.Close() })
			go func() {
				for {
					conn, err := listener.Accept()
					if err != nil {
						return
					}
					go func() { defer conn.Close(); _, _ = io.Copy(conn, conn) }()
				}
			}()
			packets, err := net.ListenPacket("udp", address)
			if err != nil {
				return err
			}
			m.t.Cleanup(func() { packets.Close() })
			go func() {
				buffer := make([]byte, 64)
				for {
					n, from, err := packets.ReadFrom(buffer)
					if err != nil {
						return
					}
					m.udp.Add(1)
					_, _ = packets.WriteTo(buffer[:n], from)
				}
			}()
		}
		for _, network := range []string{"ip4:132", "ip6:132"} {
			raw, err := net.ListenPacket(network, "")
			if err != nil {
				return err
			}
			m.t.Cleanup(func() { raw.Close() })
			go func() {
				buffer := make([]byte, 256)
				for {
					n, _, err := raw.ReadFrom(buffer)
					if err != nil {
						return
					}
					if n >= 20 {
						m.sctp.Store(binary.BigEndian.Uint32(buffer[16:20]), true)
					}
				}
			}()
		}
		return nil
	})
}

// reaches says whether a new connection to an address and port gets its answer. For SCTP, which not every kernel
// has, it is a packet that opens one, and to is the machine that it must arrive at.
func (m *machine) reaches(protocol string, address netip.AddrPort, to *machine) bool {
	m.t.Helper()
	ok := false
	m.do(func() error {
		if protocol == "sctp" {
			ok = m.sctpReaches(address, to)
			return nil
		}
		conn, err := net.DialTimeout(protocol, address.String(), quiet)
		if err != nil {
			return nil
		}
		defer conn.Close()
		ok = answers(conn)
		return nil
	})
	return ok
}

// answers says whether what is written to an echo comes back.
func answers(conn net.Conn) bool {
	_ = conn.SetDeadline(time.Now().Add(quiet))
	buffer := []byte("?")
	if _, err := conn.Write(buffer); err != nil {
		return false
	}
	_, err := conn.Read(buffer)
	return err == nil
}

var sctpTag atomic.Uint32

// sctpReaches sends an INIT chunk (RFC 9260, 3.3.2), with a tag that is found again on arrival.
func (m *machine) sctpReaches(address netip.AddrPort, to *machine) bool {
	network := "ip4:132"
	if address.Addr().Is6() {
		network = "ip6:132"
	}
	conn, err := net.Dial(network, address.Addr().String())
	if err != nil {
		return false
	}
	defer conn.Close()
	tag := sctpTag.Add(1)
	packet := make([]byte, 32)
	binary.BigEndian.PutUint16(packet[0:], uint16(20000+tag%20000)) // source port
	binary.BigEndian.PutUint16(packet[2:], address.Port())
	packet[12] = 1 // INIT
	binary.BigEndian.PutUint16(packet[14:], 20)
	binary.BigEndian.PutUint32(packet[16:], tag)
	binary.BigEndian.PutUint32(packet[20:], 65536) // receiver window
	binary.BigEndian.PutUint16(packet[24:], 1)     // streams out
	binary.BigEndian.PutUint16(packet[26:], 1)     // streams in
	binary.LittleEndian.PutUint32(packet[8:], crc32.Checksum(packet, crc32.MakeTable(crc32.Castagnoli)))
	if _, err := conn.Write(packet); err != nil {
		return false
	}
	for end := time.Now().Add(quiet); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if _, ok := to.sctp.Load(tag); ok {
			return true
		}
	}
	return false
}

// nft gives the kernel rules.
func nft(t testing.TB, rules string) {
	t.Helper()
	cmd := exec.Command("nft", "-f", "-")
	cmd.Stdin = strings.NewReader(rules)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("nft: %v\n%s\n%s", err, out, rules)
	}
}
