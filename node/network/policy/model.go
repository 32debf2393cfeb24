package policy

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/labels"

	"airgap/node/network/policy/admission"
)

// model is the cluster as far as policies go, and keeps the ruleset that follows from it. Each change
// costs what it changes. It is for one goroutine.
type model struct {
	node     string
	bridge   string // interface that this node's pods are attached to; may be empty
	families []family
	rules    *ruleset

	objects    map[string]map[string]*corev1.Pod        // the API's pods, by namespace and name
	sandboxes  map[string]map[string]*admission.Sandbox // this node's, likewise
	pods       map[string]map[string]*pod               // what follows from both
	namespaces map[string]labels.Set
	policies   map[string]map[string]*policy

	peers   map[string]*peers // by selector key
	ports   map[namedPort]*references
	shared  map[string]*references // chains and sets that depend on no pod, by name
	guarded int                    // how many pods are isolated, those for both directions twice
	owners  map[netip.Addr]*pod    // of this node: whom an address leads to
}

func newModel(node, bridge string, families []family) *model {
	m := &model{
		node: node, bridge: bridge, families: families, rules: newRuleset(),
		objects: map[string]map[string]*corev1.Pod{}, sandboxes: map[string]map[string]*admission.Sandbox{}, pods: map[string]map[string]*pod{},
		namespaces: map[string]labels.Set{}, policies: map[string]map[string]*policy{},
		peers: map[string]*peers{}, ports: map[namedPort]*references{}, shared: map[string]*references{},
		owners: map[netip.Addr]*pod{},
	}
	m.rules.defineBase(families)
	return m
}

// store puts a value, or with nil removes it, two levels deep.
func store[V any](all map[string]map[string]*V, namespace, name string, value *V) {
	switch inner := all[namespace]; {
	case value != nil && inner == nil:
		all[namespace] = map[string]*V{name: value}
	case value != nil:
		inner[name] = value
	default:
		delete(inner, name)
		if len(inner) == 0 {
			delete(all, namespace)
		}
	}
}

// setPod takes the API's pod; nil if it is gone.
func (m *model) setPod(namespace, name string, object *corev1.Pod) {
	store(m.objects, namespace, name, object)
	m.refresh(namespace, name)
}

// setSandbox takes the network of a pod of this node; nil if it is gone.
func (m *model) setSandbox(namespace, name string, sandbox *admission.Sandbox) {
	store(m.sandboxes, namespace, name, sandbox)
	m.refresh(namespace, name)
}

func (m *model) refresh(namespace, name string) {
	old := m.pods[namespace][name]
	now := resolve(m.objects[namespace][name], m.sandboxes[namespace][name], m.node)
	if old.same(now) {
		return
	}
	if old != nil {
		m.announce(old, m.rules.remove)
		if now == nil || !now.local || !slices.Equal(old.addresses, now.addresses) {
			m.detach(old)
		}
	}
	store(m.pods, namespace, name, now)
	if now == nil {
		return
	}
	m.announce(now, m.rules.add)
	if now.local {
		if old != nil && slices.Equal(old.addresses, now.addresses) {
			m.adopt(old, now)
		}
		m.attach(now)
	}
}

// announce adds the pod to, or removes it from, the sets that it is in.
func (m *model) announce(p *pod, change func(set, key string)) {
	if p.unknown {
		return
	}
	for key, set := range m.peers {
		if set.selector.matches(p, m.namespaces[p.namespace]) {
			m.eachAddress(p, func(f family, a netip.Addr) { change(peerSetName(key, f), a.String()) })
		}
	}
	for _, port := range p.ports {
		if m.ports[port.namedPort] != nil {
			m.eachAddress(p, func(f family, a netip.Addr) { change(portSetName(port.namedPort, f), port.element(a)) })
		}
	}
}

func (c containerPort) element(a netip.Addr) string {
	return fmt.Sprintf("%s . %s . %d", a, c.protocol, c.number)
}

func (m *model) eachAddress(p *pod, do func(family, netip.Addr)) {
	for _, a := range p.addresses {
		if f := familyOf(a); slices.Contains(m.families, f) {
			do(f, a)
		}
	}
}

func (m *model) eachPod(do func(*pod)) {
	for _, inner := range m.pods {
		for _, p := range inner {
			do(p)
		}
	}
}

// setNamespace takes a namespace's labels; nil if it is gone.
func (m *model) setNamespace(name string, now labels.Set) {
	old := m.namespaces[name]
	for key, set := range m.peers {
		if set.selector.namespaces == nil || set.selector.namespaces.Matches(old) == set.selector.namespaces.Matches(now) {
			continue
		}
		change := m.rules.add
		if set.selector.namespaces.Matches(old) {
			change = m.rules.remove
		}
		for _, p := range m.pods[name] {
			if !p.unknown && set.selector.pods.Matches(p.labels) {
				m.eachAddress(p, func(f family, a netip.Addr) { change(peerSetName(key, f), a.String()) })
			}
		}
	}
	if now == nil {
		delete(m.namespaces, name)
	} else {
		m.namespaces[name] = now
	}
}

// setPolicy takes a policy; nil if it is gone. It returns what the policy is understood as.
func (m *model) setPolicy(namespace, name string, object *networkingv1.NetworkPolicy) *policy {
	old := m.policies[namespace][name]
	var now *policy
	if object != nil {
		now = compile(object)
		m.use(now)
	}
	store(m.policies, namespace, name, now)
	for _, d := range directions {
		if now != nil && now.isolates[d] {
			m.rules.defineChain(now.chainName(d), comment(namespace+"/"+name), now.render(d, m.families)...)
		}
	}
	for _, p := range m.pods[namespace] {
		if p.local {
			m.attach(p)
		}
	}
	if old != nil {
		for _, d := range directions {
			if old.isolates[d] && (now == nil || !now.isolates[d]) {
				m.rules.removeChain(old.chainName(d))
			}
		}
		m.release(old)
	}
	return now
}

// maxCommentBytes is what nft takes.
const maxCommentBytes = 127

func comment(text string) string { return text[:min(len(text), maxCommentBytes)] }

// undefined returns the named ports that the policy allows into pods, none of which, here, has a
// port of that name. Without a pod of the policy's here it returns nil.
func (m *model) undefined(p *policy) []string {
	var selected []*pod
	for _, pod := range m.pods[p.namespace] {
		if pod.local && !pod.unknown && p.pods.Matches(pod.labels) {
			selected = append(selected, pod)
		}
	}
	var missing []string
	for _, r := range p.rules[ingress] {
		for _, n := range r.named {
			if len(selected) > 0 && !slices.ContainsFunc(selected, func(p *pod) bool { return p.has(n) }) {
				missing = append(missing, fmt.Sprintf("no selected pod on node %s has a port named %q for %s", m.node, n.name, strings.ToUpper(n.protocol)))
			}
		}
	}
	return missing
}
