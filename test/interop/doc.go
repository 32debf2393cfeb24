// Package interop shows that others can read what airgap writes, and that airgap reads what they write: bundle.py is a reader of bundles made from
// docs/format.md alone; stock cosign, built from the module in cosign/, verifies bundles' signatures and makes some.
package interop
