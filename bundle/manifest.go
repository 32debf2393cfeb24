package bundle

const (
	// APIVersion is the only format version this package reads and writes.
	APIVersion = "airgap/v1"
	// ManifestKind is the kind field of airgap.json.
	ManifestKind = "BundleManifest"

	// ManifestPath is the path of the bundle manifest: the first entry of a bundle.
	ManifestPath = "airgap.json"

	// MaxManifestBytes bounds airgap.json: it is held in memory before it is trusted.
	MaxManifestBytes = 32 << 20
	// MaxSignatureBytes bounds each signature file, for the same reason.
	MaxSignatureBytes = 64 << 10
	// MaxSignatures is how many signers one bundle can have.
	MaxSignatures = 16
)

// Role says what an entry is for, so that a reader can treat it without looking inside.
type Role string

// The roles, in the order in which their entries stand in a bundle.
const (
	RoleLayout     Role = "layout"     // oci-layout and index.json
	RoleIndex      Role = "index"      // an OCI image index
	RoleManifest   Role = "manifest"   // an OCI image manifest, of an image or an artifact
	RoleConfig     Role = "config"     // an image's or artifact's config
	RoleStatement  Role = "statement"  // an in-toto statement in its signed envelope
	RoleSignature  Role = "signature"  // what a referrer says: a signature of an image, or a signed statement about it
	RoleChart      Role = "chart"      // a packaged Helm chart (.tgz)
	RoleValues     Role = "values"     // a chart's values (YAML)
	RoleObjects    Role = "objects"    // a file of Kubernetes objects (YAML)
	RoleFile       Role = "file"       // a file for the host
	RoleExecutable Role = "executable" // a distribution: the self-extracting airgap executable
	RoleLayer      Role = "layer"      // an image layer, in import order
)

// Manifest is the bundle manifest, airgap.json. See the package comment. Slices are
// never nil when encoded.
type Manifest struct {
	APIVersion    string         `json:"apiVersion"`              // always [APIVersion]
	Kind          string         `json:"kind"`                    // always [ManifestKind]
	Name          string         `json:"name"`                    // RFC 1123 label; a machine keeps one line of versions per name
	Version       string         `json:"version"`                 // semantic version
	VersionFloor  string         `json:"versionFloor,omitempty"`  // lowest version that a machine may keep running beside or return to
	Platforms     []string       `json:"platforms"`               // "os/arch[/variant]", sorted
	IssuedAt      string         `json:"issuedAt"`                // RFC 3339, UTC, whole seconds
	MinimumAirgap string         `json:"minimumAirgap,omitempty"` // lowest airgap version that can install this
	Images        []Image        `json:"images"`                  // sorted by reference
	Referrers     []Referrer     `json:"referrers,omitempty"`     // sorted by reference
	Charts        []Chart        `json:"charts"`                  // in install order
	Manifests     []Objects      `json:"manifests"`               // in apply order
	Files         []File         `json:"files"`                   // sorted by target
	Distributions []Distribution `json:"distributions"`           // at most one per platform
	Attestations  []Attestation  `json:"attestations,omitempty"`  // sorted by predicate type, at most one of each
	Base          []BaseBundle   `json:"base,omitempty"`          // of a delta: the bundles that have what it leaves out, sorted by name
	Entries       []Entry        `json:"entries"`                 // every entry after the signatures, in order
}

// Image is one image reference and what it resolves to.
type Image struct {
	Reference string          `json:"reference"`        // fully qualified: host/repository:tag, or host/repository@sha256:…
	Digest    string          `json:"digest"`           // "sha256:…" of the index or manifest
	MediaType string          `json:"mediaType"`        // of that blob
	Size      int64           `json:"size"`             // of that blob, bytes
	Platforms []ImagePlatform `json:"platforms"`        // those carried, sorted
	System    bool            `json:"system,omitempty"` // part of the distribution: pinned even when its bundle is removed
}

// ImagePlatform is one platform of an image.
type ImagePlatform struct {
	Platform string `json:"platform"` // "linux/amd64"
	Digest   string `json:"digest"`   // of the image manifest; equals Image.Digest for a single-platform image
}

// Referrer is what somebody says about an image and keeps beside it in its registry: an OCI manifest whose layers are
// signatures, or signed statements. The bundle vouches for its bytes alone.
type Referrer struct {
	// Reference is under what a registry has it: host/repository:sha256-<hex>.sig or .att, as cosign calls what is about
	// sha256:<hex>, or host/repository@sha256:<its own digest> of a manifest that names its subject (OCI 1.1).
	Reference string `json:"reference"`
	Subject   string `json:"subject"`   // digest of an [Image] in the same repository, or of one of its platforms
	Digest    string `json:"digest"`    // of the OCI manifest
	MediaType string `json:"mediaType"` // of that blob
	Size      int64  `json:"size"`      // of that blob, bytes
}

// Chart is a Helm chart and the release it becomes.
type Chart struct {
	Release   string `json:"release"`          // release name, and the HelmChart's
	Namespace string `json:"namespace"`        // target namespace
	Chart     string `json:"chart"`            // the chart's own name
	Version   string `json:"version"`          // the chart's own version
	Artifact  string `json:"artifact"`         // digest of the OCI manifest of the chart, as `helm pull oci://` expects it
	Digest    string `json:"digest"`           // of the .tgz
	Values    string `json:"values,omitempty"` // digest of the values file (YAML); none if empty
}

// Objects is one file of Kubernetes objects.
type Objects struct {
	Name     string `json:"name"`     // base name without extension; unique in the bundle
	Artifact string `json:"artifact"` // digest of the OCI manifest
	Digest   string `json:"digest"`   // of the YAML
}

// File is a file to place on the host.
type File struct {
	Target   string `json:"target"` // absolute, clean
	Mode     string `json:"mode"`   // four octal digits: "0644"
	Artifact string `json:"artifact"`
	Digest   string `json:"digest"`
}

// Distribution is the airgap executable for one platform.
type Distribution struct {
	Platform   string `json:"platform"`
	Version    string `json:"version"`    // airgap's own
	Kubernetes string `json:"kubernetes"` // "v1.37.1"
	Artifact   string `json:"artifact"`
	Digest     string `json:"digest"` // of the self-extracting executable
	Size       int64  `json:"size"`   // bytes
}

// Attestation is a signed in-toto statement about what the bundle carries.
type Attestation struct {
	PredicateType string `json:"predicateType"` // URI: [ProvenanceType], [SBOMType]
	Artifact      string `json:"artifact"`      // digest of the OCI manifest
	Digest        string `json:"digest"`        // of the DSSE envelope
}

// Entry is one file of the bundle.
type Entry struct {
	Path   string `json:"path"`   // as in the tar: slash-separated, clean, relative
	Size   int64  `json:"size"`   // bytes
	SHA256 string `json:"sha256"` // lower-case hex, 64 digits
	Role   Role   `json:"role"`
	// Omitted says that the entry is wanted and not in the bundle, a delta: the machine has it from the bundles of [Manifest.Base].
	Omitted bool `json:"omitted,omitempty"`
}
