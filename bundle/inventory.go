package bundle

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
)

// InventoryKind is the kind field of an inventory.
const InventoryKind = "Inventory"

// maxInventoryBytes bounds an inventory, which is held in memory.
const maxInventoryBytes = 64 << 20

// Inventory is what a site has: a delta for it leaves that out. It is a hint and nobody's promise: a machine that has not
// what a delta leaves out refuses the delta.
type Inventory struct {
	APIVersion string       `json:"apiVersion"` // always [APIVersion]
	Kind       string       `json:"kind"`       // always [InventoryKind]
	Bundles    []BaseBundle `json:"bundles"`    // that it has whole, sorted by name
	Blobs      []HeldBlob   `json:"blobs"`      // sorted by digest
}

// HeldBlob is a blob that a site has.
type HeldBlob struct {
	Digest string `json:"digest"` // "sha256:<hex>"
	Size   int64  `json:"size"`   // bytes
}

// sizes are those of the blobs, by digest. A nil inventory has none.
func (i *Inventory) sizes() map[string]int64 {
	if i == nil {
		return nil
	}
	sizes := make(map[string]int64, len(i.Blobs))
	for _, b := range i.Blobs {
		sizes[b.Digest] = b.Size
	}
	return sizes
}

// NewInventory makes the inventory of a site that has these bundles and blobs. It brings them into order, each once.
func NewInventory(bundles []BaseBundle, blobs []HeldBlob) *Inventory {
	inventory := &Inventory{APIVersion: APIVersion, Kind: InventoryKind, Bundles: []BaseBundle{}, Blobs: []HeldBlob{}}
	inventory.Bundles = slices.Compact(append(inventory.Bundles, slices.SortedFunc(slices.Values(bundles), compareBases)...))
	inventory.Blobs = append(inventory.Blobs, slices.SortedFunc(slices.Values(blobs), func(a, b HeldBlob) int { return strings.Compare(a.Digest, b.Digest) })...)
	inventory.Blobs = slices.CompactFunc(inventory.Blobs, func(a, b HeldBlob) bool { return a.Digest == b.Digest })
	return inventory
}

func compareBases(a, b BaseBundle) int {
	return strings.Compare(a.Name+" "+a.Digest, b.Name+" "+b.Digest)
}

// InventoryOf is the inventory of a site that has installed the bundle of m, and what m leaves out with it.
func InventoryOf(m *Manifest) (*Inventory, error) {
	digest, err := m.Digest()
	if err != nil {
		return nil, err
	}
	var blobs []HeldBlob
	for _, e := range m.Entries {
		if e.isBlob() {
			blobs = append(blobs, HeldBlob{e.Digest(), e.Size})
		}
	}
	return NewInventory([]BaseBundle{{m.Name, m.Version, digest}}, blobs), nil
}

// ReadInventory reads an inventory as [Inventory] in JSON.
func ReadInventory(r io.Reader) (*Inventory, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxInventoryBytes+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxInventoryBytes {
		return nil, fmt.Errorf("an inventory has at most %d bytes", maxInventoryBytes)
	}
	var inventory Inventory
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&inventory); err != nil {
		return nil, fmt.Errorf("not an inventory as `airgap inventory` writes it: %w", err)
	}
	if inventory.APIVersion != APIVersion || inventory.Kind != InventoryKind || len(inventory.Bundles) == 0 {
		return nil, fmt.Errorf("not an inventory as `airgap inventory` writes it: apiVersion %q, kind %q, %d bundles", inventory.APIVersion, inventory.Kind, len(inventory.Bundles))
	}
	return NewInventory(inventory.Bundles, inventory.Blobs), nil
}
