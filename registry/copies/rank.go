package copies

import (
	"bytes"
	"crypto/sha256"
	"slices"
)

// Node is a node of the site.
type Node struct {
	Name    string
	Address string // "address:port" of its registry for peers
}

// Rank orders nodes for a repository ("team/app"); the first ones are its homes. The order of any two nodes depends on
// nothing but their names and the repository's.
func Rank(repository string, nodes []Node) []Node {
	type ranked struct {
		weight [sha256.Size]byte
		node   Node
	}
	list := make([]ranked, 0, len(nodes))
	for _, node := range nodes {
		list = append(list, ranked{sha256.Sum256([]byte(repository + "\x00" + node.Name)), node})
	}
	slices.SortFunc(list, func(a, b ranked) int { return bytes.Compare(a.weight[:], b.weight[:]) })
	order := make([]Node, 0, len(nodes))
	for _, r := range list {
		order = append(order, r.node)
	}
	return order
}
