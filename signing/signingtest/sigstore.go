// Package signingtest makes keyless signatures for tests, by authorities and logs of its own, as Sigstore makes them.
package signingtest

import (
	"encoding/hex"
	"testing"

	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	protocommon "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	protorekor "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/testing/ca"
	"github.com/sigstore/sigstore-go/pkg/tlog"
	"github.com/sigstore/sigstore-go/pkg/verify"
	"google.golang.org/protobuf/encoding/protojson"
)

// mediaType is that of a Sigstore bundle v0.3.
const mediaType = "application/vnd.dev.sigstore.bundle.v0.3+json"

// NewSigstore makes authorities and logs of its own, and their trusted root as a file has it. It issues no certificate timestamps.
func NewSigstore(t testing.TB) (*ca.VirtualSigstore, []byte) {
	t.Helper()
	virtual, err := ca.NewVirtualSigstore()
	if err != nil {
		t.Fatal(err)
	}
	logs := virtual.RekorLogs()
	for id, log := range logs {
		if log.ID, err = hex.DecodeString(id); err != nil { // where it has the hex itself, which a file cannot
			t.Fatal(err)
		}
	}
	trusted, err := root.NewTrustedRoot(root.TrustedRootMediaType01, virtual.FulcioCertificateAuthorities(), nil,
		virtual.TimestampingAuthorities(), logs)
	if err != nil {
		t.Fatal(err)
	}
	data, err := trusted.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	return virtual, data
}

// Keyless signs message as cosign does without a key. withLog adds an entry in the transparency log, else a timestamp proves the time.
func Keyless(t testing.TB, virtual *ca.VirtualSigstore, subject, issuer string, message []byte, withLog bool) []byte {
	t.Helper()
	entity, err := virtual.Sign(subject, issuer, message)
	if err != nil {
		t.Fatal(err)
	}
	verification, err := entity.VerificationContent()
	if err != nil {
		t.Fatal(err)
	}
	content, err := entity.SignatureContent()
	if err != nil {
		t.Fatal(err)
	}
	signed := content.MessageSignatureContent()
	material := &protobundle.VerificationMaterial{
		Content:                   &protobundle.VerificationMaterial_Certificate{Certificate: &protocommon.X509Certificate{RawBytes: verification.Certificate().Raw}},
		TimestampVerificationData: &protobundle.TimestampVerificationData{},
	}
	if withLog {
		material.TlogEntries = []*protorekor.TransparencyLogEntry{Logged(t, virtual, entity)}
	} else {
		timestamps, err := entity.Timestamps()
		if err != nil {
			t.Fatal(err)
		}
		material.TimestampVerificationData.Rfc3161Timestamps = []*protocommon.RFC3161SignedTimestamp{{SignedTimestamp: timestamps[0]}}
	}
	made, err := protojson.Marshal(&protobundle.Bundle{
		MediaType: mediaType, VerificationMaterial: material,
		Content: &protobundle.Bundle_MessageSignature{MessageSignature: &protocommon.MessageSignature{
			MessageDigest: &protocommon.HashOutput{Algorithm: protocommon.HashAlgorithm_SHA2_256, Digest: signed.Digest()},
			Signature:     content.Signature(),
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return made
}

// Logged is the log's entry for entity, the first there is, with the proof that it is in the log and the log's promise of the time.
func Logged(t testing.TB, virtual *ca.VirtualSigstore, entity verify.SignedEntity) *protorekor.TransparencyLogEntry {
	t.Helper()
	entries, err := entity.TlogEntries()
	if err != nil {
		t.Fatal(err)
	}
	entry := entries[0].TransparencyLogEntry()
	proof, err := virtual.GetInclusionProof(entry.CanonicalizedBody)
	if err != nil {
		t.Fatal(err)
	}
	rootHash, err := hex.DecodeString(*proof.RootHash)
	if err != nil {
		t.Fatal(err)
	}
	entry.LogIndex = *proof.LogIndex
	promise, err := virtual.RekorSignPayload(tlog.RekorPayload{
		Body: entries[0].Body(), IntegratedTime: entry.IntegratedTime, LogIndex: entry.LogIndex, LogID: hex.EncodeToString(entry.LogId.KeyId),
	})
	if err != nil {
		t.Fatal(err)
	}
	entry.KindVersion = &protorekor.KindVersion{Kind: "hashedrekord", Version: "0.0.1"}
	entry.InclusionPromise = &protorekor.InclusionPromise{SignedEntryTimestamp: promise}
	entry.InclusionProof = &protorekor.InclusionProof{
		LogIndex: *proof.LogIndex, TreeSize: *proof.TreeSize, RootHash: rootHash, Checkpoint: &protorekor.Checkpoint{Envelope: *proof.Checkpoint},
	}
	return entry
}
