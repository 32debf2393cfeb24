// Package program says which executable of the distribution's tree runs a command line.
//
// The tree has the same program twice: whole, and without the node (cmd/airgap with the build tag desk). Whole it is 200 MB,
// of which even a verb that prints a line maps more than a hundred when it starts. The verbs that need no node are
// therefore run by the other, which is a quarter of that. The whole program knows every verb: what is not
// recognised here is its business, help and completion among them.
package program

import (
	"path/filepath"
	"slices"
)

// The executables in the tree's folder bin.
const (
	Whole = "airgap"
	Desk  = "airgap-desk"
)

// deskVerbs are those that the desk's program runs. Everything they do, and every flag they have, must be in a build with
// the tag desk.
var deskVerbs = []string{
	"build", "cache", "diff", "images", "init", "inspect", "install", "inventory", "keygen", "pull", "push", "schema", "sign", "split",
	"trust", "upgrade", "verify",
}

// DeskVerbs returns the verbs that the desk's program runs, sorted.
func DeskVerbs() []string { return slices.Clone(deskVerbs) }

// Of returns the executable for a command line: Desk or Whole. argv[0] is the name it was called by. A name other than
// those in clients is airgap's own, whatever somebody has renamed the file to.
func Of(argv []string, clients map[string]bool) string {
	if len(argv) > 1 && !clients[filepath.Base(argv[0])] && slices.Contains(deskVerbs, argv[1]) {
		return Desk
	}
	return Whole
}
