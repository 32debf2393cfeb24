package policy

import (
	"sigs.k8s.io/knftables"
)

// Names of what is always in the table.
const (
	forwardEgress  = "forward-egress"
	inputEgress    = "input-egress"
	forwardIngress = "forward-ingress"
	fromPod        = "from-pod"
	discovery      = "discovery"
	deny           = "deny"
	nameless       = "nameless"
)

// guarded are the chains whose rules never change: without them nothing is enforced.
var guarded = []string{forwardEgress, inputEgress, forwardIngress, fromPod}

func mapName(d direction, f family) string { return d.String() + "-" + f.String() }
func selfName(f family) string             { return "self-" + f.String() }

// defineBase makes what is in the table whatever the policies are.
//
// What conntrack does not follow, because it makes no sense or because something exempts it, has no
// connection to ask about: the pod is looked for in the packet's header, and then only rules
// without any condition allow it.
func (r *ruleset) defineBase(families []family) {
	for _, f := range families {
		for _, d := range directions {
			r.defineSet(mapName(d, f), f.addressType()).verdicts = true
		}
		r.defineSet(selfName(f), f.addressType()+" . "+f.addressType())
	}
	r.defineChain(forwardEgress, "", "jump "+fromPod).hook = knftables.ForwardHook
	r.defineChain(inputEgress, "", "jump "+fromPod).hook = knftables.InputHook
	r.defineChain(fromPod, "", r.dispatch(egress, families)...)
	r.defineChain(forwardIngress, "", r.dispatch(ingress, families)...).hook = knftables.ForwardHook
	r.defineChain(nameless, "")
	r.defineChain(discovery, "", "icmpv6 type { nd-router-solicit, nd-router-advert, nd-neighbor-solicit, nd-neighbor-advert, nd-redirect, "+
		"mld-listener-query, mld-listener-report, mld-listener-done, mld2-listener-report } accept")
	var last []string
	for _, f := range families {
		last = append(last, initiator(f)+" . "+responder(f)+" @"+selfName(f)+" accept")
	}
	r.defineChain(deny, "", append(last, "counter drop")...)
}

// dispatch sends a packet to the chain of the pod at its one end, if that is isolated.
func (r *ruleset) dispatch(d direction, families []family) []string {
	untracked, end, header := d.String()+"-untracked", initiator, " saddr"
	if d == ingress {
		end, header = responder, " daddr"
	}
	lines := []string{
		"ct state invalid,untracked goto " + untracked,
		"ct state related meta l4proto { icmp, ipv6-icmp } accept",
	}
	fallback := []string{"jump " + discovery}
	for _, f := range families {
		lines = append(lines, end(f)+" vmap @"+mapName(d, f))
		fallback = append(fallback, f.header()+header+" vmap @"+mapName(d, f))
	}
	r.defineChain(untracked, "", append(fallback, "jump "+nameless)...)
	return append(lines, "jump "+nameless)
}

// guard drops, or lets pass, what goes between pods of the bridge by addresses that no rule can be about: broadcast and
// multicast, of which nothing here says whom it reaches, and the link-local addresses that the kernel gives every
// interface, in clusters without IPv6, too. From the bridge, link-local packets do not reach the node either. Without
// a bridge there is nothing to guard.
func (r *ruleset) guard(bridge string, on bool) {
	if !on || bridge == "" {
		r.defineChain(nameless, "")
		return
	}
	from := "iifname \"" + bridge + "\" "
	within := from + "oifname \"" + bridge + "\" "
	r.defineChain(nameless, "",
		from+"ip6 saddr fe80::/10 drop",
		within+"ip6 daddr fe80::/10 drop",
		within+"fib daddr type { broadcast, multicast } drop",
	)
}
