package config

import (
	"fmt"
	"slices"
	"strings"
)

// The profiles: sets of settings for a purpose, given by name with --profile. They can be combined; a
// setting that is given by itself wins.
const (
	ProfileCIS  = "cis"  // what the CIS benchmark asks for beyond the defaults, see docs/security.md
	ProfileEdge = "edge" // what a small machine can do without
)

// Values of Server.IngressKinds: sets of kinds that the packaged ingress controller can serve.
const (
	IngressGatewayAPI = "gateway-api" // gateway.networking.k8s.io
	IngressTraefik    = "traefik"     // traefik.io
	IngressNone       = "none"        // Ingresses alone
)

// completeIngressKinds checks Server.IngressKinds.
func (s *Server) completeIngressKinds() error {
	s.IngressKinds = splitCommas(s.IngressKinds)
	for _, kinds := range s.IngressKinds {
		if !slices.Contains([]string{IngressGatewayAPI, IngressTraefik, IngressNone}, kinds) {
			return fmt.Errorf("ingress-kinds: %q: want %s and %s, or %s", kinds, IngressGatewayAPI, IngressTraefik, IngressNone)
		}
		if kinds == IngressNone && len(s.IngressKinds) > 1 {
			return fmt.Errorf("ingress-kinds: %s stands alone", IngressNone)
		}
	}
	return nil
}

// ServesKinds says whether the ingress controller is to serve a set of kinds. had is whether this machine's cluster has been
// given their definitions before: a profile takes from no site what its objects hang on, a flag does.
func (s *Server) ServesKinds(kinds string, had bool) bool {
	if len(s.IngressKinds) > 0 {
		return slices.Contains(s.IngressKinds, kinds)
	}
	return had || !s.Has(ProfileEdge)
}

// Has says whether the node has a profile.
func (a *Agent) Has(profile string) bool { return slices.Contains(a.Profiles, profile) }

// completeProfiles checks the profiles' names and sets what they ask of a node.
func (a *Agent) completeProfiles() error {
	known := []string{ProfileCIS, ProfileEdge}
	for _, name := range a.Profiles {
		if !slices.Contains(known, name) {
			return fmt.Errorf("profile: no profile %q; there are %s", name, strings.Join(known, ", "))
		}
	}
	if a.Has(ProfileCIS) {
		a.ProtectKernelDefaults = true
	}
	return nil
}
