package bundle

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	digest "github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Paths of the OCI image layout, and of the signature files.
const (
	layoutPath = ocispec.ImageLayoutFile
	indexPath  = ocispec.ImageIndexFile

	sigstoreSuffix = ".sigstore.json"
	detachedSuffix = ".sig"
)

// layoutContent is the one content that oci-layout can have.
var layoutContent = []byte(`{"imageLayoutVersion":"` + ocispec.ImageLayoutVersion + `"}`)

// imageNameAnnotation is where containerd's importer looks for an image's full name.
// Source: containerd core/images/annotations.go.
const imageNameAnnotation = "io.containerd.image.name"

func layoutEntry() Entry {
	return entryOf(layoutPath, layoutContent, RoleLayout)
}

func entryOf(path string, data []byte, role Role) Entry {
	return Entry{Path: path, Size: int64(len(data)), SHA256: strings.TrimPrefix(digestOf(data), digestPrefix), Role: role}
}

// signaturePaths returns the names of the two files of signer i, from 0.
func signaturePaths(i int) (sigstorePath, detachedPath string) {
	stem := ManifestPath
	if i > 0 {
		stem = fmt.Sprintf("%s.%d", ManifestPath, i)
	}
	return stem + sigstoreSuffix, stem + detachedSuffix
}

// roles in the order in which their entries stand.
var roles = []Role{RoleLayout, RoleIndex, RoleManifest, RoleConfig, RoleStatement, RoleSignature, RoleChart, RoleValues, RoleObjects, RoleFile, RoleExecutable, RoleLayer}

// rank is the role's place in the order, or -1 for a role that does not exist.
func (r Role) rank() int { return slices.Index(roles, r) }

// isMetadata reports whether blobs of the role are held in memory by those who use them.
func isMetadata(r Role) bool {
	return r == RoleIndex || r == RoleManifest || r == RoleConfig || r == RoleStatement
}

// ordered is how many of a bundle's entries, from the first, are metadata: they come in this order from every medium.
func ordered(entries []Entry) int {
	first := slices.IndexFunc(entries, func(e Entry) bool { return !isMetadata(e.Role) && e.Role != RoleLayout })
	if first < 0 {
		return len(entries)
	}
	return first
}

func descriptorOf(mediaType string, b Blob) ocispec.Descriptor {
	return ocispec.Descriptor{MediaType: mediaType, Digest: digest.Digest(b.Digest), Size: b.Size}
}

// artifact is an OCI manifest and the one layer of it that is the thing itself.
type artifact struct {
	manifest, content string // digests
	kind              string // what index.json calls it: its artifactType, or the type of its config if it has none (image-spec, descriptor.md)
}

// artifacts returns all that is in the bundle and is not an image, sorted by digest and each once.
func (m *Manifest) artifacts() []artifact {
	var found []artifact
	for _, c := range m.Charts {
		found = append(found, artifact{c.Artifact, c.Digest, ChartConfigMediaType})
	}
	for _, o := range m.Manifests {
		found = append(found, artifact{o.Artifact, o.Digest, ObjectsArtifactType})
	}
	for _, f := range m.Files {
		found = append(found, artifact{f.Artifact, f.Digest, FileArtifactType})
	}
	for _, d := range m.Distributions {
		found = append(found, artifact{d.Artifact, d.Digest, DistributionArtifactType})
	}
	for _, a := range m.Attestations {
		found = append(found, artifact{a.Artifact, a.Digest, StatementArtifactType})
	}
	slices.SortFunc(found, func(a, b artifact) int {
		return cmp.Or(strings.Compare(a.manifest, b.manifest), strings.Compare(a.content, b.content), strings.Compare(a.kind, b.kind))
	})
	return slices.Compact(found)
}

// indexJSON makes index.json: a descriptor per image reference, then one per artifact, then one per referrer. All of it follows from the images,
// the artifacts, the referrers and the entries of m, so that what it says is what was signed, twice.
//
// An image carries its full reference twice: containerd names it by one annotation, and skopeo finds it by the
// other, as oci-archive:site.airgap:<reference>. An artifact or a referrer carries no name, so that containerd's
// importer, which follows every descriptor, makes no image of it; its config and layer types
// are not an image's, so that nothing is unpacked either.
func indexJSON(m *Manifest) []byte {
	index := ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex, Manifests: []ocispec.Descriptor{}}
	for _, image := range m.Images {
		index.Manifests = append(index.Manifests, ocispec.Descriptor{
			MediaType: image.MediaType, Digest: digest.Digest(image.Digest), Size: image.Size,
			Annotations: map[string]string{ocispec.AnnotationRefName: image.Reference, imageNameAnnotation: image.Reference},
		})
	}
	sizes := make(map[string]int64, len(m.Entries)) // of blobs, by digest
	for _, e := range m.Entries {
		sizes[e.Digest()] = e.Size
	}
	for _, a := range m.artifacts() {
		index.Manifests = append(index.Manifests, ocispec.Descriptor{
			MediaType: ocispec.MediaTypeImageManifest, Digest: digest.Digest(a.manifest), Size: sizes[a.manifest], ArtifactType: a.kind,
		})
	}
	listed := map[string]bool{}
	for _, r := range m.Referrers {
		if listed[r.Digest] { // about an image that has several names
			continue
		}
		listed[r.Digest] = true
		index.Manifests = append(index.Manifests, ocispec.Descriptor{MediaType: r.MediaType, Digest: digest.Digest(r.Digest), Size: r.Size})
	}
	data, err := json.Marshal(index)
	if err != nil {
		panic(err) // strings and numbers alone
	}
	return data
}

// checkIndex refuses a manifest that lists another index.json than the one which follows from it: tools that know nothing of airgap go by
// that file, and would find in the bundle what no reader of it has.
func checkIndex(m *Manifest) error {
	listed, want := m.Entries[1], entryOf(indexPath, indexJSON(m), RoleLayout)
	if listed != want {
		return refuse(RuleIndex, indexPath, nowhere, "", "%s: the manifest lists %d bytes with SHA-256 %.12s…, its images and artifacts make %d with %.12s…",
			indexPath, listed.Size, listed.SHA256, want.Size, want.SHA256)
	}
	return nil
}
