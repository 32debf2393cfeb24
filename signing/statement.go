package signing

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"airgap/internal/strictjson"
)

const (
	// StatementType is the payload type of a [Statement] in its envelope.
	StatementType = "application/vnd.airgap.trust.v1+json"

	statementAPIVersion = "airgap/v1"
	statementKind       = "Trust"
)

// Statement says whom a machine trusts. The first is set by a machine's first install; each further one names
// the one before it and takes its place if enough keys of both have signed it.
type Statement struct {
	APIVersion string            `json:"apiVersion"`         // "airgap/v1"
	Kind       string            `json:"kind"`               // "Trust"
	Generation int               `json:"generation"`         // from 1, without gaps
	Previous   string            `json:"previous,omitempty"` // [Statement.Digest] of the one before; empty for the first
	Threshold  int               `json:"threshold"`          // how many of Keys and Identities must sign
	Keys       []string          `json:"keys"`               // PKIX PEM, sorted by ID
	Identities []StatedIdentity  `json:"identities,omitempty"`
	Revoked    []string          `json:"revoked"` // IDs of keys never to be trusted again, sorted
	Floors     map[string]string `json:"floors"`  // lowest acceptable version by name of what is signed; not interpreted here
}

// FirstStatement is the trust that a first install with this policy sets: the same on every machine that was given the same.
func FirstStatement(p Policy) (*Statement, error) {
	s := &Statement{APIVersion: statementAPIVersion, Kind: statementKind, Generation: 1, Threshold: p.Threshold, Revoked: []string{}, Floors: map[string]string{}}
	s.setKeys(p.Keys)
	s.setIdentities(p.Identities)
	return s, s.validate()
}

// Change is how a [Statement] differs from the one before it.
type Change struct {
	Add, Remove    []PublicKey
	Revoke         []string          // IDs; such a key is removed too
	AddIdentities  []*Identity       // after the others have gone: one may come back with another trusted root
	DropIdentities []string          // as [StatedIdentity.String] writes them
	Threshold      int               // 0: as before
	Floors         map[string]string // added to those of before, and put in their place
}

// Next makes the statement that follows s.
func (s *Statement) Next(c Change) (*Statement, error) {
	next := &Statement{
		APIVersion: statementAPIVersion, Kind: statementKind, Generation: s.Generation + 1, Previous: s.Digest(),
		Threshold: s.Threshold, Revoked: append(slices.Clone(s.Revoked), c.Revoke...), Floors: maps.Clone(s.Floors),
	}
	if c.Threshold != 0 {
		next.Threshold = c.Threshold
	}
	maps.Copy(next.Floors, c.Floors)
	slices.Sort(next.Revoked)
	next.Revoked = slices.Compact(next.Revoked)
	keys := make(map[string]PublicKey)
	for _, key := range append(s.keys(), c.Add...) {
		keys[key.ID()] = key
	}
	for _, key := range c.Remove {
		if _, there := keys[key.ID()]; !there {
			return nil, fmt.Errorf("key %s is to be removed and is not trusted", key.ID())
		}
		delete(keys, key.ID())
	}
	for _, id := range c.Revoke {
		delete(keys, id)
	}
	next.setKeys(slices.Collect(maps.Values(keys)))
	kept, err := s.identitiesBut(c.DropIdentities)
	if err != nil {
		return nil, err
	}
	next.setIdentities(append(kept, c.AddIdentities...))
	if err := next.validate(); err != nil {
		return nil, err
	}
	return next, next.follows(s)
}

// setKeys writes keys, each once, in order.
func (s *Statement) setKeys(keys []PublicKey) {
	byID := make(map[string]string, len(keys))
	for _, key := range keys {
		byID[key.ID()] = string(key.PEM())
	}
	s.Keys = []string{}
	for _, id := range slices.Sorted(maps.Keys(byID)) {
		s.Keys = append(s.Keys, byID[id])
	}
}

// keys returns the keys of a valid statement.
func (s *Statement) keys() []PublicKey {
	keys := make([]PublicKey, 0, len(s.Keys))
	for _, text := range s.Keys {
		if key, err := ParsePublicKey([]byte(text)); err == nil {
			keys = append(keys, key)
		}
	}
	return keys
}

// Policy is the policy that the statement sets.
func (s *Statement) Policy() Policy {
	return Policy{Keys: s.keys(), Identities: s.identities(), Threshold: s.Threshold}
}

// Digest names the statement: "sha256:" and the digest of its JSON.
func (s *Statement) Digest() string {
	sum := sha256.Sum256(s.encode())
	return "sha256:" + hex.EncodeToString(sum[:])
}

// encode returns the one JSON of the statement. Nothing in one can fail to be encoded.
func (s *Statement) encode() []byte {
	data, _ := strictjson.Encode(s)
	return data
}

// Envelope wraps the statement for signatures.
func (s *Statement) Envelope() *Envelope {
	return &Envelope{PayloadType: StatementType, Payload: s.encode()}
}

// ParseStatement reads the statement in an envelope strictly. It does not look at the signatures. The error is an [ErrInvalid].
func ParseStatement(e *Envelope) (*Statement, error) {
	if e.PayloadType != StatementType {
		return nil, fmt.Errorf("%w: a %.80q, not a statement of trust", ErrInvalid, e.PayloadType)
	}
	s := new(Statement)
	if err := strictjson.Decode(e.Payload, s); err != nil {
		return nil, fmt.Errorf("%w: statement of trust: %v", ErrInvalid, err)
	}
	if !bytes.Equal(s.encode(), e.Payload) {
		return nil, fmt.Errorf("%w: statement of trust: not in its one spelling", ErrInvalid)
	}
	if err := s.validate(); err != nil {
		return nil, fmt.Errorf("%w: statement of trust: %v", ErrInvalid, err)
	}
	return s, nil
}

// validate checks what can be checked without the statement before.
func (s *Statement) validate() error {
	if s.APIVersion != statementAPIVersion || s.Kind != statementKind {
		return fmt.Errorf("apiVersion %.40q, kind %.40q: want %q, %q", s.APIVersion, s.Kind, statementAPIVersion, statementKind)
	}
	if s.Generation < 1 || (s.Generation == 1) != (s.Previous == "") {
		return fmt.Errorf("generation %d after %.80q", s.Generation, s.Previous)
	}
	if s.Keys == nil || s.Revoked == nil || s.Floors == nil {
		return errors.New("a list is missing")
	}
	last := ""
	for _, text := range s.Keys {
		key, err := ParsePublicKey([]byte(text))
		if err != nil {
			return err
		}
		switch id := key.ID(); {
		case string(key.PEM()) != text:
			return fmt.Errorf("key %s is not in its one spelling", id)
		case id <= last:
			return fmt.Errorf("key %s is there twice, or out of order", id)
		case slices.Contains(s.Revoked, id):
			return fmt.Errorf("key %s is revoked: it can never be trusted again", id)
		default:
			last = id
		}
	}
	if err := s.validateIdentities(); err != nil {
		return err
	}
	if all := len(s.Keys) + len(s.Identities); s.Threshold < 1 || s.Threshold > all {
		return fmt.Errorf("the signatures of %d of %d keys are asked for", s.Threshold, all)
	}
	for i, id := range s.Revoked {
		if !isKeyID(id) || i > 0 && s.Revoked[i-1] >= id {
			return fmt.Errorf("revoked key %.80q: want IDs, 64 hex digits, each once and sorted", id)
		}
	}
	return nil
}

// follows checks that s may take the place of before, but for its signatures.
func (s *Statement) follows(before *Statement) error {
	if s.Generation != before.Generation+1 || s.Previous != before.Digest() {
		return fmt.Errorf("%w: it is generation %d and follows %.80q; this trust is generation %d, %s",
			ErrOrder, s.Generation, s.Previous, before.Generation, before.Digest())
	}
	for _, id := range before.Revoked {
		if !slices.Contains(s.Revoked, id) {
			return fmt.Errorf("%w: it leaves out that key %s is revoked", ErrOrder, id)
		}
	}
	return nil
}

// Missing says whose signatures the envelope of s still lacks to take the place of before: nil if none. It wraps [ErrUntrusted].
func (s *Statement) Missing(before *Statement, e *Envelope) error {
	if _, err := before.Policy().VerifyEnvelope(e); err != nil {
		return fmt.Errorf("by the keys trusted before it: %w", err)
	}
	if _, err := s.Policy().VerifyEnvelope(e); err != nil {
		return fmt.Errorf("by the keys that it makes trusted: %w", err)
	}
	return nil
}

// whom writes who is trusted so that a person can compare it.
func (s *Statement) whom() string {
	var names []string
	for _, key := range s.keys() {
		names = append(names, key.ID())
	}
	for _, identity := range s.Identities {
		names = append(names, identity.String())
	}
	return strings.Join(names, ", ")
}
