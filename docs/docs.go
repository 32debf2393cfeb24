// Package docs holds what the documentation publishes for programs to read.
package docs

import _ "embed"

// Schema is the JSON Schema of airgap.yaml, for editors. [airgap/bundle/source.Load] does not use it: its
// messages name lines. A test of that package holds the two together.
//
//go:embed airgap.schema.json
var Schema []byte
