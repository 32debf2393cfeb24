package bundle

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"path/filepath"
	"slices"
	"testing"

	"airgap/signing"
)

// attested writes a bundle of c with one attestation; edit, which may be nil, changes the statement's envelope before it is put in.
func attested(t *testing.T, c Content, key *signing.PrivateKey, edit func(*signing.Envelope)) string {
	t.Helper()
	if err := c.AddAttestations(t.Context(), []*signing.PrivateKey{key}, Predicate{ProvenanceType, map[string]string{"of": "the <test>"}}); err != nil {
		t.Fatal(err)
	}
	if edit != nil {
		layer := &c.Blobs[len(c.Blobs)-1]
		envelope, err := signing.ParseEnvelope(readBlob(t, *layer))
		if err != nil {
			t.Fatal(err)
		}
		edit(envelope)
		data, err := envelope.Encode()
		if err != nil {
			t.Fatal(err)
		}
		blobs, artifact, err := NewArtifact(StatementArtifactType, StatementLayerMediaType, "", nil, NewBlob(RoleStatement, data))
		if err != nil {
			t.Fatal(err)
		}
		c.Blobs = append(c.Blobs[:len(c.Blobs)-3], blobs...)
		c.Manifest.Attestations[0].Artifact, c.Manifest.Attestations[0].Digest = artifact, blobs[2].Digest
	}
	return create(t, c, CreateOptions{Signers: []*signing.PrivateKey{key}})
}

func readBlob(t *testing.T, b Blob) []byte {
	t.Helper()
	r, err := b.Open(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	data, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestAttestation(t *testing.T) {
	key, policy := signer(t, siteKey)
	path := attested(t, tinyContent(t), key, nil)
	if !bytes.Equal(mustRead(t, path), mustRead(t, attested(t, tinyContent(t), key, nil))) {
		t.Error("the same statement gives another bundle")
	}
	r, err := Open(path, policy)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if err := r.Verify(context.Background(), nil); err != nil {
		t.Fatal(err)
	}
	got := r.Attestations()
	if len(got) != 1 || got[0].PredicateType != ProvenanceType || !slices.Equal(got[0].Signers, []string{key.Public().ID()}) {
		t.Errorf("attestations %+v", got)
	}
	if _, _, err := Verify(context.Background(), path, AllowUnsigned{}, nil); err != nil {
		t.Errorf("looked at without a key: %v", err)
	}
}

func TestAttestationRefused(t *testing.T) {
	key, policy := signer(t, siteKey)
	strangers, _ := signer(t, strangersKey)
	statement := func(change func(*Statement)) func(*signing.Envelope) {
		return func(e *signing.Envelope) {
			var s Statement
			if err := json.Unmarshal(e.Payload, &s); err != nil {
				t.Fatal(err)
			}
			change(&s)
			*e = signing.Envelope{PayloadType: e.PayloadType, Payload: mustJSON(t, s)}
			if err := e.Sign(key); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, test := range map[string]struct {
		edit func(*signing.Envelope)
		want error
	}{
		"as it was made":    {func(*signing.Envelope) {}, nil},
		"signed by another": {func(e *signing.Envelope) { e.Signatures = nil; _ = e.Sign(strangers) }, nil},
		"a false signature": {func(e *signing.Envelope) { e.Signatures[0].DER[9] ^= 1 }, signing.ErrInvalid},
		"in a trusted name": {func(e *signing.Envelope) {
			e.Signatures = nil
			_ = e.Sign(strangers)
			e.Signatures[0].KeyID = key.Public().ID()
		}, signing.ErrInvalid},
		"another payload":  {func(e *signing.Envelope) { e.Payload = bytes.Replace(e.Payload, []byte("test"), []byte("TEST"), 1) }, signing.ErrInvalid},
		"of another type":  {statement(func(s *Statement) { s.PredicateType = SBOMType }), ErrFormat},
		"about another":    {statement(func(s *Statement) { s.Subject[0].Digest["sha256"] = s.Subject[0].Digest["sha256"][1:] + "0" }), ErrFormat},
		"about nothing":    {statement(func(s *Statement) { s.Subject = nil }), ErrFormat},
		"about more":       {statement(func(s *Statement) { s.Subject = append(s.Subject, s.Subject...) }), ErrFormat},
		"an older in-toto": {statement(func(s *Statement) { s.Type = "https://in-toto.io/Statement/v0.1" }), ErrFormat},
		"something else":   {func(e *signing.Envelope) { *e = signing.Envelope{PayloadType: "text/plain"}; _ = e.Sign(key) }, ErrFormat},
		"no JSON":          {func(e *signing.Envelope) { *e = signing.Envelope{PayloadType: e.PayloadType}; _ = e.Sign(key) }, ErrFormat},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := Verify(context.Background(), attested(t, tinyContent(t), key, test.edit), policy, nil)
			if !errors.Is(err, test.want) {
				t.Fatalf("error %v, want %v", err, test.want)
			}
			var refusal *Refusal
			if test.want != nil && (!errors.As(err, &refusal) || refusal.Rule != RuleAttestation) {
				t.Errorf("rule of %v is not %s", err, RuleAttestation)
			}
		})
	}
}

// A statement cannot be listed as another, twice, or moved to a bundle that carries something else.
func TestAttestationBelongsToItsBundle(t *testing.T) {
	key, _ := signer(t, siteKey)
	content := func() Content {
		c := tinyContent(t)
		if err := c.AddAttestations(t.Context(), []*signing.PrivateKey{key}, Predicate{SBOMType, "x"}); err != nil {
			t.Fatal(err)
		}
		return c
	}
	for name, edit := range map[string]func(*Content){
		"twice": func(c *Content) {
			c.Manifest.Attestations = append(c.Manifest.Attestations, c.Manifest.Attestations[0])
		},
		"no type":         func(c *Content) { c.Manifest.Attestations[0].PredicateType = "" },
		"another blob":    func(c *Content) { c.Manifest.Attestations[0].Digest = c.Manifest.Images[0].Digest },
		"no longer there": func(c *Content) { c.Manifest.Attestations = nil },
	} {
		c := content()
		edit(&c)
		if _, err := Create(context.Background(), filepath.Join(t.TempDir(), "x"), c, CreateOptions{}); !errors.Is(err, ErrFormat) {
			t.Errorf("%s: %v, want ErrFormat", name, err)
		}
	}
}
