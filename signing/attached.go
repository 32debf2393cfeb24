package signing

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"

	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	protocommon "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	protorekor "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
	sigstore "github.com/sigstore/sigstore-go/pkg/bundle"
)

// attachedMediaType is the version of the Sigstore bundle that says what an attached signature can say: its log promises
// an inclusion, and does not prove it.
const attachedMediaType = "application/vnd.dev.sigstore.bundle+json;version=0.1"

// Attached is a signature as cosign attaches it to an image: a payload, and what its layer's annotations say
// (https://github.com/sigstore/cosign/blob/main/specs/SIGNATURE_SPEC.md). Nothing in it is authenticated.
type Attached struct {
	Payload     []byte
	Signature   string // base64
	Certificate string // PEM; empty: made with a key
	Log         string // JSON of the log's entry and its promise; empty if there is none
	Timestamp   string // JSON of an RFC 3161 timestamp; empty if there is none
}

// bundle writes a signature by certificate as a Sigstore bundle, for which there is one way to verify it.
func (a Attached) bundle(der []byte) (*sigstore.Bundle, error) {
	block, rest := pem.Decode([]byte(a.Certificate))
	if block == nil || block.Type != "CERTIFICATE" || len(rest) > 0 {
		return nil, errors.New("want one certificate in PEM")
	}
	sum := sha256.Sum256(a.Payload)
	material := &protobundle.VerificationMaterial{
		Content: &protobundle.VerificationMaterial_X509CertificateChain{X509CertificateChain: &protocommon.X509CertificateChain{
			Certificates: []*protocommon.X509Certificate{{RawBytes: block.Bytes}},
		}},
	}
	if a.Log != "" {
		entry, err := parseLogEntry(a.Log)
		if err != nil {
			return nil, fmt.Errorf("the entry of the transparency log: %w", err)
		}
		material.TlogEntries = []*protorekor.TransparencyLogEntry{entry}
	}
	if a.Timestamp != "" {
		var timestamp struct{ SignedRFC3161Timestamp []byte }
		if err := json.Unmarshal([]byte(a.Timestamp), &timestamp); err != nil {
			return nil, fmt.Errorf("the timestamp: %w", err)
		}
		material.TimestampVerificationData = &protobundle.TimestampVerificationData{
			Rfc3161Timestamps: []*protocommon.RFC3161SignedTimestamp{{SignedTimestamp: timestamp.SignedRFC3161Timestamp}},
		}
	}
	return sigstore.NewBundle(&protobundle.Bundle{
		MediaType: attachedMediaType, VerificationMaterial: material,
		Content: &protobundle.Bundle_MessageSignature{MessageSignature: &protocommon.MessageSignature{
			MessageDigest: &protocommon.HashOutput{Algorithm: protocommon.HashAlgorithm_SHA2_256, Digest: sum[:]},
			Signature:     der,
		}},
	})
}

// parseLogEntry reads what cosign keeps of an entry in Rekor, with the log's signed promise.
func parseLogEntry(text string) (*protorekor.TransparencyLogEntry, error) {
	var kept struct {
		SignedEntryTimestamp []byte
		Payload              struct {
			Body           []byte `json:"body"`
			IntegratedTime int64  `json:"integratedTime"`
			LogIndex       int64  `json:"logIndex"`
			LogID          string `json:"logID"`
		}
	}
	if err := json.Unmarshal([]byte(text), &kept); err != nil {
		return nil, err
	}
	logID, err := hex.DecodeString(kept.Payload.LogID)
	if err != nil {
		return nil, err
	}
	var body struct {
		Kind       string `json:"kind"`
		APIVersion string `json:"apiVersion"`
	}
	if err := json.Unmarshal(kept.Payload.Body, &body); err != nil {
		return nil, err
	}
	return &protorekor.TransparencyLogEntry{
		LogIndex: kept.Payload.LogIndex, LogId: &protocommon.LogId{KeyId: logID}, IntegratedTime: kept.Payload.IntegratedTime,
		KindVersion:       &protorekor.KindVersion{Kind: body.Kind, Version: body.APIVersion},
		InclusionPromise:  &protorekor.InclusionPromise{SignedEntryTimestamp: kept.SignedEntryTimestamp},
		CanonicalizedBody: kept.Payload.Body,
	}, nil
}
