package policy

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	networkingv1 "k8s.io/api/networking/v1"
	"sigs.k8s.io/yaml"
)

// parsePolicy reads a policy's spec from YAML.
func parsePolicy(t testing.TB, namespace, name, spec string) *networkingv1.NetworkPolicy {
	t.Helper()
	p := &networkingv1.NetworkPolicy{}
	if err := yaml.UnmarshalStrict([]byte("spec:\n"+indent(spec)), p); err != nil {
		t.Fatalf("%v\n%s", err, spec)
	}
	p.Namespace, p.Name = namespace, name
	return p
}

func indent(text string) string {
	return "  " + strings.ReplaceAll(strings.TrimSpace(strings.ReplaceAll(text, "\t", "  ")), "\n", "\n  ")
}

func TestRender(t *testing.T) {
	for name, test := range map[string]struct {
		spec            string
		isolates        [2]bool
		ingress, egress []string
		ports           []string // of the chain that the first rule for ingress jumps to
	}{
		"default deny": {
			spec: "podSelector: {}", isolates: [2]bool{true, false},
		},
		"types follow the rules": {
			spec: "{podSelector: {}, egress: [{}]}", isolates: [2]bool{true, true},
			egress: []string{"accept"},
		},
		"egress alone": {
			spec: "{podSelector: {}, policyTypes: [Egress]}", isolates: [2]bool{false, true},
		},
		"rules of a type that is not named do nothing": {
			spec: "{podSelector: {}, policyTypes: [Ingress], egress: [{}]}", isolates: [2]bool{true, false},
		},
		"an empty rule allows all": {
			spec: "{podSelector: {}, ingress: [{}]}", isolates: [2]bool{true, false},
			ingress: []string{"accept"},
		},
		"ports": {
			spec:     "{podSelector: {}, ingress: [{ports: [{port: 80}, {port: 95, endPort: 99}, {port: 90, endPort: 96}, {protocol: SCTP, port: 7}, {protocol: UDP}, {port: 53, protocol: UDP}]}]}",
			isolates: [2]bool{true, false},
			ingress:  []string{"jump PORTS"},
			ports: []string{
				"meta l4proto udp accept",
				"ct direction original meta l4proto . th dport { sctp . 7, tcp . 80, tcp . 90-99 } accept",
				"ct direction reply meta l4proto . th sport { sctp . 7, tcp . 80, tcp . 90-99 } accept",
			},
		},
		"blocks": {
			spec: `{podSelector: {}, policyTypes: [Egress], egress: [{to: [
			  {ipBlock: {cidr: 10.0.0.0/8, except: [10.1.0.0/16, 10.0.0.0/32]}}, {ipBlock: {cidr: 10.1.2.0/24}}, {ipBlock: {cidr: "fd00::/126", except: ["fd00::/127"]}}]}]}`,
			isolates: [2]bool{false, true},
			egress: []string{
				"ct reply ip saddr @BLOCKS accept", // 10.0.0.1-10.0.255.255, 10.1.2.0-10.1.2.255, 10.2.0.0-10.255.255.255
				"ct reply ip6 saddr fd00::2-fd00::3 accept",
			},
		},
		"everywhere": {
			spec:     `{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 0.0.0.0/0}}], ports: [{port: 53, protocol: UDP}]}]}`,
			isolates: [2]bool{true, false},
			ingress:  []string{"meta nfproto ipv4 jump PORTS"},
			ports: []string{
				"ct direction original udp dport 53 accept",
				"ct direction reply udp sport 53 accept",
			},
		},
		"a named port": {
			spec:     `{podSelector: {}, ingress: [{ports: [{port: web}]}]}`,
			isolates: [2]bool{true, false},
			ingress:  []string{"jump PORTS"},
			ports: []string{
				"ct direction original ip daddr . meta l4proto . th dport @" + portSetName(namedPort{"tcp", "web"}, ip4) + " accept",
				"ct direction reply ip saddr . meta l4proto . th sport @" + portSetName(namedPort{"tcp", "web"}, ip4) + " accept",
				"ct direction original ip6 daddr . meta l4proto . th dport @" + portSetName(namedPort{"tcp", "web"}, ip6) + " accept",
				"ct direction reply ip6 saddr . meta l4proto . th sport @" + portSetName(namedPort{"tcp", "web"}, ip6) + " accept",
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := compile(parsePolicy(t, "a", "p", test.spec))
			if p.isolates != test.isolates {
				t.Errorf("isolates %v, want %v", p.isolates, test.isolates)
			}
			if len(p.problems) > 0 {
				t.Errorf("problems: %q", p.problems)
			}
			for d, want := range map[direction][]string{ingress: test.ingress, egress: test.egress} {
				got := p.render(d, bothFamilies)
				if len(p.rules[d]) > 0 {
					r := p.rules[d][0]
					for i := range got {
						got[i] = strings.NewReplacer(r.portsName(), "PORTS", r.blocksName(ip4), "BLOCKS").Replace(got[i])
					}
				}
				if !slices.Equal(got, want) {
					t.Errorf("%s:\n%s\nwant\n%s", d, strings.Join(got, "\n"), strings.Join(want, "\n"))
				}
			}
			if test.ports != nil {
				if got := p.rules[ingress][0].renderPorts(bothFamilies); !slices.Equal(got, test.ports) {
					t.Errorf("ports:\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(test.ports, "\n"))
				}
			}
		})
	}
}

func TestNonsenseIsToldAndAllowsNothing(t *testing.T) {
	for name, test := range map[string]struct{ spec, problem string }{
		"range":            {"{podSelector: {}, ingress: [{ports: [{port: 90, endPort: 80}]}]}", "no range"},
		"port":             {"{podSelector: {}, ingress: [{ports: [{port: 70000}]}]}", "no range"},
		"end alone":        {"{podSelector: {}, ingress: [{ports: [{endPort: 80}]}]}", "without port"},
		"end of a name":    {"{podSelector: {}, ingress: [{ports: [{port: web, endPort: 80}]}]}", "named port"},
		"protocol":         {"{podSelector: {}, ingress: [{ports: [{protocol: ICMP}]}]}", "ICMP"},
		"peer":             {"{podSelector: {}, ingress: [{from: [{}]}]}", "empty"},
		"block":            {"{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/40}}]}]}", "no network"},
		"broken exception": {"{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/8, except: [x]}}]}]}", "allows nothing"},
	} {
		t.Run(name, func(t *testing.T) {
			p := compile(parsePolicy(t, "a", "p", test.spec))
			if len(p.problems) != 1 || !strings.Contains(p.problems[0], test.problem) || !strings.Contains(p.problems[0], "ingress[0]") {
				t.Errorf("problems are %q, want one that says %q", p.problems, test.problem)
			}
			lines := p.render(ingress, bothFamilies)
			if r := p.rules[ingress][0]; !r.anyPort { // a jump to a chain
				lines = r.renderPorts(bothFamilies)
			}
			if !p.isolates[ingress] || len(lines) != 0 {
				t.Errorf("isolates: %v, allows %q", p.isolates[ingress], lines)
			}
		})
	}
	t.Run("exception outside", func(t *testing.T) {
		p := compile(parsePolicy(t, "a", "p", "{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/8, except: [11.0.0.0/8]}}]}]}"))
		if len(p.problems) != 1 || p.rules[ingress][0].blocks[ip4][0] != rangeOf(netip.MustParsePrefix("10.0.0.0/8")) {
			t.Errorf("%q, %v", p.problems, p.rules[ingress][0].blocks)
		}
	})
}

// Ranges are compared, address by address, with the sets that they stand for.
func FuzzRanges(f *testing.F) {
	f.Add([]byte{0, 0, 24, 64, 26, 70, 32})
	f.Add([]byte{255, 32, 254, 31})
	f.Fuzz(func(t *testing.T, data []byte) {
		var ranges []addressRange
		var want [256]bool
		for i := 0; i+1 < len(data); i += 2 {
			prefix := netip.PrefixFrom(netip.AddrFrom4([4]byte{255, 255, 255, data[i]}), 24+int(data[i+1]%9)).Masked()
			allowed := data[i+1] < 128
			if allowed {
				ranges = append(ranges, rangeOf(prefix))
			} else {
				ranges = subtract(ranges, rangeOf(prefix))
			}
			for last := range 256 {
				if prefix.Contains(netip.AddrFrom4([4]byte{255, 255, 255, byte(last)})) {
					want[last] = allowed
				}
			}
		}
		merged := merge(ranges)
		for last := range 256 {
			a := netip.AddrFrom4([4]byte{255, 255, 255, byte(last)})
			got := slices.ContainsFunc(merged, func(r addressRange) bool { return !a.Less(r.first) && !r.last.Less(a) })
			if got != want[last] {
				t.Errorf("%s: %v, want %v, in %v", a, got, want[last], merged)
			}
		}
		for i := 1; i < len(merged); i++ {
			if next := merged[i-1].last.Next(); !next.Less(merged[i].first) {
				t.Errorf("%v and %v touch", merged[i-1], merged[i])
			}
		}
	})
}
