package bundle

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
)

const (
	// digestPrefix starts every digest: no other algorithm is used.
	digestPrefix = "sha256:"
	// blobFolder holds the blobs, each named by the hex of its digest.
	blobFolder = "blobs/sha256/"
)

// Digest returns the entry's digest, "sha256:<hex>".
func (e Entry) Digest() string { return digestPrefix + e.SHA256 }

// Label is what a person is told of the entry while it moves: its role and as much of its digest as other tools show.
func (e Entry) Label() string { return fmt.Sprintf("%s %.12s", e.Role, e.SHA256) }

// pathOf returns where the blob of a digest stands in a bundle.
func pathOf(digest string) string { return blobFolder + strings.TrimPrefix(digest, digestPrefix) }

// isBlob reports whether the entry is one of the content-addressed blobs.
func (e Entry) isBlob() bool { return e.Path == blobFolder+e.SHA256 }

// isHex reports whether s is the lower-case hex of a SHA-256.
func isHex(s string) bool {
	if len(s) != hex.EncodedLen(sha256.Size) {
		return false
	}
	return strings.IndexFunc(s, func(r rune) bool { return (r < '0' || r > '9') && (r < 'a' || r > 'f') }) < 0
}

// isDigest reports whether s is "sha256:" and 64 lower-case hex digits.
func isDigest(s string) bool {
	encoded, ok := strings.CutPrefix(s, digestPrefix)
	return ok && isHex(encoded)
}
