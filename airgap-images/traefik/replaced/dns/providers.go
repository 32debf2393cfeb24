// Package dns replaces lego's list of DNS providers, with which Traefik would link the clients of
// 200 clouds. Those left reach a site's own name server.
package dns

import (
	"fmt"

	"github.com/go-acme/lego/v5/challenge"
	"github.com/go-acme/lego/v5/providers/dns/dnsupdate"
	"github.com/go-acme/lego/v5/providers/dns/httpreq"
)

// NewDNSChallengeProviderByName returns the provider of that name.
func NewDNSChallengeProviderByName(name string) (challenge.Provider, error) {
	switch name {
	case "dnsupdate", "rfc2136":
		return dnsupdate.NewDNSProvider()
	case "httpreq":
		return httpreq.NewDNSProvider()
	}
	return nil, fmt.Errorf("unrecognized DNS provider: %s (this build has dnsupdate and httpreq)", name)
}
