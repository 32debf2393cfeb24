package policy

import (
	"fmt"
	"net/netip"
	"sync"
	"testing"
)

// Each feature of the API, with real packets of all protocols and both families, between the pod web and
// three others: client and other of web's namespace, stranger of another one with client's labels.
func TestFeatures(t *testing.T) {
	n := newNode(t)
	web := n.pod(0, "a", "web", app("web"))
	others := map[string]*machine{
		"client":   n.pod(1, "a", "client", app("client")),
		"other":    n.pod(2, "a", "other", app("other")),
		"stranger": n.pod(3, "b", "stranger", app("client")),
	}
	all := func(string, string, uint16) bool { return true }
	none := func(string, string, uint16) bool { return false }
	for _, test := range []struct {
		name    string
		spec    string
		ingress func(from, protocol string, port uint16) bool // what passes to web
		egress  func(to, protocol string, port uint16) bool   // what passes from it
	}{
		{"default deny", "{podSelector: {}}", none, func(to, _ string, _ uint16) bool { return to == "stranger" }},
		{"default deny of both", "{podSelector: {}, policyTypes: [Ingress, Egress]}", none, none},
		{"another pod's policy", "{podSelector: {matchLabels: {app: x}}, policyTypes: [Ingress, Egress]}", all, all},
		{"pods by label", "{podSelector: {matchLabels: {app: web}}, ingress: [{from: [{podSelector: {matchLabels: {app: client}}}]}]}",
			func(from, _ string, _ uint16) bool { return from == "client" }, all},
		{"namespaces by label", "{podSelector: {matchLabels: {app: web}}, ingress: [{from: [{namespaceSelector: {matchLabels: {team: blue}}}]}]}",
			func(from, _ string, _ uint16) bool { return from == "stranger" }, all},
		{"pods of namespaces", "{podSelector: {matchLabels: {app: web}}, ingress: [{from: [{namespaceSelector: {}, podSelector: {matchLabels: {app: client}}}]}]}",
			func(from, _ string, _ uint16) bool { return from != "other" }, all},
		{"one peer or another", "{podSelector: {matchLabels: {app: web}}, ingress: [{from: [{podSelector: {matchLabels: {app: other}}}, {namespaceSelector: {matchLabels: {team: blue}}}]}]}",
			func(from, _ string, _ uint16) bool { return from != "client" }, all},
		{"a block with exceptions", `{podSelector: {matchLabels: {app: web}}, ingress: [{from: [
			{ipBlock: {cidr: 10.42.0.0/24, except: [10.42.0.17/32]}}, {ipBlock: {cidr: "fd42::/64", except: ["fd42::11/128"]}}]}]}`,
			func(from, _ string, _ uint16) bool { return from != "client" }, all},
		{"a block and its exception again", `{podSelector: {matchLabels: {app: web}}, ingress: [{from: [
			{ipBlock: {cidr: 10.42.0.0/24, except: [10.42.0.0/28, 10.42.0.16/28]}}, {ipBlock: {cidr: 10.42.0.18/32}}, {ipBlock: {cidr: "fd42::12/128"}}]}]}`,
			func(from, _ string, _ uint16) bool { return from == "other" }, all},
		{"a port", "{podSelector: {matchLabels: {app: web}}, ingress: [{ports: [{port: 8080}]}]}",
			func(_, protocol string, port uint16) bool { return protocol == "tcp" && port == 8080 }, all},
		{"a named port", "{podSelector: {matchLabels: {app: web}}, ingress: [{ports: [{port: http}]}]}",
			func(_, protocol string, port uint16) bool { return protocol == "tcp" && port == 8080 }, all},
		{"a named port of another protocol", "{podSelector: {matchLabels: {app: web}}, ingress: [{ports: [{port: http, protocol: UDP}]}]}", none, all},
		{"a range", "{podSelector: {matchLabels: {app: web}}, ingress: [{ports: [{port: 8081, endPort: 9000, protocol: UDP}]}]}",
			func(_, protocol string, port uint16) bool { return protocol == "udp" && port == 8081 }, all},
		{"SCTP", "{podSelector: {matchLabels: {app: web}}, ingress: [{ports: [{port: 8080, protocol: SCTP}]}]}",
			func(_, protocol string, port uint16) bool { return protocol == "sctp" && port == 8080 }, all},
		{"a whole protocol", "{podSelector: {matchLabels: {app: web}}, ingress: [{ports: [{protocol: UDP}]}]}",
			func(_, protocol string, _ uint16) bool { return protocol == "udp" }, all},
		{"egress", "{podSelector: {matchLabels: {app: web}}, policyTypes: [Egress], egress: [{to: [{podSelector: {matchLabels: {app: client}}}], ports: [{port: 8081}]}]}",
			all, func(to, protocol string, port uint16) bool {
				return to == "client" && protocol == "tcp" && port == 8081
			}},
		{"egress to a named port", "{podSelector: {matchLabels: {app: web}}, policyTypes: [Egress], egress: [{to: [{namespaceSelector: {}, podSelector: {matchLabels: {app: client}}}], ports: [{port: http}]}]}",
			all, func(to, protocol string, port uint16) bool { return to != "other" && protocol == "tcp" && port == 8080 }},
		{"everything", "{podSelector: {}, policyTypes: [Ingress, Egress], ingress: [{}], egress: [{}]}", all, all},
	} {
		t.Run(test.name, func(t *testing.T) {
			n.t, web.t = t, t
			n.apply("p", test.spec)
			n.settled()
			var wait sync.WaitGroup
			for name, other := range others {
				for _, f := range bothFamilies {
					for _, protocol := range []string{"tcp", "udp", "sctp"} {
						for _, port := range servedPorts {
							check := func(direction string, from, to *machine, want bool) {
								wait.Go(func() {
									address := netip.AddrPortFrom(to.addresses[f], port)
									got := from.reaches(protocol, address, to) || want && from.reaches(protocol, address, to)
									if got != want {
										t.Errorf("%s %s, %s port %d, %s: passes: %v, want %v", direction, name, protocol, port, f, got, want)
									}
								})
							}
							check("from", other, web, test.ingress(name, protocol, port))
							check("to", web, other, test.egress(name, protocol, port))
						}
					}
				}
			}
			wait.Wait()
		})
	}
	n.t = t
	t.Run("removal", func(t *testing.T) {
		n.apply("p", "{podSelector: {}}")
		n.settled()
		n.remove("p")
		eventually(t, func() string {
			if !others["client"].reaches("tcp", netip.AddrPortFrom(web.addresses[ip4], 8080), web) {
				return "the last policy is gone, and its effect is not"
			}
			return ""
		})
		eventually(t, func() string {
			if all, err := n.controller.options.Tables.ListAll(t.Context()); err == nil {
				return fmt.Sprint("without policies there is a table with ", all)
			}
			return ""
		})
	})
}
