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
