package signing

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"

	"github.com/secure-systems-lab/go-securesystemslib/dsse"

	"airgap/internal/strictjson"
)

// MaxEnvelopeBytes bounds an envelope, which is held in memory before it is trusted.
const MaxEnvelopeBytes = 16 << 20

// Envelope is a payload with the signatures over it, in one file: DSSE, the dead simple signing envelope
// (https://github.com/secure-systems-lab/dsse, v1.0). Unlike a [Signature] it can carry those of several keys, and its
// type is signed too, so that a statement of one kind is never taken for one of another.
type Envelope struct {
	PayloadType string
	Payload     []byte
	Signatures  []EnvelopeSignature
}

// EnvelopeSignature is one key's signature in an [Envelope].
type EnvelopeSignature struct {
	KeyID string // of the key that is said to have signed: [PublicKey.ID]
	DER   []byte // over the DSSE pre-authentication encoding of type and payload
}

// Sign adds the signature of k, unless there is one already. The same key and payload give the same bytes.
func (e *Envelope) Sign(k *PrivateKey) error {
	id := k.Public().ID()
	for _, s := range e.Signatures {
		if s.KeyID == id && k.Public().verifies(e.signed(), s.DER) {
			return nil
		}
	}
	der, err := k.signMessage(e.signed())
	if err != nil {
		return fmt.Errorf("sign: %w", err)
	}
	e.Signatures = append(e.Signatures, EnvelopeSignature{KeyID: id, DER: der})
	return nil
}

// signed is what the signatures are over.
func (e *Envelope) signed() []byte { return dsse.PAE(e.PayloadType, e.Payload) }

// Encode returns the envelope as JSON without white space: the only spelling that [ParseEnvelope] reads.
func (e *Envelope) Encode() ([]byte, error) {
	wire := dsse.Envelope{PayloadType: e.PayloadType, Payload: base64.StdEncoding.EncodeToString(e.Payload), Signatures: []dsse.Signature{}}
	for _, s := range e.Signatures {
		wire.Signatures = append(wire.Signatures, dsse.Signature{KeyID: s.KeyID, Sig: base64.StdEncoding.EncodeToString(s.DER)})
	}
	return strictjson.Encode(wire)
}

// ParseEnvelope reads what Encode writes, with or without a newline at its end, and nothing else. Nothing in it is
// authenticated. The error is an [ErrInvalid].
func ParseEnvelope(data []byte) (*Envelope, error) {
	if len(data) > MaxEnvelopeBytes {
		return nil, fmt.Errorf("%w: an envelope of %d bytes, the limit is %d", ErrInvalid, len(data), MaxEnvelopeBytes)
	}
	var wire dsse.Envelope
	if err := strictjson.Decode(data, &wire); err != nil {
		return nil, fmt.Errorf("%w: not a DSSE envelope: %v", ErrInvalid, err)
	}
	e := &Envelope{PayloadType: wire.PayloadType}
	var err error
	if e.Payload, err = base64.StdEncoding.Strict().DecodeString(wire.Payload); err != nil {
		return nil, fmt.Errorf("%w: the payload of the envelope: %v", ErrInvalid, err)
	}
	for i, s := range wire.Signatures {
		der, err := base64.StdEncoding.Strict().DecodeString(s.Sig)
		if err != nil || !isKeyID(s.KeyID) {
			return nil, fmt.Errorf("%w: signature %d of the envelope, by key %.80q: want base64, and the key's ID in hex", ErrInvalid, i, s.KeyID)
		}
		e.Signatures = append(e.Signatures, EnvelopeSignature{s.KeyID, der})
	}
	canonical, err := e.Encode()
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(canonical, bytes.TrimSuffix(data, []byte("\n"))) {
		return nil, fmt.Errorf("%w: the envelope is not in its one spelling: JSON without white space", ErrInvalid)
	}
	return e, nil
}

// VerifyEnvelope checks that e carries signatures which satisfy the policy and returns the IDs of the keys whose
// signatures count, in the order of Keys. The rules and errors are those of [Policy.Verify].
func (p Policy) VerifyEnvelope(e *Envelope) (signerIDs []string, err error) {
	count, err := p.newCount()
	if err != nil {
		return nil, err
	}
	if len(e.Signatures) == 0 {
		return nil, ErrUnsigned
	}
	for i, s := range e.Signatures {
		key, known := count.key(s.KeyID)
		if !known {
			continue
		}
		if !key.verifies(e.signed(), s.DER) {
			return nil, fmt.Errorf("%w: signature %d, by key %s", ErrInvalid, i, s.KeyID)
		}
		count.signed[s.KeyID] = true
	}
	return count.result()
}

// EnvelopeSigners returns the IDs of those keys of the policy whose signatures e carries, in the order of Keys, however few they
// are. A signature in the name of one that does not verify is an [ErrInvalid].
func (p Policy) EnvelopeSigners(e *Envelope) (signerIDs []string, err error) {
	signerIDs, err = Policy{Keys: p.Keys, Threshold: 1}.VerifyEnvelope(e)
	if errors.Is(err, ErrUntrusted) || errors.Is(err, ErrUnsigned) {
		return nil, nil
	}
	return signerIDs, err
}
