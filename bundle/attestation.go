package bundle

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"airgap/internal/strictjson"
	"airgap/signing"
)

// Predicate types of the attestations that a build makes.
const (
	ProvenanceType = "https://slsa.dev/provenance/v1"
	SBOMType       = "https://spdx.dev/Document/v2.3"
)

const (
	statementPayloadType = "application/vnd.in-toto+json"
	statementType        = "https://in-toto.io/Statement/v1"
)

// Statement is an in-toto statement: https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md.
type Statement struct {
	Type          string          `json:"_type"`
	Subject       []Subject       `json:"subject"`
	PredicateType string          `json:"predicateType"`
	Predicate     json.RawMessage `json:"predicate"`
}

// Subject is something that a statement is about.
type Subject struct {
	Name   string            `json:"name"`
	Digest map[string]string `json:"digest"` // hex, by algorithm: "sha256"
}

// VerifiedAttestation is an attestation that a reader has checked.
type VerifiedAttestation struct {
	Attestation
	Signers []string // IDs of the accepted keys that signed the statement itself; whoever signed the manifest vouches for it too
}

// envelopeTrust is a [Trust] that knows whose signatures on an envelope count.
type envelopeTrust interface {
	EnvelopeSigners(e *signing.Envelope) (signerIDs []string, err error)
}

// EnvelopeSigners names the signers of a statement as far as Signed knows them.
func (a AllowUnsigned) EnvelopeSigners(e *signing.Envelope) ([]string, error) {
	if known, ok := a.Signed.(envelopeTrust); ok {
		return known.EnvelopeSigners(e)
	}
	return nil, nil
}

// Predicate is what a statement says of the content of a bundle.
type Predicate struct {
	Type  string // a URI
	Value any    // as JSON
}

// AddAttestations adds a statement for each predicate to c, signed by signers; their subjects are everything that [Manifest.Subjects] names. The same content,
// predicates and keys give the same bytes.
//
// The last statement ends in as many spaces as let the layers begin at a multiple of 4096 bytes in the tar, when Create signs with the
// same keys: file systems can then put the layers behind it that are on their disk already.
func (c *Content) AddAttestations(ctx context.Context, signers []*signing.PrivateKey, predicates ...Predicate) error {
	var statements [][]byte
	for _, p := range predicates {
		encoded, err := strictjson.Encode(p.Value)
		if err != nil {
			return fmt.Errorf("attestation %s: %w", p.Type, err)
		}
		statement, err := strictjson.Encode(Statement{Type: statementType, Subject: c.Manifest.Subjects(), PredicateType: p.Type, Predicate: encoded})
		if err != nil {
			return fmt.Errorf("attestation %s: %w", p.Type, err)
		}
		statements = append(statements, statement)
	}
	if err := c.align(ctx, signers, predicates, statements); err != nil {
		return err
	}
	attested, err := c.with(predicates, statements, signers)
	if err == nil {
		*c = attested
	}
	return err
}

// with is c with the statements, in envelopes that the signers have signed.
func (c *Content) with(predicates []Predicate, statements [][]byte, signers []*signing.PrivateKey) (Content, error) {
	attested := *c
	attested.Blobs, attested.Manifest.Attestations = slices.Clone(c.Blobs), slices.Clone(c.Manifest.Attestations)
	for i, p := range predicates {
		envelope := &signing.Envelope{PayloadType: statementPayloadType, Payload: statements[i]}
		for _, key := range signers {
			if err := envelope.Sign(key); err != nil {
				return attested, fmt.Errorf("attestation %s: %w", p.Type, err)
			}
		}
		data, err := envelope.Encode()
		if err != nil {
			return attested, fmt.Errorf("attestation %s: %w", p.Type, err)
		}
		if len(data) > MaxMetadataBytes {
			return attested, fmt.Errorf("attestation %s has %d bytes, the limit is %d: leave it out, or put less into one bundle", p.Type, len(data), MaxMetadataBytes)
		}
		layer := NewBlob(RoleStatement, data)
		blobs, artifact, err := NewArtifact(StatementArtifactType, StatementLayerMediaType, "", nil, layer)
		if err != nil {
			return attested, err
		}
		attested.Blobs = append(attested.Blobs, blobs...)
		attested.Manifest.Attestations = append(attested.Manifest.Attestations, Attestation{PredicateType: p.Type, Artifact: artifact, Digest: layer.Digest})
	}
	return attested, nil
}

// align lengthens the last statement. No key is asked for that: how long its signatures are is known well enough.
func (c *Content) align(ctx context.Context, signers []*signing.PrivateKey, predicates []Predicate, statements [][]byte) error {
	if len(statements) == 0 {
		return nil
	}
	var placeholders []*signing.PrivateKey
	for _, key := range signers {
		placeholders = append(placeholders, key.Public().Placeholder())
	}
	last := &statements[len(statements)-1]
	for range 8 { // a longer statement can make the manifest longer, which says how long it is
		trial, err := c.with(predicates, statements, placeholders)
		if err != nil {
			return err
		}
		p, err := newPlan(ctx, trial, placeholders)
		if err != nil {
			return err
		}
		beyond := p.layersBegin() % layerAlignment
		if beyond == 0 {
			return nil
		}
		envelope := trial.Blobs[len(trial.Blobs)-1].Size
		// The middle of a block of the tar: a signature that is some bytes longer or shorter then changes nothing.
		wanted := paddedSize(envelope) + layerAlignment - beyond - tarBlockBytes/2
		*last = append(*last, bytes.Repeat([]byte(" "), int(wanted-envelope)*3/4)...) // base64 makes four bytes of three
	}
	return nil // layers are copied then, and all is well
}

// Subjects names everything that m carries and that is not itself a statement: images, charts, files of Kubernetes objects, files and
// distributions, sorted by name.
func (m *Manifest) Subjects() []Subject {
	subjects := []Subject{}
	add := func(name, digest string) {
		subjects = append(subjects, Subject{name, map[string]string{"sha256": strings.TrimPrefix(digest, digestPrefix)}})
	}
	for _, image := range m.Images {
		add(image.Reference, image.Digest)
	}
	for _, chart := range m.Charts {
		add("chart/"+chart.Release, chart.Digest)
	}
	for _, objects := range m.Manifests {
		add("manifest/"+objects.Name, objects.Digest)
	}
	for _, file := range m.Files {
		add("file"+file.Target, file.Digest)
	}
	for _, d := range m.Distributions {
		add("distribution/"+d.Platform, d.Digest)
	}
	slices.SortStableFunc(subjects, func(a, b Subject) int { return strings.Compare(a.Name, b.Name) })
	return subjects
}

// ReadStatement reads a statement in its envelope. It does not look at the signatures.
func ReadStatement(data []byte) (*Statement, *signing.Envelope, error) {
	envelope, err := signing.ParseEnvelope(data)
	if err != nil {
		return nil, nil, err
	}
	if envelope.PayloadType != statementPayloadType {
		return nil, nil, fmt.Errorf("the envelope holds a %.80q, not a statement", envelope.PayloadType)
	}
	s := new(Statement)
	if err := strictjson.Decode(envelope.Payload, s); err != nil {
		return nil, nil, fmt.Errorf("the statement: %w", err)
	}
	if s.Type != statementType {
		return nil, nil, errors.New("not one in-toto statement v1")
	}
	return s, envelope, nil
}

// checkAttestation holds a statement against what the manifest says of it: its type, that it is about exactly what the bundle carries, and that
// no accepted key's signature on it is a false one.
func (r *Reader) checkAttestation(e Entry, data []byte) error {
	if e.Role != RoleStatement {
		return nil
	}
	s, envelope, err := ReadStatement(data)
	if err != nil {
		return refuse(RuleAttestation, e.Path, nowhere, "", "%s: %v", e.Path, err)
	}
	at := slices.IndexFunc(r.manifest.Attestations, func(a Attestation) bool { return a.Digest == e.Digest() })
	if at < 0 || r.manifest.Attestations[at].PredicateType != s.PredicateType {
		return refuse(RuleAttestation, e.Path, nowhere, "", "%s: a statement of the type %.200q, which the manifest does not list as such", e.Path, s.PredicateType)
	}
	if !slices.EqualFunc(s.Subject, r.manifest.Subjects(), func(a, b Subject) bool {
		return a.Name == b.Name && len(a.Digest) == 1 && a.Digest["sha256"] == b.Digest["sha256"]
	}) {
		return refuse(RuleAttestation, e.Path, nowhere, "", "%s: a statement about something else than this bundle carries", e.Path)
	}
	verified := VerifiedAttestation{Attestation: r.manifest.Attestations[at]}
	if trust, ok := r.trust.(envelopeTrust); ok {
		if verified.Signers, err = trust.EnvelopeSigners(envelope); err != nil {
			return &Refusal{RuleAttestation, e.Path, nowhere, fmt.Errorf("%s: %w", e.Path, err), ""}
		}
	}
	r.vouched = append(r.vouched, verified)
	return nil
}

// Attestations returns the attestations that have been read and checked so far: all, once Next has returned what is no metadata.
func (r *Reader) Attestations() []VerifiedAttestation { return r.vouched }
