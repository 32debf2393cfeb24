package source

import _ "embed"

// Schema is the JSON Schema of airgap.yaml, for editors. [Load] does not use it: its
// messages name lines. A test holds the two together.
//
//go:embed schema.json
var Schema []byte
