// Package strictjson writes JSON in one spelling and reads it without the liberties of encoding/json, for documents that are
// signed or that decide about trust.
package strictjson

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
)

// Encode returns v as JSON without white space, without a newline and without HTML's escapes.
func Encode(v any) ([]byte, error) {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	err := encoder.Encode(v)
	return bytes.TrimSuffix(out.Bytes(), []byte("\n")), err
}

// Decode reads one JSON document without unknown keys and with nothing after it. Keys that are there twice, or in other
// letters, it takes as encoding/json does: whoever must refuse them compares what Encode makes of the result.
func Decode(data []byte, into any) error {
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		return err
	}
	if _, err := decoder.Token(); err != io.EOF {
		return errors.New("data after the JSON document")
	}
	return nil
}
