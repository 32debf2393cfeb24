package signing

import (
	"bytes"
	"context"
	"crypto"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/sigstore/cosign/v2/pkg/cosign"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/verify"
	"github.com/sigstore/sigstore/pkg/signature"
)

// Errors a caller decides on.
var (
	// ErrUnsigned says that there is no signature at all.
	ErrUnsigned = errors.New("not signed")
	// ErrInvalid says that a signature is damaged, or is not over this message.
	ErrInvalid = errors.New("invalid signature")
	// ErrUntrusted says that too few trusted keys have signed. The error is an *UntrustedError.
	ErrUntrusted = errors.New("not signed by a trusted key")
)

// UntrustedError says who is said to have signed a message that trusted keys have not. It is an [ErrUntrusted].
type UntrustedError struct {
	Signers []string // IDs of the keys named by signatures that are not trusted; unauthenticated
	Have    int      // how many distinct trusted keys have signed
	Want    int      // how many must

	Certificate error // why the last signature by a certificate was not accepted; nil if there was none
}

func (e *UntrustedError) Error() string {
	text := ErrUntrusted.Error()
	if e.Want > 1 {
		text = fmt.Sprintf("signed by %d trusted keys, want %d", e.Have, e.Want)
	}
	if len(e.Signers) > 0 {
		text += ": a signature names the unknown key " + strings.Join(e.Signers, ", ")
	}
	if e.Certificate != nil {
		return text + fmt.Sprintf(": the certificate of a signature was not accepted: %v", e.Certificate)
	}
	return text + "; compare with the ID of the key you were given"
}

// Is makes errors.Is(err, ErrUntrusted) true.
func (e *UntrustedError) Is(target error) bool { return target == ErrUntrusted }

// Policy says whose signatures are needed: those of at least Threshold distinct Keys and Identities.
type Policy struct {
	Keys       []PublicKey
	Identities []*Identity // each counts once, whoever matches it
	Threshold  int         // 1 … number of distinct Keys and Identities; anything else accepts nothing
}

// Verify checks that sigs over message satisfy the policy and returns the IDs of the keys whose signatures
// count, in the order of Keys, then the names of identities. Errors are [ErrUnsigned], [ErrInvalid] or [ErrUntrusted].
func (p Policy) Verify(message []byte, sigs []Signature) (signerIDs []string, err error) {
	count, err := p.newCount()
	if err != nil {
		return nil, err
	}
	if len(sigs) == 0 {
		return nil, ErrUnsigned
	}
	for i, s := range sigs {
		sig, err := s.parse()
		if err != nil {
			return nil, fmt.Errorf("%w: signature %d: %v", ErrInvalid, i, err)
		}
		if sig.hint == "" {
			count.certified(message, sig)
			continue
		}
		id := hintToID(sig.hint)
		key, known := count.key(id)
		if !known {
			continue
		}
		if err := key.verify(message, sig); err != nil {
			return nil, fmt.Errorf("%w: signature %d, by key %s: %v", ErrInvalid, i, id, err)
		}
		count.signed[id] = true
	}
	return count.result()
}

// count is how far a message is from satisfying a policy.
type count struct {
	policy  Policy
	keys    map[string]PublicKey // by ID
	signed  map[string]bool      // by ID
	names   map[int]string       // who signed as which of the identities
	unknown []string             // signers who are not in the policy
	refused error                // why the last certificate was not accepted
}

// certified notes which identities a signature by certificate satisfies. One that satisfies none counts for nothing: unlike the
// hint of a key, a certificate is not said to be anybody's in particular.
func (c *count) certified(message []byte, sig parsed) {
	why := errors.New("it is not said whose certificates are trusted")
	for i, identity := range c.policy.Identities {
		name, err := identity.verify(message, sig)
		if err == nil {
			err = sig.requireDigest(message)
		}
		if err == nil {
			c.names[i] = name
			return
		}
		why = err
	}
	c.refused = why
}

// newCount refuses a policy that cannot be satisfied.
func (p Policy) newCount() (*count, error) {
	c := &count{policy: p, keys: make(map[string]PublicKey, len(p.Keys)), signed: make(map[string]bool), names: make(map[int]string)}
	for _, k := range p.Keys {
		if k.key == nil {
			return nil, fmt.Errorf("%w: the policy holds an empty key", ErrUntrusted)
		}
		c.keys[k.ID()] = k
	}
	if all := len(c.keys) + len(p.Identities); p.Threshold < 1 || p.Threshold > all {
		return nil, fmt.Errorf("%w: the policy asks for %d of %d keys", ErrUntrusted, p.Threshold, all)
	}
	return c, nil
}

// key returns the configured key that a signature names, or notes that there is none.
func (c *count) key(id string) (PublicKey, bool) {
	key, known := c.keys[id]
	if !known {
		c.unknown = append(c.unknown, id)
	}
	return key, known
}

// result names the signers that count, if they are enough.
func (c *count) result() (signerIDs []string, err error) {
	for _, k := range c.policy.Keys {
		if id := k.ID(); c.signed[id] && !slices.Contains(signerIDs, id) {
			signerIDs = append(signerIDs, id)
		}
	}
	for i := range c.policy.Identities {
		if name, signed := c.names[i]; signed {
			signerIDs = append(signerIDs, name)
		}
	}
	if len(signerIDs) < c.policy.Threshold {
		return nil, &UntrustedError{Signers: c.unknown, Have: len(signerIDs), Want: c.policy.Threshold, Certificate: c.refused}
	}
	return signerIDs, nil
}

// verify checks sig with k alone, whatever key it names. It runs what cosign verify-blob runs; told that there
// is no log, and given a key and an empty root, that needs no clock and no network.
func (k PublicKey) verify(message []byte, sig parsed) error {
	verifier, err := signature.LoadECDSAVerifier(k.key, crypto.SHA256)
	if err != nil {
		return err
	}
	options := &cosign.CheckOpts{SigVerifier: verifier, IgnoreTlog: true, TrustedMaterial: new(root.BaseTrustedMaterial)}
	artifact := verify.WithArtifact(bytes.NewReader(message))
	if _, err := cosign.VerifyNewBundle(context.Background(), options, artifact, sig.entity); err != nil {
		return err
	}
	if err := sig.requireDigest(message); err != nil {
		return err
	}
	// The library accepts signatures in another encoding than DER, which openssl would not.
	if !k.verifies(message, sig.der) {
		return errors.New("not an ASN.1 DER signature")
	}
	return nil
}
