package bundle

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"airgap/signing"
)

// Content is what a bundle is made of.
type Content struct {
	// Manifest says what the contents are. Create fills in APIVersion, Kind and Entries, and sorts
	// what has an order of its own.
	Manifest Manifest
	// Blobs are all blobs that Manifest names, directly or through OCI manifests. Layers stand in import order: images
	// sorted by reference, base layer first. A digest that stands there again is ignored, so that sources need not know of each other.
	Blobs []Blob
	// Since makes the bundle a delta: what a site has of the content is left out. May be nil.
	Since *Inventory
}

// plan is a bundle whose every byte is determined, before most of them have been fetched.
type plan struct {
	manifest *Manifest
	mtime    int64 // of every tar header, seconds since 1970
	items    []item
}

// item is one file of the bundle, in order.
type item struct {
	name   string
	size   int64
	sha256 string // hex
	role   Role   // of an entry; else empty
	open   func(context.Context) (io.ReadCloser, error)
}

// entry is the item as the manifest has it.
func (i item) entry() Entry { return Entry{Path: i.name, Size: i.size, SHA256: i.sha256, Role: i.role} }

func memoryItem(name string, data []byte) item {
	return item{name: name, size: int64(len(data)), sha256: strings.TrimPrefix(digestOf(data), digestPrefix), open: func(context.Context) (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(data)), nil
	}}
}

// newPlan orders the blobs, makes the manifest, checks that the OCI graph is closed, and signs.
func newPlan(ctx context.Context, c Content, signers []*signing.PrivateKey) (*plan, error) {
	if len(signers) > MaxSignatures {
		return nil, fmt.Errorf("%d signers, the limit is %d", len(signers), MaxSignatures)
	}
	blobs, err := mergeBlobs(c.Blobs)
	if err != nil {
		return nil, err
	}
	metadata, err := readMetadata(ctx, blobs)
	if err != nil {
		return nil, err
	}
	m := sorted(c.Manifest)
	m.Entries = []Entry{layoutEntry(), {}}
	for _, b := range blobs {
		m.Entries = append(m.Entries, entryOfBlob(b))
	}
	index := indexJSON(&m)
	m.Entries[1] = entryOf(indexPath, index, RoleLayout)
	if c.Since != nil {
		if err := leaveOut(&m, metadata, c.Since); err != nil {
			return nil, err
		}
	}
	items := []item{memoryItem(layoutPath, layoutContent), memoryItem(indexPath, index)}
	for i, e := range m.Entries[len(items):] {
		if !e.Omitted {
			items = append(items, item{name: e.Path, size: e.Size, sha256: e.SHA256, role: e.Role, open: blobs[i].Open})
		}
	}
	if err := m.Validate(); err != nil {
		return nil, err
	}
	if err := CheckGraph(&m, metadata); err != nil {
		return nil, err
	}
	issued, err := parseIssuedAt(m.IssuedAt)
	if err != nil {
		return nil, err
	}
	front, err := signedFront(&m, signers)
	if err != nil {
		return nil, err
	}
	return &plan{manifest: &m, mtime: issued.Unix(), items: append(front, items...)}, nil
}

// layersBegin is where in the tar the header of the first layer stands; where the tar ends, if there is none.
func (p *plan) layersBegin() int64 {
	offsets, size := p.tarOffsets()
	first := slices.IndexFunc(p.items, func(i item) bool { return i.role == RoleLayer })
	if first < 0 {
		return size
	}
	return offsets[first] - tarBlockBytes
}

// signedFront returns airgap.json and its signatures.
func signedFront(m *Manifest, signers []*signing.PrivateKey) ([]item, error) {
	encoded, err := m.Encode()
	if err != nil {
		return nil, err
	}
	front := []item{memoryItem(ManifestPath, encoded)}
	for i, signer := range signers {
		sig, err := signer.Sign(encoded)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", ManifestPath, err)
		}
		sigstorePath, detachedPath := signaturePaths(i)
		front = append(front, memoryItem(sigstorePath, sig.Sigstore), memoryItem(detachedPath, sig.Detached))
	}
	return front, nil
}

// sorted returns m with the lists that have an order of their own in it.
func sorted(m Manifest) Manifest {
	m.APIVersion, m.Kind = APIVersion, ManifestKind
	m.Platforms = slices.Sorted(slices.Values(m.Platforms))
	m.Images = slices.SortedFunc(slices.Values(m.Images), func(a, b Image) int { return strings.Compare(a.Reference, b.Reference) })
	for i := range m.Images {
		m.Images[i].Platforms = slices.SortedFunc(slices.Values(m.Images[i].Platforms),
			func(a, b ImagePlatform) int { return strings.Compare(a.Platform, b.Platform) })
	}
	m.Referrers = slices.SortedFunc(slices.Values(m.Referrers), func(a, b Referrer) int { return strings.Compare(a.Reference, b.Reference) })
	m.Files = slices.SortedFunc(slices.Values(m.Files), func(a, b File) int { return strings.Compare(a.Target, b.Target) })
	m.Attestations = slices.SortedFunc(slices.Values(m.Attestations), func(a, b Attestation) int { return strings.Compare(a.PredicateType, b.PredicateType) })
	m.Distributions = slices.SortedFunc(slices.Values(m.Distributions), func(a, b Distribution) int { return strings.Compare(a.Platform, b.Platform) })
	return m
}

// mergeBlobs returns each blob once, under the first of its roles, in the order of the bundle.
func mergeBlobs(blobs []Blob) ([]Blob, error) {
	merged := make([]Blob, 0, len(blobs))
	at := make(map[string]int, len(blobs)) // index in merged, by digest
	for _, b := range blobs {
		if !isDigest(b.Digest) || b.Role.rank() <= RoleLayout.rank() || b.Size < 0 || b.Open == nil {
			return nil, fmt.Errorf("blob %q of %d bytes with role %q: want a SHA-256 digest, a role of a blob, and a way to open it", b.Digest, b.Size, b.Role)
		}
		i, again := at[b.Digest]
		if !again {
			at[b.Digest] = len(merged)
			merged = append(merged, b)
			continue
		}
		if merged[i].Size != b.Size {
			return nil, fmt.Errorf("blob %s has %d bytes in one place and %d in another", b.Digest, merged[i].Size, b.Size)
		}
		if b.Role.rank() < merged[i].Role.rank() {
			merged[i].Role = b.Role
		}
	}
	slices.SortStableFunc(merged, func(a, b Blob) int { return compareEntries(entryOfBlob(a), entryOfBlob(b)) })
	return merged, nil
}

func entryOfBlob(b Blob) Entry {
	encoded := strings.TrimPrefix(b.Digest, digestPrefix)
	return Entry{Path: blobFolder + encoded, Size: b.Size, SHA256: encoded, Role: b.Role}
}

// readMetadata reads the indexes and manifests among blobs, checks them, and lets the blobs open from memory from then on.
func readMetadata(ctx context.Context, blobs []Blob) (map[string][]byte, error) {
	metadata := make(map[string][]byte)
	for i, b := range blobs {
		if b.Role != RoleIndex && b.Role != RoleManifest {
			continue
		}
		if b.Size > MaxMetadataBytes {
			return nil, fmt.Errorf("%w: %s %s has %d bytes, the limit is %d", ErrFormat, b.Role, b.Digest, b.Size, MaxMetadataBytes)
		}
		data := make([]byte, 0, b.Size)
		err := copyBlob(ctx, entryOfBlob(b), b.Open, make([]byte, b.Size+1), func(p []byte) error {
			data = append(data, p...)
			return nil
		})
		if err != nil {
			return nil, err
		}
		metadata[b.Digest] = data
		blobs[i] = NewBlob(b.Role, data)
	}
	return metadata, nil
}
