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
	groupcast      = "groupcast"
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
	r.defineChain(forwardIngress, "", append(r.dispatch(ingress, families), "jump "+groupcast)...).hook = knftables.ForwardHook
	r.defineChain(groupcast, "")
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
	if d == ingress {
		fallback = append(fallback, "jump "+groupcast)
	}
	r.defineChain(untracked, "", fallback...)
	return lines
}

// guardGroupcast drops broadcast and multicast between pods, or lets them pass.
func (r *ruleset) guardGroupcast(on bool) {
	if on {
		r.defineChain(groupcast, "", "fib daddr type { broadcast, multicast } drop")
	} else {
		r.defineChain(groupcast, "")
	}
}
