package policy

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"sigs.k8s.io/knftables"
)

// ruleset is what the table shall be, and what of that the kernel does not have yet.
type ruleset struct {
	chains map[string]*chain
	sets   map[string]*set

	changedChains map[string]struct{}
	changedSets   map[string]struct{}
}

// chain is a chain without its name. A base chain has a hook.
type chain struct {
	hook    knftables.BaseChainHook
	comment string
	rules   []string

	installed bool // the kernel has the chain, perhaps with other rules
	gone      bool // it shall not exist
}

// set is a set, or a map of verdicts.
type set struct {
	keyType   string
	verdicts  bool
	intervals bool // elements are ranges
	elements  map[string]element

	installed bool
	gone      bool
	before    map[string]string // of the elements touched since the last commit: the value in the kernel, or absent
}

// element is an element's value. Several owners can put the same: it goes with the last of them.
type element struct {
	verdict string // of a map
	owners  int32
}

// absent is no element's value.
const absent = "-"

func newRuleset() *ruleset {
	return &ruleset{
		chains: map[string]*chain{}, sets: map[string]*set{},
		changedChains: map[string]struct{}{}, changedSets: map[string]struct{}{},
	}
}

// defineChain makes a chain, or replaces its rules.
func (r *ruleset) defineChain(name, comment string, rules ...string) *chain {
	c := r.chains[name]
	if c == nil {
		c = &chain{}
		r.chains[name] = c
	} else if !c.gone && c.comment == comment && slices.Equal(c.rules, rules) {
		return c
	}
	c.gone, c.comment, c.rules = false, comment, rules
	r.changedChains[name] = struct{}{}
	return c
}

func (r *ruleset) removeChain(name string) {
	r.chains[name].gone = true
	r.chains[name].rules = nil
	r.changedChains[name] = struct{}{}
}

// defineSet makes an empty set.
func (r *ruleset) defineSet(name, keyType string) *set {
	s := r.sets[name]
	if s == nil {
		s = &set{elements: map[string]element{}, before: map[string]string{}}
		r.sets[name] = s
	}
	s.keyType, s.gone = keyType, false
	r.changedSets[name] = struct{}{}
	return s
}

func (r *ruleset) removeSet(name string) {
	s := r.sets[name]
	for key := range s.elements {
		s.touch(key)
	}
	clear(s.elements)
	s.gone = true
	r.changedSets[name] = struct{}{}
}

// add puts an element into a set. Each add wants its remove.
func (r *ruleset) add(name, key string) {
	s := r.sets[name]
	s.touch(key)
	e := s.elements[key]
	e.owners++
	s.elements[key] = e
	r.changedSets[name] = struct{}{}
}

func (r *ruleset) remove(name, key string) {
	s := r.sets[name]
	s.touch(key)
	e := s.elements[key]
	if e.owners--; e.owners > 0 {
		s.elements[key] = e
	} else {
		delete(s.elements, key)
	}
	r.changedSets[name] = struct{}{}
}

// put gives a key of a map its verdict.
func (r *ruleset) put(name, key, verdict string) {
	s := r.sets[name]
	s.touch(key)
	s.elements[key] = element{verdict: verdict, owners: 1}
	r.changedSets[name] = struct{}{}
}

func (s *set) touch(key string) {
	if _, ok := s.before[key]; ok {
		return
	}
	s.before[key] = s.value(key)
}

// value is the element's verdict, "" in a set, or absent.
func (s *set) value(key string) string {
	if e, ok := s.elements[key]; ok {
		return e.verdict
	}
	return absent
}

// changes adds to tx what turns the kernel's table into the wanted one. Of each kind, what is new comes before
// what refers to it, and what is gone after what referred to it.
func (r *ruleset) changes(tx *knftables.Transaction) {
	sets, chains := sortedKeys(r.changedSets), sortedKeys(r.changedChains)
	for _, name := range sets {
		if s := r.sets[name]; !s.installed && !s.gone {
			s.create(tx, name)
		}
	}
	for _, name := range chains {
		switch c := r.chains[name]; {
		case !c.installed && !c.gone:
			c.create(tx, name)
		case c.installed:
			tx.Flush(&knftables.Chain{Name: name})
		}
	}
	for _, name := range chains {
		r.chains[name].fill(tx, name)
	}
	for _, name := range sets {
		s := r.sets[name]
		if s.gone {
			continue
		}
		touched := sortedKeys(s.before)
		for _, key := range touched {
			if was := s.before[key]; was != absent && was != s.value(key) {
				tx.Delete(s.object(name, key, was))
			}
		}
		for _, key := range touched {
			if is := s.value(key); is != absent && is != s.before[key] {
				tx.Add(s.object(name, key, is))
			}
		}
	}
	// A map's elements hold their chains.
	for _, name := range sets {
		if s := r.sets[name]; s.gone && s.installed && s.verdicts {
			tx.Delete(s.definition(name))
		}
	}
	for _, name := range chains {
		if c := r.chains[name]; c.gone && c.installed {
			tx.Delete(&knftables.Chain{Name: name})
		}
	}
	for _, name := range sets {
		if s := r.sets[name]; s.gone && s.installed && !s.verdicts {
			tx.Delete(s.definition(name))
		}
	}
}

// replacement adds to tx the whole table in place of the kernel's, whatever that is.
func (r *ruleset) replacement(tx *knftables.Transaction) {
	removal(tx)
	tx.Add(&knftables.Table{Comment: knftables.PtrTo("NetworkPolicies of Kubernetes; made by airgap")})
	for _, name := range sortedKeys(r.sets) {
		if s := r.sets[name]; !s.gone {
			s.create(tx, name)
		}
	}
	names := sortedKeys(r.chains)
	for _, name := range names {
		if c := r.chains[name]; !c.gone {
			c.create(tx, name)
		}
	}
	for _, name := range names {
		r.chains[name].fill(tx, name)
	}
	for _, name := range sortedKeys(r.sets) {
		s := r.sets[name]
		for _, key := range sortedKeys(s.elements) {
			tx.Add(s.object(name, key, s.elements[key].verdict))
		}
	}
}

// committed notes that the kernel has everything.
func (r *ruleset) committed() {
	for name := range r.changedChains {
		c := r.chains[name]
		c.installed = true
		if c.gone {
			delete(r.chains, name)
		}
	}
	for name := range r.changedSets {
		s := r.sets[name]
		s.installed = true
		clear(s.before)
		if s.gone {
			delete(r.sets, name)
		}
	}
	clear(r.changedChains)
	clear(r.changedSets)
}

func (c *chain) create(tx *knftables.Transaction, name string) {
	object := &knftables.Chain{Name: name}
	if c.comment != "" {
		object.Comment = &c.comment
	}
	if c.hook != "" {
		object.Type, object.Hook = knftables.PtrTo(knftables.FilterType), &c.hook
		object.Priority, object.Policy = knftables.PtrTo(knftables.FilterPriority), knftables.PtrTo(knftables.AcceptPolicy)
	}
	tx.Add(object)
}

func (c *chain) fill(tx *knftables.Transaction, name string) {
	for _, rule := range c.rules {
		tx.Add(&knftables.Rule{Chain: name, Rule: rule})
	}
}

func (s *set) definition(name string) knftables.Object {
	if s.verdicts {
		return &knftables.Map{Name: name, Type: s.keyType + " : verdict"}
	}
	object := &knftables.Set{Name: name, Type: s.keyType}
	if s.intervals {
		object.Flags = []knftables.SetFlag{knftables.IntervalFlag}
	}
	return object
}

func (s *set) create(tx *knftables.Transaction, name string) { tx.Add(s.definition(name)) }

func (s *set) object(name, key, verdict string) *knftables.Element {
	parts := strings.Split(key, " . ")
	if s.verdicts {
		return &knftables.Element{Map: name, Key: parts, Value: []string{verdict}}
	}
	return &knftables.Element{Set: name, Key: parts}
}

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }
