package bundle

import (
	"errors"
	"fmt"
	"io"
)

// Errors a caller decides on. Every refusal of this package wraps one of them, or one of package signing.
var (
	// ErrFormat says that the bytes are not a bundle as specified.
	ErrFormat = errors.New("malformed bundle")
	// ErrDigest says that bytes differ from what was signed.
	ErrDigest = errors.New("digest mismatch")
	// ErrTruncated says that the bundle ends early: a bad copy or a bad stick.
	ErrTruncated = errors.New("truncated bundle")
)

// Rule is one rule of the format, by the name under which docs/format.md has it.
type Rule string

// The rules, in the order in which a reader comes to them.
const (
	RuleHeader      Rule = "header"      // a tar header has the only form that there is for its entry
	RuleOrder       Rule = "order"       // each entry stands in its place, under its name, once
	RuleFile        Rule = "file"        // in a folder: a regular file, which stays as it is while it is read
	RuleBounds      Rule = "bounds"      // manifest and signatures are no larger than what a reader may hold unverified
	RuleSignature   Rule = "signature"   // as many trusted keys as are wanted have signed the manifest, and none of their signatures is false
	RuleJSON        Rule = "json"        // the manifest is JSON of the known fields
	RuleCanonical   Rule = "canonical"   // the manifest is the one way of writing what it says
	RuleManifest    Rule = "manifest"    // what the manifest says is well-formed and agrees with itself
	RuleIndex       Rule = "index"       // index.json is the one that follows from the manifest
	RuleTime        Rule = "time"        // each tar header has the manifest's issuedAt
	RuleListed      Rule = "listed"      // in a folder: nothing that the manifest does not list
	RuleSize        Rule = "size"        // each entry has the size that was signed
	RuleDigest      Rule = "digest"      // each entry has the SHA-256 that was signed
	RulePadding     Rule = "padding"     // what fills up a block of the tar is zeros
	RuleGraph       Rule = "graph"       // the OCI graph is closed over the entries and uses all of them
	RuleAttestation Rule = "attestation" // a statement is an in-toto statement of the type that the manifest lists, about exactly what is carried, and no trusted key's signature on it is false
	RuleComplete    Rule = "complete"    // the bundle does not end before its end
	RuleEnd         Rule = "end"         // two blocks of zeros end the tar, and nothing follows
)

// Refusal is why a bundle is refused: which rule of the format it breaks, and where.
type Refusal struct {
	Rule  Rule
	Entry string // path in the bundle of what is refused, as far as it has one
	// Offset is the byte where what is refused begins, or where the bundle ended: from the start of the tar, or, where there is no
	// tar, of the entry's own file. -1 for what is in no one place.
	Offset int64
	Err    error  // what is wrong; wraps [ErrFormat], [ErrDigest], [ErrTruncated] or an error of package signing
	Remedy string // what to do about it; may be empty
}

// Error names rule and place between what is wrong and its remedy.
func (r *Refusal) Error() string {
	text := fmt.Sprintf("%v (rule %s", r.Err, r.Rule)
	if r.Offset >= 0 {
		text += fmt.Sprintf(", byte %d", r.Offset)
	}
	text += ")"
	if r.Remedy != "" {
		text += "; " + r.Remedy
	}
	return text
}

// Unwrap returns r.Err.
func (r *Refusal) Unwrap() error { return r.Err }

// nowhere is the offset of what is in no one place.
const nowhere = -1

// refuse makes the refusal of an entry by a rule of the format: an [ErrFormat].
func refuse(rule Rule, entry string, offset int64, remedy, format string, args ...any) error {
	return &Refusal{rule, entry, offset, fmt.Errorf("%w: "+format, append([]any{ErrFormat}, args...)...), remedy}
}

// readError is what the failed read of an entry means. The end of the stream within a bundle is an [ErrTruncated], at offset; any
// other failure is the medium's and no refusal.
func readError(err error, entry string, offset int64, remedy string) error {
	if err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF) {
		return &Refusal{RuleComplete, entry, offset, fmt.Errorf("%w: it ends too early, at %s", ErrTruncated, entry), remedy}
	}
	return fmt.Errorf("%s: read bundle: %w; %s", entry, err, remedy)
}
