package signing

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
)

// StatedIdentity is an [Identity] as a [Statement] has it. It brings its trusted root along, which makes a statement some kilobytes longer:
// a machine's trust must not depend on a file that anybody else keeps.
type StatedIdentity struct {
	Identity       string `json:"identity,omitempty"` // the certificate's subject
	IdentityRegexp string `json:"identityRegexp,omitempty"`
	Issuer         string `json:"issuer,omitempty"`
	IssuerRegexp   string `json:"issuerRegexp,omitempty"`
	TrustedRoot    string `json:"trustedRoot"` // JSON without white space
}

// String says who it is, for a person.
func (s StatedIdentity) String() string {
	return cmp.Or(s.Identity, s.IdentityRegexp) + " (" + cmp.Or(s.Issuer, s.IssuerRegexp) + ")"
}

// parse reads it as it was given.
func (s StatedIdentity) parse() (*Identity, error) {
	return NewIdentity(IdentityOptions{
		TrustedRoot: []byte(s.TrustedRoot), Identity: s.Identity, IdentityRegexp: s.IdentityRegexp, Issuer: s.Issuer, IssuerRegexp: s.IssuerRegexp,
	})
}

func (s StatedIdentity) compare(other StatedIdentity) int {
	return cmp.Or(cmp.Compare(s.Identity, other.Identity), cmp.Compare(s.IdentityRegexp, other.IdentityRegexp), cmp.Compare(s.Issuer, other.Issuer),
		cmp.Compare(s.IssuerRegexp, other.IssuerRegexp), cmp.Compare(s.TrustedRoot, other.TrustedRoot))
}

// Stated is the identity as a statement has it: what it accepts, to compare and to keep.
func (i *Identity) Stated() StatedIdentity { return i.stated }

// setIdentities writes identities, each once, in order.
func (s *Statement) setIdentities(identities []*Identity) {
	for _, i := range identities {
		s.Identities = append(s.Identities, i.stated)
	}
	slices.SortFunc(s.Identities, StatedIdentity.compare)
	s.Identities = slices.Compact(s.Identities)
}

// identities returns the identities of a valid statement.
func (s *Statement) identities() []*Identity {
	var identities []*Identity
	for _, stated := range s.Identities {
		if i, err := stated.parse(); err == nil {
			identities = append(identities, i)
		}
	}
	return identities
}

// identitiesBut returns the identities but for those of the given names, each of which must be there.
func (s *Statement) identitiesBut(dropped []string) ([]*Identity, error) {
	kept := s.identities()
	for _, name := range dropped {
		before := len(kept)
		if kept = slices.DeleteFunc(kept, func(i *Identity) bool { return i.stated.String() == name }); len(kept) == before {
			return nil, fmt.Errorf("identity %q is to be dropped and is not trusted", name)
		}
	}
	return kept, nil
}

// validateIdentities checks each identity and their order.
func (s *Statement) validateIdentities() error {
	if s.Identities != nil && len(s.Identities) == 0 {
		return errors.New("an empty list of identities")
	}
	for n, stated := range s.Identities {
		i, err := stated.parse()
		switch {
		case err != nil:
			return fmt.Errorf("identity %.200s: %w", stated, err)
		case i.stated != stated:
			return fmt.Errorf("identity %.200s is not in its one spelling", stated)
		case n > 0 && s.Identities[n-1].compare(stated) >= 0:
			return fmt.Errorf("identity %.200s is there twice, or out of order", stated)
		}
	}
	return nil
}
