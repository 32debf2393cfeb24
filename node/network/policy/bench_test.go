package policy

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"testing"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/knftables"
)

// The cluster that is measured: pods, all of them this node's, in namespaces of 25; policies, so that five select
// each pod, each with two peers and two ports.
const (
	benchPods       = 250
	benchNamespaces = 10
	benchPolicies   = 1000
)

// large is a model of that cluster, in the kernel.
type large struct {
	*model
	tables knftables.Interface
}

func benchNamespace(i int) string { return fmt.Sprint("ns-", i%benchNamespaces) }

func benchApp(i int) map[string]string { return map[string]string{"app": fmt.Sprint("app-", i)} }

func (l *large) addPod(i int) {
	namespace, name := benchNamespace(i), fmt.Sprint("pod-", i)
	l.setPod(namespace, name, newPod(namespace, name, thisNode, benchApp(i/benchNamespaces%20), 8080,
		netip.AddrFrom4([4]byte{10, 42, byte(1 + i/250), byte(2 + i%250)}).String(), fmt.Sprintf("fd42::1:%x", 2+i)))
}

// policyOf makes one of the cluster's policies; ports differ between variants.
func policyOf(b *testing.B, i, variant int) *networkingv1.NetworkPolicy {
	return parsePolicy(b, benchNamespace(i), fmt.Sprint("policy-", i), fmt.Sprintf(`{podSelector: {matchLabels: {app: app-%d}}, ingress: [{
		from: [{podSelector: {matchLabels: {app: app-%d}}}, {namespaceSelector: {matchLabels: {n: "%d"}}, podSelector: {matchLabels: {app: app-%d}}}],
		ports: [{port: %d}, {port: http}]}]}`, i/benchNamespaces%20, (i/benchNamespaces+1)%20, (i+3)%benchNamespaces, i/benchNamespaces%7, 8080+variant))
}

func loadLarge(b *testing.B, tables knftables.Interface, policies []*networkingv1.NetworkPolicy) *large {
	l := &large{newModel(thisNode, "", bothFamilies), tables}
	for i := range benchNamespaces {
		l.setNamespace(benchNamespace(i), labels.Set{"n": fmt.Sprint(i)})
	}
	for i := range benchPods {
		l.addPod(i)
	}
	for _, p := range policies {
		l.setPolicy(p.Namespace, p.Name, p)
	}
	return l
}

// commit gives the kernel what changed and returns the number of operations.
func (l *large) commit(b *testing.B, fill func(*knftables.Transaction)) int {
	tx := l.tables.NewTransaction()
	fill(tx)
	if err := l.tables.Run(b.Context(), tx); err != nil {
		b.Fatal(err)
	}
	l.rules.committed()
	return tx.NumOperations()
}

func BenchmarkLarge(b *testing.B) {
	newFabric(b)
	tables, err := knftables.New(knftables.InetFamily, "airgap-policy")
	must(b, err)
	b.Cleanup(func() { nft(b, "delete table inet airgap-policy") })
	var policies []*networkingv1.NetworkPolicy
	for i := range benchPolicies {
		policies = append(policies, policyOf(b, i, 0))
	}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	l := loadLarge(b, tables, policies)
	l.commit(b, l.rules.replacement)
	runtime.GC()
	runtime.ReadMemStats(&after)

	b.Run("Load", func(b *testing.B) {
		operations := 0
		var computing time.Duration
		for b.Loop() {
			start := time.Now()
			fresh := loadLarge(b, tables, policies)
			computing += time.Since(start)
			operations = fresh.commit(b, fresh.rules.replacement)
		}
		b.ReportMetric(float64(operations), "operations")
		b.ReportMetric(computing.Seconds()*1000/float64(b.N), "ms-computing")
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/1e6, "MB-heap")
	})
	b.Run("Pod", func(b *testing.B) { // comes and goes
		operations := 0
		for b.Loop() {
			l.addPod(benchPods)
			operations = l.commit(b, l.rules.changes)
			l.setPod(benchNamespace(benchPods), fmt.Sprint("pod-", benchPods), nil)
			l.commit(b, l.rules.changes)
		}
		b.ReportMetric(float64(operations), "operations")
		b.ReportMetric(b.Elapsed().Seconds()*1000/float64(2*b.N), "ms/change")
	})
	b.Run("Policy", func(b *testing.B) {
		variants := [2]*networkingv1.NetworkPolicy{policyOf(b, 5, 0), policyOf(b, 5, 1)}
		operations, i := 0, 0
		for b.Loop() {
			i++
			p := variants[i%2]
			l.setPolicy(p.Namespace, p.Name, p)
			operations = l.commit(b, l.rules.changes)
		}
		b.ReportMetric(float64(operations), "operations")
		b.ReportMetric(b.Elapsed().Seconds()*1000/float64(b.N), "ms/change")
	})
	runtime.KeepAlive(l)
}

// What policies cost each packet, between two pods of one node: without a table; with the large cluster's, for pods that
// no policy selects; and for a pod that five policies isolate, the last of which allows the connection. The three
// take turns, so that a busy machine disturbs them alike; the medians of the turns are reported.
func BenchmarkPackets(b *testing.B) {
	f := newFabric(b)
	tables, err := knftables.New(knftables.InetFamily, "airgap-policy")
	must(b, err)
	// Conntrack is on, as kube-proxy's rules turn it on at every node.
	nft(b, "table inet conntrack { chain forward { type filter hook forward priority 0; ct state invalid drop; }; }")
	b.Cleanup(func() {
		nft(b, "delete table inet conntrack; add table inet airgap-policy; delete table inet airgap-policy")
	})
	client, beside, isolated := f.attach(numbered(0)), f.attach(numbered(1)), f.attach(numbered(2))
	var policies []*networkingv1.NetworkPolicy
	for i := range benchPolicies {
		policies = append(policies, policyOf(b, i, 0))
	}
	l := loadLarge(b, tables, policies)
	for i, name := range []string{"client", "beside", "isolated"} {
		l.setPod("a", name, newPod("a", name, thisNode, app(name), 8080, podAddress(i, ip4).String(), podAddress(i, ip6).String()))
	}
	for i := range 5 {
		// Chains come in the order of their names' digests: the one that allows is asked last.
		peer, name := "nobody", fmt.Sprint("p", i)
		if chainOrder("a", i, 5) == 4 {
			peer = "client"
		}
		l.setPolicy("a", name, parsePolicy(b, "a", name, fmt.Sprintf(`{podSelector: {matchLabels: {app: isolated}}, ingress: [{
			from: [{podSelector: {matchLabels: {app: %s}}}, {ipBlock: {cidr: 192.0.2.0/24, except: [192.0.2.7/32]}}], ports: [{port: 8080}, {port: 8080, protocol: UDP}]}]}`, peer)))
	}
	for _, kind := range []struct {
		name    string
		unit    string
		measure func(testing.TB, *machine, *machine) float64
	}{{"RoundTrip", "µs", roundTrips}, {"Stream", "MB/s", throughput}} {
		b.Run(kind.name, func(b *testing.B) {
			turns := map[string][]float64{}
			for b.Loop() {
				for range 9 {
					nft(b, "add table inet airgap-policy; delete table inet airgap-policy")
					turns["unpoliced"] = append(turns["unpoliced"], kind.measure(b, beside, client))
					l.commit(b, l.rules.replacement)
					turns["beside"] = append(turns["beside"], kind.measure(b, beside, client))
					turns["isolated"] = append(turns["isolated"], kind.measure(b, isolated, client))
				}
			}
			b.ReportMetric(0, "ns/op")
			for name, values := range turns {
				slices.Sort(values)
				b.ReportMetric(values[len(values)/2], kind.unit+"-"+name)
			}
		})
	}
}

// chainOrder is the place of policy p<i> among p0 to p<n-1> in the chain of their set.
func chainOrder(namespace string, i, n int) (place int) {
	own := parsePolicyName(namespace, fmt.Sprint("p", i))
	for other := range n {
		if parsePolicyName(namespace, fmt.Sprint("p", other)) < own {
			place++
		}
	}
	return place
}

// roundTrips returns the mean time of a round trip by UDP, in µs.
func roundTrips(t testing.TB, server, client *machine) float64 {
	var conn net.Conn
	client.do(func() (err error) {
		conn, err = net.Dial("udp", netip.AddrPortFrom(server.addresses[ip4], 8080).String())
		return err
	})
	defer conn.Close()
	const trips = 3000
	buffer, lost := []byte("?"), 0
	start := time.Now()
	for range trips {
		_ = conn.SetDeadline(time.Now().Add(time.Second))
		if _, err := conn.Write(buffer); err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Read(buffer); err != nil {
			if lost++; lost > 3 {
				t.Fatal(err)
			}
		}
	}
	return time.Since(start).Seconds() * 1e6 / trips
}

// throughput sends through one TCP connection to the echo, which sends it back, and returns MB/s of both ways.
func throughput(t testing.TB, server, client *machine) float64 {
	var conn net.Conn
	client.do(func() (err error) {
		conn, err = net.Dial("tcp", netip.AddrPortFrom(server.addresses[ip4], 8080).String())
		return err
	})
	const size = 256 << 20
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		chunk := make([]byte, 1<<20)
		for range size / len(chunk) {
			if _, err := conn.Write(chunk); err != nil {
				return
			}
		}
	}()
	start := time.Now()
	if _, err := io.CopyN(io.Discard, conn, size); err != nil {
		t.Fatal(err)
	}
	took := time.Since(start).Seconds()
	conn.Close()
	<-sent
	return 2 * size / 1e6 / took
}
