package sbom

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// Document is an SPDX 2.3 document: https://spdx.github.io/spdx-spec/v2.3/.
type Document struct {
	SPDXID            string         `json:"SPDXID"`
	SPDXVersion       string         `json:"spdxVersion"`
	CreationInfo      CreationInfo   `json:"creationInfo"`
	Name              string         `json:"name"`
	DataLicense       string         `json:"dataLicense"`
	DocumentNamespace string         `json:"documentNamespace"`
	DocumentDescribes []string       `json:"documentDescribes"`
	Packages          []SPDXPackage  `json:"packages"`
	Relationships     []Relationship `json:"relationships"`
}

// CreationInfo says who made a document, and when.
type CreationInfo struct {
	Created  string   `json:"created"` // RFC 3339, UTC, whole seconds
	Creators []string `json:"creators"`
}

// SPDXPackage is a package in SPDX's sense: an image, or software in one.
type SPDXPackage struct {
	SPDXID           string        `json:"SPDXID"`
	Name             string        `json:"name"`
	VersionInfo      string        `json:"versionInfo,omitempty"`
	Purpose          string        `json:"primaryPackagePurpose,omitempty"`
	DownloadLocation string        `json:"downloadLocation"`
	FilesAnalyzed    bool          `json:"filesAnalyzed"`
	SourceInfo       string        `json:"sourceInfo,omitempty"`
	Comment          string        `json:"comment,omitempty"`
	Checksums        []Checksum    `json:"checksums,omitempty"`
	ExternalRefs     []ExternalRef `json:"externalRefs,omitempty"`
}

// Checksum is a digest in hex.
type Checksum struct {
	Algorithm string `json:"algorithm"` // "SHA256"
	Value     string `json:"checksumValue"`
}

// ExternalRef names a package in another system: here by package URL.
type ExternalRef struct {
	Category string `json:"referenceCategory"`
	Type     string `json:"referenceType"`
	Locator  string `json:"referenceLocator"`
}

// Relationship is between two elements of a document.
type Relationship struct {
	From string `json:"spdxElementId"`
	Type string `json:"relationshipType"`
	To   string `json:"relatedSpdxElement"`
}

const (
	documentID     = "SPDXRef-DOCUMENT"
	unknown        = "NOASSERTION"
	nothingFound   = "no package database and no Go build information was found in it: what is in it is not known"
	packageURLType = "purl"
)

// Subject is what a document is about.
type Subject struct {
	Name, Version string // of the bundle
	IssuedAt      string // RFC 3339, UTC, whole seconds
	Tool          string // "airgap-0.1.0"
	Images        []Image
}

// NewDocument writes down which software is in images. The same subject gives the same document.
func NewDocument(s Subject) *Document {
	d := &Document{
		SPDXID: documentID, SPDXVersion: "SPDX-2.3", DataLicense: "CC0-1.0",
		Name:              s.Name + "-" + s.Version,
		CreationInfo:      CreationInfo{Created: s.IssuedAt, Creators: []string{"Tool: " + s.Tool}},
		DocumentDescribes: []string{}, Packages: []SPDXPackage{}, Relationships: []Relationship{},
	}
	images := slices.SortedFunc(slices.Values(s.Images), func(a, b Image) int {
		return cmp.Or(strings.Compare(a.Reference, b.Reference), strings.Compare(a.Platform, b.Platform))
	})
	software := map[string]SPDXPackage{} // by ID
	whole := sha256.New()
	for _, image := range images {
		element := image.element()
		fmt.Fprintf(whole, "%s %s %s\n", image.Reference, image.Platform, image.Digest)
		d.DocumentDescribes = append(d.DocumentDescribes, element.SPDXID)
		d.Packages = append(d.Packages, element)
		d.Relationships = append(d.Relationships, Relationship{documentID, "DESCRIBES", element.SPDXID})
		for _, p := range image.Packages {
			contained := p.element(image.System)
			software[contained.SPDXID] = contained
			d.Relationships = append(d.Relationships, Relationship{element.SPDXID, "CONTAINS", contained.SPDXID})
		}
	}
	contained := make([]SPDXPackage, 0, len(software))
	for _, p := range software {
		contained = append(contained, p)
	}
	slices.SortFunc(contained, func(a, b SPDXPackage) int {
		return strings.Compare(a.ExternalRefs[0].Locator, b.ExternalRefs[0].Locator)
	})
	d.Packages = append(d.Packages, contained...)
	d.DocumentNamespace = "https://spdx.org/spdxdocs/" + url.PathEscape(d.Name) + "-" + hex.EncodeToString(whole.Sum(nil)[:16])
	return d
}

// elementID makes an ID out of what an element is known by: SPDX allows letters, digits, dots and dashes.
func elementID(kind, of string) string {
	sum := sha256.Sum256([]byte(of))
	return "SPDXRef-" + kind + "-" + hex.EncodeToString(sum[:10])
}

// element is an image in the document.
func (i Image) element() SPDXPackage {
	encoded := strings.TrimPrefix(i.Digest, "sha256:")
	repository := i.Reference
	if at := strings.IndexAny(repository[strings.LastIndex(repository, "/")+1:], ":@"); at >= 0 {
		repository = repository[:strings.LastIndex(repository, "/")+1+at]
	}
	architecture := i.Platform[strings.Index(i.Platform, "/")+1:]
	element := SPDXPackage{
		SPDXID: elementID("Image", i.Reference+" "+i.Platform+" "+i.Digest), Name: i.Reference, VersionInfo: i.Digest, Purpose: "CONTAINER",
		DownloadLocation: unknown, SourceInfo: "platform " + i.Platform,
		Checksums: []Checksum{{"SHA256", encoded}},
		ExternalRefs: []ExternalRef{packageURL("oci", strings.ToLower(repository[strings.LastIndex(repository, "/")+1:]), i.Digest,
			"arch", architecture, "repository_url", repository)},
	}
	if len(i.Packages) == 0 {
		element.Comment = nothingFound
	}
	return element
}

// element is a package in the document. Of distributions, the same version of a package is another in another distribution.
func (p Package) element(system System) SPDXPackage {
	var locator ExternalRef
	element := SPDXPackage{Name: p.Name, VersionInfo: p.Version, DownloadLocation: unknown}
	switch p.Kind {
	case Go:
		locator = packageURL(string(Go), p.Name, p.Version)
	default:
		namespace := cmp.Or(system.ID, map[Kind]string{Debian: "debian", Alpine: "alpine"}[p.Kind])
		distribution := ""
		if system.Version != "" {
			distribution = namespace + "-" + system.Version
		}
		locator = packageURL(string(p.Kind), namespace+"/"+p.Name, p.Version, "arch", p.Arch, "distro", distribution, "upstream", p.Origin)
		if p.Origin != "" {
			element.SourceInfo = "built from the source package " + p.Origin
		}
	}
	element.SPDXID = elementID("Package", locator.Locator)
	element.ExternalRefs = []ExternalRef{locator}
	return element
}

// packageURL names a package: https://github.com/package-url/purl-spec. Qualifiers are pairs of name and value, sorted by name; those without a value are
// left out.
func packageURL(kind, name, version string, qualifiers ...string) ExternalRef {
	escape := func(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "+", "%20") }
	segments := strings.Split(name, "/")
	for i := range segments {
		segments[i] = escape(segments[i])
	}
	locator := "pkg:" + kind + "/" + strings.Join(segments, "/")
	if version != "" {
		locator += "@" + escape(version)
	}
	separator := "?"
	for i := 0; i+1 < len(qualifiers); i += 2 {
		if qualifiers[i+1] != "" {
			locator += separator + qualifiers[i] + "=" + escape(qualifiers[i+1])
			separator = "&"
		}
	}
	return ExternalRef{"PACKAGE-MANAGER", packageURLType, locator}
}
