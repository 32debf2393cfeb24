package bundle

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"airgap/internal/strictjson"
)

// Encode returns m as canonical JSON: the bytes that are signed. It does not validate.
func (m *Manifest) Encode() ([]byte, error) {
	c := *m
	notNil(&c.Platforms)
	notNil(&c.Images)
	notNil(&c.Charts)
	notNil(&c.Manifests)
	notNil(&c.Files)
	notNil(&c.Distributions)
	notNil(&c.Entries)
	data, err := strictjson.Encode(&c)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", ManifestPath, err)
	}
	if len(data) > MaxManifestBytes {
		return nil, refuse(RuleBounds, ManifestPath, nowhere, "put less into one bundle", "%s would have %d bytes, the limit is %d", ManifestPath, len(data), MaxManifestBytes)
	}
	return data, nil
}

func notNil[T any](s *[]T) {
	if *s == nil {
		*s = []T{}
	}
}

// DecodeManifest reads canonical JSON. Encoding the result again must give the same bytes, which refuses
// unknown, duplicate and differently-cased keys, white space, nulls, other spellings of strings and
// numbers, and trailing data, whatever encoding/json makes of them. It does not validate.
func DecodeManifest(data []byte) (*Manifest, error) {
	if len(data) > MaxManifestBytes {
		return nil, refuse(RuleBounds, ManifestPath, 0, "", "%s has %d bytes, the limit is %d", ManifestPath, len(data), MaxManifestBytes)
	}
	m := new(Manifest)
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(m); err != nil {
		return nil, refuse(RuleJSON, ManifestPath, jsonOffset(err, decoder.InputOffset()), "", "%s: %v", ManifestPath, err)
	}
	if _, err := decoder.Token(); err != io.EOF {
		return nil, refuse(RuleJSON, ManifestPath, decoder.InputOffset(), "", "%s: data after the JSON document", ManifestPath)
	}
	canonical, err := m.Encode()
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(data, canonical) {
		return nil, refuse(RuleCanonical, ManifestPath, int64(firstDifference(data, canonical)), "", "%s is not canonical JSON", ManifestPath)
	}
	return m, nil
}

// jsonOffset is where encoding/json found err, as far as it says.
func jsonOffset(err error, otherwise int64) int64 {
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syntax):
		return syntax.Offset
	case errors.As(err, &kind):
		return kind.Offset
	}
	return otherwise
}

func firstDifference(a, b []byte) int {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return i
		}
	}
	return min(len(a), len(b))
}
