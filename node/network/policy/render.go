package policy

import (
	"cmp"
	"crypto/sha256"
	"encoding/base32"
	"fmt"
	"slices"
	"strings"
)

// digest shortens a key to what fits into a name of the table; 80 bits.
func digest(key string) string {
	sum := sha256.Sum256([]byte(key))
	return strings.ToLower(base32.StdEncoding.EncodeToString(sum[:10]))
}

// chainName is that of the policy's rules of one direction.
func (p *policy) chainName(d direction) string {
	return d.String() + "-" + digest(p.namespace+"/"+p.name)
}

func peerSetName(key string, f family) string { return "pods-" + digest(key) + "-" + f.String() }

func portSetName(n namedPort, f family) string {
	return "port-" + digest(n.protocol+"/"+n.name) + "-" + f.String()
}

// The ends of a connection as conntrack has them: who opened it, before any translation, and who
// really answers.
func initiator(f family) string { return "ct original " + f.header() + " saddr" }
func responder(f family) string { return "ct reply " + f.header() + " saddr" }

// render returns the nftables rules that accept what the policy allows in one direction. They are one per peer: that a
// rule's ports match is asked in a chain of its own, which all rules with the same ports share.
func (p *policy) render(d direction, families []family) []string {
	var lines []string
	for _, r := range p.rules[d] {
		verdict := "accept"
		if !r.anyPort {
			verdict = "jump " + r.portsName()
		}
		if r.anyPeer {
			lines = append(lines, verdict)
			continue
		}
		for _, f := range families {
			remote := initiator(f)
			if d == egress {
				remote = responder(f)
			}
			for _, s := range r.selectors {
				lines = append(lines, fmt.Sprintf("%s @%s %s", remote, peerSetName(s.key(), f), verdict))
			}
			switch blocks := r.blocks[f]; {
			case len(blocks) == 0:
			case whole(f, blocks):
				lines = append(lines, fmt.Sprintf("meta nfproto %s %s", f.nfproto(), verdict))
			case len(blocks) == 1:
				lines = append(lines, fmt.Sprintf("%s %s %s", remote, blocks[0], verdict))
			default:
				lines = append(lines, fmt.Sprintf("%s @%s %s", remote, r.blocksName(f), verdict))
			}
		}
	}
	return lines
}

// blocksName is that of the set of a rule's addresses, if it has more than one range of them.
func (r rule) blocksName(f family) string {
	return "blocks-" + digest(fmt.Sprint(r.blocks[f])) + "-" + f.String()
}

// portsName is that of the chain of a rule's ports.
func (r rule) portsName() string { return "ports-" + digest(fmt.Sprint(mergePorts(r.ports), r.named)) }

// renderPorts returns the rules of the chain portsName. The destination port of a connection is that of a packet in
// the direction that opened it, and the source port of a reply: at the hooks used here packets carry the real
// ends' ports. Sets without a name are few, since the chains are shared: the kernel looks through all it has for each.
func (r rule) renderPorts(families []family) []string {
	var lines, elements []string
	single := ""
	for _, p := range mergePorts(r.ports) {
		switch {
		case p.allPorts():
			lines = append(lines, "meta l4proto "+p.protocol+" accept")
		case p.first == p.last:
			single = fmt.Sprintf("%s PORT %d", p.protocol, p.first)
			elements = append(elements, fmt.Sprintf("%s . %d", p.protocol, p.first))
		default:
			single = fmt.Sprintf("%s PORT %d-%d", p.protocol, p.first, p.last)
			elements = append(elements, fmt.Sprintf("%s . %d-%d", p.protocol, p.first, p.last))
		}
	}
	match := "meta l4proto . th PORT { " + strings.Join(elements, ", ") + " }"
	if len(elements) == 1 {
		match = single
	}
	if len(elements) > 0 {
		lines = append(lines,
			"ct direction original "+strings.Replace(match, "PORT", "dport", 1)+" accept",
			"ct direction reply "+strings.Replace(match, "PORT", "sport", 1)+" accept")
	}
	for _, n := range r.named {
		for _, f := range families {
			set, header := portSetName(n, f), f.header()
			lines = append(lines,
				fmt.Sprintf("ct direction original %s daddr . meta l4proto . th dport @%s accept", header, set),
				fmt.Sprintf("ct direction reply %s saddr . meta l4proto . th sport @%s accept", header, set))
		}
	}
	return lines
}

// mergePorts returns the same ports in ascending ranges that neither overlap, which a set of the kernel
// refuses, nor touch.
func mergePorts(ports []portRange) []portRange {
	sorted := slices.SortedFunc(slices.Values(ports), func(a, b portRange) int {
		return cmp.Or(strings.Compare(a.protocol, b.protocol), cmp.Compare(a.first, b.first))
	})
	var merged []portRange
	for _, p := range sorted {
		if n := len(merged); n > 0 && merged[n-1].protocol == p.protocol && int(p.first) <= int(merged[n-1].last)+1 {
			merged[n-1].last = max(merged[n-1].last, p.last)
			continue
		}
		merged = append(merged, p)
	}
	return merged
}
