package site

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// Faults of the LAN are made at the bridge's end of a machine's cable, but for the queue of what a slow machine sends:
// its own interfaces and rules stay as its node has made them. Each lasts until Heal, or the end of the test. They need no netem, which many kernels
// lack: what is slow is a token bucket, what is lost a rule of nft.

// Unplug pulls the machine's cable.
func (n *Node) Unplug() {
	n.T.Helper()
	n.T.Cleanup(n.Heal)
	n.atBridge("ip", "link", "set", n.port, "down")
}

// Slow lets through bitsPerSecond to the machine, and as much from it.
func (n *Node) Slow(bitsPerSecond int) {
	n.T.Helper()
	n.T.Cleanup(n.Heal)
	bucket := func(device string) []string {
		// A bucket holds at least one packet, and offloads make packets of up to 64 kB.
		return []string{"qdisc", "replace", "dev", device, "root", "tbf", "rate", strconv.Itoa(bitsPerSecond) + "bit", "burst", "128kb", "latency", "200ms"}
	}
	n.atBridge("tc", bucket(n.port)...)
	MustOutput(n.T, n.Inside("tc", bucket("eth0")...))
}

// Lossy drops this share of the packets to the machine, and as much of those from it; 1 drops all, silently.
func (n *Node) Lossy(share float64) {
	n.T.Helper()
	n.T.Cleanup(n.Heal)
	const of = 10000
	drop := fmt.Sprintf("numgen random mod %d < %d drop", of, int(share*of))
	if share >= 1 {
		drop = "drop"
	}
	rules := n.site.Outside(context.Background(), "nft", "-f", "-")
	rules.Stdin = strings.NewReader(strings.NewReplacer("PORT", n.port, "DROP", drop).Replace(`
table netdev PORT
delete table netdev PORT
table netdev PORT {
	chain from { type filter hook ingress device "PORT" priority 0; DROP; }
	chain to { type filter hook egress device "PORT" priority 0; DROP; }
}`))
	MustOutput(n.T, rules)
}

// atBridge runs a command where the bridge is.
func (n *Node) atBridge(name string, args ...string) {
	n.T.Helper()
	if _, err := n.FromOutside(name, args...); err != nil {
		n.T.Fatal(err)
	}
}

// Heal mends the machine's cable.
func (n *Node) Heal() {
	_ = n.Inside("tc", "qdisc", "delete", "dev", "eth0", "root").Run() // if there is one
	_, _ = n.FromOutside("tc", "qdisc", "delete", "dev", n.port, "root")
	_, _ = n.FromOutside("nft", "delete", "table", "netdev", n.port)
	if _, err := n.FromOutside("ip", "link", "set", n.port, "up"); err != nil {
		n.T.Error(err)
	}
}

// Signal sends a signal to every process of the machine that runs one of these verbs of airgap.
func (n *Node) Signal(signal syscall.Signal, verbs ...string) {
	n.T.Helper()
	for _, p := range n.Processes() {
		if !slices.ContainsFunc(verbs, p.Runs) {
			continue
		}
		if err := syscall.Kill(p.PID, signal); err != nil {
			n.T.Error(err)
		}
	}
}
