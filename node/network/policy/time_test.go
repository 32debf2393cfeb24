package policy

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"sync/atomic"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// dial opens a TCP connection from a machine to another's echo, and checks it.
func dial(t *testing.T, from, to *machine, f family) net.Conn {
	t.Helper()
	var conn net.Conn
	from.do(func() (err error) {
		conn, err = net.DialTimeout("tcp", netip.AddrPortFrom(to.addresses[f], 8080).String(), 2*time.Second)
		return err
	})
	t.Cleanup(func() { conn.Close() })
	if !answers(conn) {
		t.Fatal("a new connection has no answer")
	}
	return conn
}

// A change ends the connections that it forbids, at either end and whoever speaks, and no others.
func TestEstablishedConnectionsFollow(t *testing.T) {
	n := newNode(t)
	web, client := n.pod(0, "a", "web", app("web")), n.pod(1, "a", "client", app("client"))
	stranger := n.pod(2, "b", "stranger", nil)
	allow := "{podSelector: {matchLabels: {app: web}}, ingress: [{from: [{podSelector: {}}, {namespaceSelector: {}}]}]}"
	for name, forbid := range map[string]string{
		"ingress": "{podSelector: {matchLabels: {app: web}}, ingress: [{from: [{namespaceSelector: {matchLabels: {team: blue}}}]}]}",
		"egress":  "{podSelector: {matchLabels: {app: client}}, policyTypes: [Egress]}",
	} {
		for _, f := range bothFamilies {
			t.Run(name+" "+f.String(), func(t *testing.T) {
				n.t = t
				n.apply("p", allow)
				n.settled()
				forbidden, allowed := dial(t, client, web, f), dial(t, stranger, web, f)
				n.apply("p", forbid)
				eventually(t, func() string {
					if answers(forbidden) {
						return "the connection goes on"
					}
					return ""
				})
				if !answers(allowed) {
					t.Error("an allowed connection was cut")
				}
				n.apply("p", allow)
				eventually(t, func() string {
					_ = forbidden.SetDeadline(time.Now().Add(time.Second))
					if _, err := forbidden.Read(make([]byte, 1)); err != nil { // what was sent meanwhile is sent again
						return err.Error()
					}
					return ""
				})
			})
		}
	}
	n.t = t
	t.Run("the server speaks", func(t *testing.T) {
		n.t = t
		n.apply("p", allow)
		n.settled()
		received := make(chan int, 1000)
		sink := stream(t, web, client, received)
		<-received
		// Forbidden at the server's end: it still sends, as replies, and would be let out by itself.
		n.apply("p", "{podSelector: {matchLabels: {app: web}}}")
		eventually(t, func() string {
			select {
			case <-received:
				return "the server is still heard"
			case <-time.After(quiet):
				return ""
			}
		})
		sink.Close()
	})
}

// stream makes server send without end to a client that only listens.
func stream(t *testing.T, server, client *machine, received chan<- int) net.Conn {
	t.Helper()
	server.do(func() error {
		listener, err := net.Listen("tcp", ":7000")
		if err != nil {
			return err
		}
		t.Cleanup(func() { listener.Close() })
		go func() {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			defer conn.Close()
			for {
				if _, err := conn.Write([]byte("tick")); err != nil {
					return
				}
				time.Sleep(5 * time.Millisecond)
			}
		}()
		return nil
	})
	var conn net.Conn
	client.do(func() (err error) {
		conn, err = net.Dial("tcp", netip.AddrPortFrom(server.addresses[ip4], 7000).String())
		return err
	})
	go func() {
		buffer := make([]byte, 64)
		for {
			n, err := conn.Read(buffer)
			if err != nil {
				return
			}
			select {
			case received <- n:
			default:
			}
		}
	}()
	return conn
}

// flood sends UDP packets from a machine to a port of another's addresses until the test ends.
func flood(t *testing.T, from *machine, to map[family]netip.Addr) (sent *atomic.Int64) {
	t.Helper()
	sent = &atomic.Int64{}
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	for _, a := range to {
		from.do(func() error {
			conn, err := net.Dial("udp", netip.AddrPortFrom(a, 8080).String())
			if err != nil {
				return err
			}
			go func() {
				defer conn.Close()
				for ctx.Err() == nil {
					if _, err := conn.Write([]byte("!")); err == nil {
						sent.Add(1)
					}
					time.Sleep(100 * time.Microsecond)
				}
			}()
			return nil
		})
	}
	return sent
}

// A pod under default deny hears and says nothing, from the moment when it is on the network. What the API
// does not say yet, the CNI plugin says.
func TestFirstPacket(t *testing.T) {
	n := newNode(t)
	web, client := n.pod(0, "a", "web", app("web")), n.pod(1, "a", "client", app("client"))
	n.apply("deny", "{podSelector: {matchLabels: {isolated: 'yes'}}, policyTypes: [Ingress, Egress]}")
	n.settled()
	heard := web.udp.Load()
	flood(t, client, numbered(2))
	for round := range 5 {
		name := fmt.Sprint("new-", round)
		starting := newPod("a", name, thisNode, map[string]string{"isolated": "yes"}, 8080) // no address yet
		n.create(starting)
		if round == 0 {
			n.settled() // in the other rounds the API's object may not have been seen either
		}
		n.admit(2, "a", name) // the plugin returns; only now packets reach the pod, and it starts
		pod := n.attach(numbered(2))
		for _, f := range bothFamilies {
			if pod.reaches("udp", netip.AddrPortFrom(web.addresses[f], 8080), web) {
				t.Error("the pod was heard")
			}
		}
		if got := pod.udp.Load(); got != 0 {
			t.Errorf("round %d: the pod heard %d packets", round, got)
		}
		if round == 3 {
			// A new agent, that the API has not told of the address, knows it as well.
			n.stop()
			n.start()
			n.settled()
			time.Sleep(quiet)
			if got := pod.udp.Load(); got != 0 {
				t.Errorf("after a restart of the agent the pod heard %d packets", got)
			}
		}
		must(t, n.controller.Forget(t.Context(), "sandbox-"+name))
		must(t, n.api.CoreV1().Pods("a").Delete(t.Context(), name, metav1.DeleteOptions{}))
		n.settled()
		pod.detach()
	}
	if got := web.udp.Load(); got != heard {
		t.Errorf("%d packets of new pods were heard", got-heard)
	}
}

// However often the table is replaced, or flushed by somebody else and made again, a forbidden packet never gets
// through a replacement, and an allowed connection lives on.
func TestReplacementHasNoGap(t *testing.T) {
	n := newNode(t)
	web, client, other := n.pod(0, "a", "web", app("web")), n.pod(1, "a", "client", app("client")), n.pod(2, "a", "other", app("other"))
	n.apply("p", "{podSelector: {matchLabels: {app: web}}, ingress: [{from: [{podSelector: {matchLabels: {app: client}}}]}]}")
	n.settled()
	sent := flood(t, other, web.addresses)
	conn := dial(t, client, web, ip4)
	for round := range 10 {
		n.stop()
		n.start()
		n.settled()
		if !answers(conn) {
			t.Errorf("round %d: the allowed connection was cut", round)
		}
	}
	if got := web.udp.Load(); got != 0 || sent.Load() < 1000 {
		t.Errorf("of %d packets %d got through", sent.Load(), got)
	}
	for _, command := range []string{"flush ruleset", "delete table inet airgap-policy", "flush table inet airgap-policy", "flush chain inet airgap-policy forward-ingress"} {
		if out, err := exec.Command("nft", command).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		eventually(t, func() string {
			if other.reaches("tcp", netip.AddrPortFrom(web.addresses[ip4], 8080), web) {
				return "not made anew after: nft " + command
			}
			return ""
		})
		if !client.reaches("tcp", netip.AddrPortFrom(web.addresses[ip4], 8080), web) {
			t.Error("the allowed peer is out after: nft " + command)
		}
	}
}
