package policy

import (
	"net/netip"
	"slices"
	"strings"
)

// unseen isolates a pod whose labels are not known yet, in a namespace that has policies.
const unseen = "unseen"

// isolation returns the key of what isolates a pod of this node in one direction: the chains of the policies
// that select it, or "".
func (m *model) isolation(p *pod, d direction) string {
	var chains []string
	for _, policy := range m.policies[p.namespace] {
		if !policy.isolates[d] {
			continue
		}
		if p.unknown {
			return unseen
		}
		if policy.pods.Matches(p.labels) {
			chains = append(chains, policy.chainName(d))
		}
	}
	slices.Sort(chains)
	return strings.Join(chains, " ")
}

func (p *pod) isolated() bool { return p.sets[ingress] != "" || p.sets[egress] != "" }

func setChain(d direction, key string) string { return d.String() + "-set-" + digest(key) }

// attach makes the pod's addresses lead to the policies that select it.
func (m *model) attach(p *pod) {
	for _, a := range p.addresses {
		m.claim(p, a)
	}
	before := p.isolated()
	for _, d := range directions {
		old, now := p.sets[d], m.isolation(p, d)
		if old == now {
			continue
		}
		if now != "" {
			m.useSet(d, now)
		}
		p.sets[d] = now
		m.eachOwned(p, func(f family, a netip.Addr) {
			if now != "" {
				m.rules.put(mapName(d, f), a.String(), "goto "+setChain(d, now))
			} else {
				m.rules.remove(mapName(d, f), a.String())
			}
		})
		if old != "" {
			m.releaseSet(d, old)
		}
	}
	if now := p.isolated(); now != before {
		change := m.rules.add
		if before {
			change = m.rules.remove
		}
		m.eachOwned(p, func(f family, a netip.Addr) { change(selfName(f), a.String()+" . "+a.String()) })
	}
}

// detach undoes attach.
func (m *model) detach(p *pod) {
	for _, a := range p.addresses {
		if m.owners[a] == p {
			m.disown(p, a)
		}
	}
	for _, d := range directions {
		if p.sets[d] != "" {
			m.releaseSet(d, p.sets[d])
			p.sets[d] = ""
		}
	}
}

// claim makes an address lead to p. Two pods have the same address while one of them ended and the API does not say
// so yet: the one whose network the CNI plugin told of has it, or else the later one.
func (m *model) claim(p *pod, a netip.Addr) {
	other := m.owners[a]
	if other == p || !slices.Contains(m.families, familyOf(a)) {
		return
	}
	if other != nil {
		if m.sandboxes[p.namespace][p.name] == nil && m.sandboxes[other.namespace][other.name] != nil {
			return
		}
		m.disown(other, a)
	}
	m.owners[a] = p
	for _, d := range directions {
		if p.sets[d] != "" {
			m.rules.put(mapName(d, familyOf(a)), a.String(), "goto "+setChain(d, p.sets[d]))
		}
	}
	if p.isolated() {
		m.rules.add(selfName(familyOf(a)), a.String()+" . "+a.String())
	}
}

func (m *model) disown(p *pod, a netip.Addr) {
	delete(m.owners, a)
	for _, d := range directions {
		if p.sets[d] != "" {
			m.rules.remove(mapName(d, familyOf(a)), a.String())
		}
	}
	if p.isolated() {
		m.rules.remove(selfName(familyOf(a)), a.String()+" . "+a.String())
	}
}

// adopt gives now, a later state of the same pod at the same addresses, what old has.
func (m *model) adopt(old, now *pod) {
	now.sets = old.sets
	for _, a := range old.addresses {
		if m.owners[a] == old {
			m.owners[a] = now
		}
	}
}

func (m *model) eachOwned(p *pod, do func(family, netip.Addr)) {
	m.eachAddress(p, func(f family, a netip.Addr) {
		if m.owners[a] == p {
			do(f, a)
		}
	})
}

// useSet makes the chain of a set of policies, for its first pod.
func (m *model) useSet(d direction, key string) {
	name := setChain(d, key)
	m.hold(name, func() {
		var rules []string
		if key != unseen {
			for policy := range strings.SplitSeq(key, " ") {
				rules = append(rules, "jump "+policy)
			}
		}
		m.rules.defineChain(name, "", append(rules, "goto "+deny)...)
	})
	if m.guarded++; m.guarded == 1 {
		m.rules.guard(m.bridge, true)
	}
}

func (m *model) releaseSet(d direction, key string) {
	m.drop(setChain(d, key), m.rules.removeChain)
	if m.guarded--; m.guarded == 0 {
		m.rules.guard(m.bridge, false)
	}
}
