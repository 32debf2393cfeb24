// Package nxdomain is a CoreDNS plugin that ends a chain: what none of the plugins before it
// answers does not exist, it says, with authority and at once.
//
//	nxdomain
//
// It stands in for forward where there is nobody to forward to. Without it CoreDNS answers
// SERVFAIL, at which some resolvers, musl's among them, give up before they have
// tried all their search domains. The plugin template could say the same, but comes before hosts,
// kubernetes, file and forward, and would hide them.
package nxdomain

import (
	"context"

	"github.com/coredns/caddy"
	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/plugin"
	"github.com/miekg/dns"
)

const name = "nxdomain"

// ttlSeconds is for how long a resolver may remember that a name does not exist.
const ttlSeconds = 30

func init() {
	dnsserver.Directives = append(dnsserver.Directives, name) // the last one
	plugin.Register(name, setup)
}

func setup(c *caddy.Controller) error {
	c.Next()
	if c.NextArg() || c.NextBlock() {
		return plugin.Error(name, c.ArgErr())
	}
	dnsserver.GetConfig(c).AddPlugin(func(plugin.Handler) plugin.Handler { return handler{} })
	return nil
}

type handler struct{}

func (handler) Name() string { return name }

// ServeDNS answers NXDOMAIN, with the start of authority of a root zone that has nothing in it
// (RFC 2308, section 3: without it nobody may remember the answer).
func (handler) ServeDNS(_ context.Context, w dns.ResponseWriter, request *dns.Msg) (int, error) {
	answer := new(dns.Msg)
	answer.SetRcode(request, dns.RcodeNameError)
	answer.Authoritative = true
	answer.Ns = []dns.RR{&dns.SOA{
		Hdr: dns.RR_Header{Name: ".", Rrtype: dns.TypeSOA, Class: dns.ClassINET, Ttl: ttlSeconds},
		Ns:  "localhost.", Mbox: "nobody.invalid.", Serial: 1, Refresh: 3600, Retry: 600, Expire: 86400, Minttl: ttlSeconds,
	}}
	return dns.RcodeNameError, w.WriteMsg(answer)
}
