package bundle

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// maxGraphDepth bounds index.json → index → index → manifest.
const maxGraphDepth = 4

// CheckGraph confirms what Validate cannot see: that the OCI graph of the bundle is closed over its entries and
// leaves none over. Starting from each image, artifact and referrer it follows indexes and manifests and requires that
//   - each blob that is reached has the size that its descriptor declares;
//   - every config and layer of a manifest that is carried is carried;
//   - each platform listed for an image is reached from that image, and is a manifest;
//   - an artifact is of the type of what it is listed as, and its one layer is the chart, file or whatever else it is listed for;
//   - a referrer is a manifest, and about the image that it is listed for;
//   - every blob of the bundle is reached.
//
// metadata holds the bytes of every blob whose role is [RoleIndex] or [RoleManifest], by digest, already checked against it.
// A child of an index may be absent: the platforms that were left out. So may the metadata of a delta's omitted entries: then what
// is below them is taken to be as its maker signed it. The error is a [Refusal] by [RuleGraph].
func CheckGraph(m *Manifest, metadata map[string][]byte) error {
	g := &graph{metadata: metadata, entries: make(map[string]Entry, len(m.Entries)), reached: make(map[string]bool, len(m.Entries))}
	for _, e := range m.Entries {
		if e.isBlob() {
			g.entries[e.Digest()] = e
		}
	}
	for _, image := range m.Images {
		if err := g.image(image); err != nil {
			return refuse(RuleGraph, pathOf(image.Digest), nowhere, "", "image %s: %v", image.Reference, err)
		}
	}
	for _, a := range m.artifacts() {
		if err := g.artifact(a); err != nil {
			return refuse(RuleGraph, pathOf(a.manifest), nowhere, "", "artifact %s: %v", a.manifest, err)
		}
	}
	for _, r := range m.Referrers {
		if err := g.referrer(r); err != nil {
			return refuse(RuleGraph, pathOf(r.Digest), nowhere, "", "referrer %s: %v", r.Reference, err)
		}
	}
	for _, c := range m.Charts {
		g.reached[c.Values] = true
	}
	for _, e := range m.Entries {
		if e.isBlob() && !g.reached[e.Digest()] && !(e.Omitted && g.partial) {
			return refuse(RuleGraph, e.Path, nowhere, "", "%s belongs to nothing in the bundle", e.Path)
		}
	}
	return nil
}

// graph is the state of one CheckGraph.
type graph struct {
	metadata  map[string][]byte
	entries   map[string]Entry
	reached   map[string]bool // blobs reached from anywhere
	manifests map[string]bool // nodes visited from the present root; true for manifests, false for indexes
	partial   bool            // some index or manifest is omitted and not among the metadata
}

func (g *graph) image(image Image) error {
	g.manifests = make(map[string]bool)
	if err := g.visit(image.Digest, image.MediaType, 1); err != nil {
		return err
	}
	for _, p := range image.Platforms {
		if !g.manifests[p.Digest] && !(g.partial && g.entries[p.Digest].Omitted) {
			return fmt.Errorf("its manifest for %s, %s, is not reached from %s", p.Platform, p.Digest, image.Digest)
		}
	}
	return nil
}

func (g *graph) artifact(a artifact) error {
	g.manifests = make(map[string]bool)
	if err := g.visit(a.manifest, ocispec.MediaTypeImageManifest, 1); err != nil {
		return err
	}
	if _, here := g.metadata[a.manifest]; !here {
		return nil // omitted
	}
	var n node
	if err := json.Unmarshal(g.metadata[a.manifest], &n); err != nil {
		return err
	}
	if len(n.Layers) != 1 || n.Layers[0].Digest.String() != a.content {
		return fmt.Errorf("its one layer is not %s", a.content)
	}
	if kind := cmp.Or(n.ArtifactType, n.Config.MediaType); kind != a.kind {
		return fmt.Errorf("it is %q, listed as %q", kind, a.kind)
	}
	return nil
}

// referrer follows what somebody says about an image. What it names as its subject is what the manifest says that it is about.
func (g *graph) referrer(r Referrer) error {
	g.manifests = make(map[string]bool)
	if err := g.visit(r.Digest, r.MediaType, 1); err != nil {
		return err
	}
	if !g.manifests[r.Digest] {
		return fmt.Errorf("%s is an index, and says nothing by itself", r.Digest)
	}
	data, here := g.metadata[r.Digest]
	if !here {
		return nil // omitted
	}
	var n node
	if err := json.Unmarshal(data, &n); err != nil {
		return err
	}
	if _, byDigest := cutDigest(r.Reference); byDigest && (n.Subject == nil || n.Subject.Digest.String() != r.Subject) {
		return fmt.Errorf("it is not about %s", r.Subject)
	}
	return nil
}

// node is an OCI index or manifest, or Docker's equivalent: the fields that make the graph.
type node struct {
	ArtifactType string               `json:"artifactType"`
	Manifests    []ocispec.Descriptor `json:"manifests"`
	Config       *ocispec.Descriptor  `json:"config"`
	Layers       []ocispec.Descriptor `json:"layers"`
	Subject      *ocispec.Descriptor  `json:"subject"`
}

// references are the descriptors of all that a node names.
func (n node) references() []ocispec.Descriptor {
	if n.Config == nil {
		return n.Manifests
	}
	return append(slices.Clone(n.Layers), *n.Config)
}

func (g *graph) visit(digest, mediaType string, depth int) error {
	if _, seen := g.manifests[digest]; seen {
		return nil
	}
	if depth > maxGraphDepth {
		return fmt.Errorf("more than %d levels of indexes, at %s", maxGraphDepth, digest)
	}
	data, ok := g.metadata[digest]
	if e := g.entries[digest]; !ok && e.Omitted {
		g.reached[digest], g.manifests[digest], g.partial = true, e.Role == RoleManifest, true
		return nil
	}
	if !ok {
		return fmt.Errorf("%s, %s, is not carried", digest, mediaType)
	}
	var n node
	if err := json.Unmarshal(data, &n); err != nil {
		return fmt.Errorf("%s: %w", digest, err)
	}
	isManifest := n.Config != nil
	if isManifest == (len(n.Manifests) > 0) || isIndexType(mediaType) == isManifest {
		return fmt.Errorf("%s is not what its media type %s says", digest, mediaType)
	}
	g.reached[digest] = true
	g.manifests[digest] = isManifest
	if isManifest {
		for _, d := range n.references() {
			if err := g.leaf(d); err != nil {
				return fmt.Errorf("%s: %w", digest, err)
			}
		}
		return nil
	}
	for _, d := range n.references() {
		if _, carried := g.entries[d.Digest.String()]; !carried {
			continue // a platform left out
		}
		if err := g.declared(d); err != nil {
			return fmt.Errorf("%s: %w", digest, err)
		}
		if err := g.visit(d.Digest.String(), d.MediaType, depth+1); err != nil {
			return err
		}
	}
	return nil
}

func (g *graph) leaf(d ocispec.Descriptor) error {
	g.reached[d.Digest.String()] = true
	return g.declared(d)
}

func (g *graph) declared(d ocispec.Descriptor) error {
	e, ok := g.entries[d.Digest.String()]
	if !ok {
		return fmt.Errorf("%s, %s, is not carried", d.Digest, d.MediaType)
	}
	if e.Size != d.Size {
		return fmt.Errorf("%s is declared with %d bytes and carried with %d", d.Digest, d.Size, e.Size)
	}
	return nil
}

// isIndexType reports whether mediaType is that of an OCI index or a Docker manifest list.
func isIndexType(mediaType string) bool {
	return mediaType == ocispec.MediaTypeImageIndex || mediaType == "application/vnd.docker.distribution.manifest.list.v2+json"
}
