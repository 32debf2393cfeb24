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

// condition is a part of a rule's text; only is the family it holds for, if for one.
type condition struct {
	text string
	only *family
}

// render returns the nftables rules that accept what the policy allows in one direction.
func (p *policy) render(d direction, families []family) []string {
	var lines []string
	for _, r := range p.rules[d] {
		for _, peer := range r.peerConditions(d, families) {
			for _, port := range r.portConditions(families) {
				if peer.only != nil && port.only != nil && *peer.only != *port.only {
					continue
				}
				lines = append(lines, strings.Join(slices.DeleteFunc([]string{peer.text, port.text, "accept"},
					func(s string) bool { return s == "" }), " "))
			}
		}
	}
	return lines
}

func (r rule) peerConditions(d direction, families []family) []condition {
	if r.anyPeer {
		return []condition{{}}
	}
	var list []condition
	for _, f := range families {
		remote := initiator(f)
		if d == egress {
			remote = responder(f)
		}
		for _, s := range r.selectors {
			list = append(list, condition{fmt.Sprintf("%s @%s", remote, peerSetName(s.key(), f)), &f})
		}
		switch blocks := r.blocks[f]; {
		case len(blocks) == 0:
		case whole(f, blocks):
			list = append(list, condition{"meta nfproto " + f.nfproto(), &f})
		default:
			list = append(list, condition{fmt.Sprintf("%s { %s }", remote, join(blocks)), &f})
		}
	}
	return list
}

// portConditions match the connection's destination port, which a packet of the opening direction has as its
// destination and a reply as its source: at the hooks used here packets carry the real ends' ports.
func (r rule) portConditions(families []family) []condition {
	if r.anyPort {
		return []condition{{}}
	}
	var list []condition
	var protocols, elements []string
	for _, p := range mergePorts(r.ports) {
		switch {
		case p.allPorts():
			protocols = append(protocols, p.protocol)
		case p.first == p.last:
			elements = append(elements, fmt.Sprintf("%s . %d", p.protocol, p.first))
		default:
			elements = append(elements, fmt.Sprintf("%s . %d-%d", p.protocol, p.first, p.last))
		}
	}
	if len(protocols) > 0 {
		list = append(list, condition{"meta l4proto { " + strings.Join(protocols, ", ") + " }", nil})
	}
	if len(elements) > 0 {
		set := strings.Join(elements, ", ")
		list = append(list,
			condition{"ct direction original meta l4proto . th dport { " + set + " }", nil},
			condition{"ct direction reply meta l4proto . th sport { " + set + " }", nil})
	}
	for _, n := range r.named {
		for _, f := range families {
			set, header := portSetName(n, f), f.header()
			list = append(list,
				condition{fmt.Sprintf("ct direction original %s daddr . meta l4proto . th dport @%s", header, set), &f},
				condition{fmt.Sprintf("ct direction reply %s saddr . meta l4proto . th sport @%s", header, set), &f})
		}
	}
	return list
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

func join(ranges []addressRange) string {
	texts := make([]string, len(ranges))
	for i, r := range ranges {
		texts[i] = r.String()
	}
	return strings.Join(texts, ", ")
}
