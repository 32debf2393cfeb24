package policy

import (
	"net/netip"
)

// references counts the users of something that is in the table while it has any.
type references struct{ count int }

// peers is the set of addresses of the pods that a selector selects.
type peers struct {
	references
	selector selector
}

// hold counts a user of a chain or set, and makes it for the first.
func (m *model) hold(name string, define func()) {
	if m.shared[name] == nil {
		m.shared[name] = &references{}
		define()
	}
	m.shared[name].count++
}

// drop undoes hold.
func (m *model) drop(name string, remove func(name string)) {
	if m.shared[name].count--; m.shared[name].count == 0 {
		delete(m.shared, name)
		remove(name)
	}
}

// use makes what the policy's rules refer to.
func (m *model) use(p *policy) {
	for _, d := range directions {
		for _, r := range p.rules[d] {
			for _, s := range r.selectors {
				m.usePeers(s)
			}
			for _, n := range r.named {
				m.usePort(n)
			}
			for _, f := range m.families {
				if len(r.blocks[f]) > 1 {
					name := r.blocksName(f)
					m.hold(name, func() {
						m.rules.defineSet(name, f.addressType()).intervals = true
						for _, block := range r.blocks[f] {
							m.rules.add(name, block.String())
						}
					})
				}
			}
			if !r.anyPort {
				m.hold(r.portsName(), func() { m.rules.defineChain(r.portsName(), "", r.renderPorts(m.families)...) })
			}
		}
	}
}

// release undoes use.
func (m *model) release(p *policy) {
	for _, d := range directions {
		for _, r := range p.rules[d] {
			for _, s := range r.selectors {
				m.releasePeers(s)
			}
			for _, n := range r.named {
				m.releasePort(n)
			}
			for _, f := range m.families {
				if len(r.blocks[f]) > 1 {
					m.drop(r.blocksName(f), m.rules.removeSet)
				}
			}
			if !r.anyPort {
				m.drop(r.portsName(), m.rules.removeChain)
			}
		}
	}
}

func (m *model) usePeers(s selector) {
	key := s.key()
	if m.peers[key] == nil {
		m.peers[key] = &peers{selector: s}
		for _, f := range m.families {
			m.rules.defineSet(peerSetName(key, f), f.addressType())
		}
		m.eachPod(func(p *pod) {
			if !p.unknown && s.matches(p, m.namespaces[p.namespace]) {
				m.eachAddress(p, func(f family, a netip.Addr) { m.rules.add(peerSetName(key, f), a.String()) })
			}
		})
	}
	m.peers[key].count++
}

func (m *model) releasePeers(s selector) {
	key := s.key()
	if m.peers[key].count--; m.peers[key].count == 0 {
		delete(m.peers, key)
		for _, f := range m.families {
			m.rules.removeSet(peerSetName(key, f))
		}
	}
}

func (m *model) usePort(n namedPort) {
	if m.ports[n] == nil {
		m.ports[n] = &references{}
		for _, f := range m.families {
			m.rules.defineSet(portSetName(n, f), f.addressType()+" . inet_proto . inet_service")
		}
		m.eachPod(func(p *pod) {
			for _, port := range p.ports {
				if port.namedPort == n {
					m.eachAddress(p, func(f family, a netip.Addr) { m.rules.add(portSetName(n, f), port.element(a)) })
				}
			}
		})
	}
	m.ports[n].count++
}

func (m *model) releasePort(n namedPort) {
	if m.ports[n].count--; m.ports[n].count == 0 {
		delete(m.ports, n)
		for _, f := range m.families {
			m.rules.removeSet(portSetName(n, f))
		}
	}
}
