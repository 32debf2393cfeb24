// Package depcheck holds the shape of the program by tests: which package may import which
// and why ([rules]), that every package says what it is, and what only commands may do. It has no code
// of its own; the tests read the tree with "go list" and the Go parser and build nothing.
package depcheck
