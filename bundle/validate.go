package bundle

import (
	"cmp"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/Masterminds/semver/v3"
	"github.com/distribution/reference"
)

const (
	// MaxMetadataBytes bounds index.json and each OCI index, manifest and config: they are held in memory.
	MaxMetadataBytes = 16 << 20
	// MaxEntryBytes bounds every other entry, so that no sum of sizes overflows.
	MaxEntryBytes = 1 << 42
	// maxProblems is how many problems one error lists.
	maxProblems = 20
	// latestIssue is the first time that no longer fits a ustar header: 8^11 s, in the year 2242.
	latestIssue = 1 << 33
)

// Shapes of names. All are safe as file names and in a terminal.
var (
	labelShape     = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`)                                // RFC 1123 label
	releaseShape   = regexp.MustCompile(`^[a-z0-9]([-a-z0-9.]{0,51}[a-z0-9])?$`)                               // Helm's limit, 53
	fileNameShape  = regexp.MustCompile(`^[A-Za-z0-9]([-A-Za-z0-9._]{0,198}[A-Za-z0-9])?$`)                    // Objects.Name, Chart.Chart
	platformShape  = regexp.MustCompile(`^[a-z0-9]{1,32}/[a-z0-9_]{1,32}(/[a-z0-9.]{1,32})?$`)                 // os/arch[/variant]
	typeURIShape   = regexp.MustCompile(`^[A-Za-z][-A-Za-z0-9+.]*:[!-~]{1,200}$`)                              // RFC 3986, as far as it matters
	modeShape      = regexp.MustCompile(`^0[0-7]{3}$`)                                                         // no setuid, setgid or sticky
	mediaTypeShape = regexp.MustCompile(`^[a-z0-9][-a-z0-9!#$&^_.+]{0,126}/[a-z0-9][-a-z0-9!#$&^_.+]{0,126}$`) // RFC 6838
)

// Validate checks everything about m that can be checked without the blobs: the shape of each
// name, the order and uniqueness of each list, and that every digest that is named has an entry of
// a fitting role and size. The error is a [Refusal] by [RuleManifest] which lists every problem found, up to 20.
func (m *Manifest) Validate() error {
	v := &validator{entries: make(map[string]Entry, len(m.Entries))}
	v.identity(m)
	v.listed(m.Entries)
	v.images(m)
	v.referrers(m)
	v.charts(m.Charts)
	v.objects(m.Manifests)
	v.files(m.Files)
	v.distributions(m)
	v.attestations(m.Attestations)
	v.base(m)
	if len(v.problems) == 0 {
		return nil
	}
	text := strings.Join(v.problems[:min(len(v.problems), maxProblems)], "; ")
	if more := len(v.problems) - maxProblems; more > 0 {
		text += fmt.Sprintf("; and %d more", more)
	}
	return refuse(RuleManifest, ManifestPath, nowhere, "", "%s: %s", ManifestPath, text)
}

// validator collects problems.
type validator struct {
	entries  map[string]Entry // blobs by digest
	problems []string
}

func (v *validator) problem(format string, args ...any) {
	v.problems = append(v.problems, fmt.Sprintf(format, args...))
}

// require notes a problem unless ok.
func (v *validator) require(ok bool, format string, args ...any) {
	if !ok {
		v.problem(format, args...)
	}
}

func (v *validator) identity(m *Manifest) {
	v.require(m.APIVersion == APIVersion && m.Kind == ManifestKind, "apiVersion %q, kind %q: want %q, %q", m.APIVersion, m.Kind, APIVersion, ManifestKind)
	v.require(labelShape.MatchString(m.Name), "name %q: want lower-case letters, digits and hyphens, at most 63", m.Name)
	version := v.version("version", m.Version)
	if floor := v.optionalVersion("versionFloor", m.VersionFloor); floor != nil && version != nil {
		v.require(!floor.GreaterThan(version), "versionFloor %s is above version %s", m.VersionFloor, m.Version)
	}
	v.optionalVersion("minimumAirgap", m.MinimumAirgap)
	v.platforms("platforms", m.Platforms)
	if _, err := parseIssuedAt(m.IssuedAt); err != nil {
		v.problem("%v", err)
	}
}

// parseIssuedAt reads Manifest.IssuedAt.
func parseIssuedAt(s string) (time.Time, error) {
	t, err := time.Parse(time.RFC3339, s)
	if err != nil || t.UTC().Truncate(time.Second).Format(time.RFC3339) != s || t.Unix() < 0 || t.Unix() >= latestIssue {
		return time.Time{}, fmt.Errorf("issuedAt %q: want RFC 3339 in UTC and whole seconds, from 1970 to 2242", s)
	}
	return t.UTC(), nil
}

func (v *validator) version(field, s string) *semver.Version {
	parsed, err := semver.StrictNewVersion(s)
	if err != nil || len(s) > 128 {
		v.problem("%s %.130q: want a semantic version such as 1.4.0", field, s)
		return nil
	}
	return parsed
}

func (v *validator) optionalVersion(field, s string) *semver.Version {
	if s == "" {
		return nil
	}
	return v.version(field, s)
}

func (v *validator) platforms(where string, platforms []string) {
	v.require(len(platforms) > 0, "%s: at least one is needed", where)
	for i, p := range platforms {
		v.require(platformShape.MatchString(p), "%s: %q: want os/architecture", where, p)
		v.require(i == 0 || platforms[i-1] < p, "%s: not sorted, or twice: %q", where, p)
	}
}

// listed checks the entries by themselves and indexes the blobs.
func (v *validator) listed(entries []Entry) {
	if len(entries) < 2 || entries[0].Path != layoutPath || entries[1].Path != indexPath {
		v.problem("entries: the first are not %s and %s", layoutPath, indexPath)
		return
	}
	v.require(entries[0] == layoutEntry(), "entries: %s is not that of OCI image layout 1.0.0", layoutPath)
	v.require(entries[1].Role == RoleLayout && isHex(entries[1].SHA256) && !entries[1].Omitted, "entries: %s: want role %q, a digest, and that it is carried", indexPath, RoleLayout)
	v.size(entries[1], MaxMetadataBytes)
	for i, e := range entries[2:] {
		if !isHex(e.SHA256) || !e.isBlob() {
			v.problem("entries: %.200q is not a blob under the name of its digest %.70q", e.Path, e.SHA256)
			continue
		}
		if _, twice := v.entries[e.Digest()]; twice {
			v.problem("entries: %s is there twice", e.Path)
		}
		v.entries[e.Digest()] = e
		switch rank := e.Role.rank(); {
		case rank <= RoleLayout.rank():
			v.problem("entries: %s has the role %.40q", e.Path, e.Role)
		case e.Role == RoleStatement && e.Omitted:
			v.problem("entries: %s is omitted: statements are about this very bundle", e.Path)
		case isMetadata(e.Role):
			v.size(e, MaxMetadataBytes)
		default:
			v.size(e, MaxEntryBytes)
		}
		if before := entries[i+1]; i > 0 {
			v.require(compareEntries(before, e) <= 0, "entries: %s is out of order", e.Path)
		}
	}
}

func (v *validator) size(e Entry, limit int64) {
	v.require(e.Size >= 0 && e.Size <= limit, "entries: %s has %d bytes, want 0 to %d", e.Path, e.Size, limit)
}

// compareEntries orders blobs: by role, then by digest, but layers in import order, which
// only their source knows.
func compareEntries(a, b Entry) int {
	if byRole := cmp.Compare(a.Role.rank(), b.Role.rank()); byRole != 0 || a.Role == RoleLayer {
		return byRole
	}
	return strings.Compare(a.SHA256, b.SHA256)
}

// named checks that a digest that the manifest names is an entry which comes as role, or earlier when it has other
// uses too.
func (v *validator) named(where, what, digest string, role Role) (Entry, bool) {
	if !isDigest(digest) {
		v.problem("%s: %s %.80q is not a SHA-256 digest", where, what, digest)
		return Entry{}, false
	}
	e, ok := v.entries[digest]
	v.require(ok, "%s: %s %s is not among the entries", where, what, digest)
	v.require(!ok || e.Role.rank() <= role.rank(), "%s: %s %s has the role %q, want %q", where, what, digest, e.Role, role)
	return e, ok
}

func (v *validator) images(m *Manifest) {
	for i, image := range m.Images {
		where := fmt.Sprintf("image %.300q", image.Reference)
		v.require(isReference(image.Reference), "%s: want a full reference, host/repository:tag or host/repository@sha256:…", where)
		v.require(i == 0 || m.Images[i-1].Reference < image.Reference, "%s: not sorted by reference, or twice", where)
		v.require(mediaTypeShape.MatchString(image.MediaType), "%s: media type %.130q", where, image.MediaType)
		if e, ok := v.named(where, "digest", image.Digest, RoleManifest); ok {
			v.require(e.Size == image.Size, "%s: size %d, its entry has %d", where, image.Size, e.Size)
		}
		platforms := make([]string, 0, len(image.Platforms))
		for _, p := range image.Platforms {
			platforms = append(platforms, p.Platform)
			v.require(slices.Contains(m.Platforms, p.Platform), "%s: platform %.100q is not one of the bundle's", where, p.Platform)
			v.named(where, p.Platform, p.Digest, RoleManifest)
		}
		v.platforms(where, platforms)
		if _, pinned, ok := strings.Cut(image.Reference, "@"); ok {
			v.require(pinned == image.Digest, "%s: resolves to %s", where, image.Digest)
		}
	}
}

// isReference reports whether s is fully qualified and normal, with a tag or a digest but not both.
func isReference(s string) bool {
	named, err := reference.ParseNormalizedNamed(s)
	if err != nil || named.String() != s {
		return false
	}
	_, tagged := named.(reference.Tagged)
	_, digested := named.(reference.Digested)
	return tagged != digested
}

func (v *validator) charts(charts []Chart) {
	seen := make(map[string]bool)
	for _, c := range charts {
		where := fmt.Sprintf("chart release %.60q", c.Release)
		v.require(releaseShape.MatchString(c.Release), "%s: want a DNS name of at most 53 characters", where)
		v.require(labelShape.MatchString(c.Namespace), "%s: namespace %.70q", where, c.Namespace)
		v.require(fileNameShape.MatchString(c.Chart), "%s: chart %.210q", where, c.Chart)
		v.require(!seen[c.Release], "%s: there twice", where)
		seen[c.Release] = true
		if _, err := semver.NewVersion(c.Version); err != nil {
			v.problem("%s: chart version %.130q", where, c.Version)
		}
		v.named(where, "artifact", c.Artifact, RoleManifest)
		v.named(where, "chart", c.Digest, RoleChart)
		if c.Values != "" {
			v.named(where, "values", c.Values, RoleValues)
		}
	}
}

func (v *validator) objects(objects []Objects) {
	seen := make(map[string]bool)
	for _, o := range objects {
		where := fmt.Sprintf("manifest %.210q", o.Name)
		v.require(fileNameShape.MatchString(o.Name), "%s: want a file name without folder and extension", where)
		folded := strings.ToLower(o.Name)
		v.require(!seen[folded], "%s: there twice, or differs only in case", where)
		seen[folded] = true
		v.named(where, "artifact", o.Artifact, RoleManifest)
		v.named(where, "file", o.Digest, RoleObjects)
	}
}

func (v *validator) files(files []File) {
	targets := make(map[string]bool, len(files))
	for _, f := range files {
		targets[f.Target] = true
	}
	for i, f := range files {
		where := fmt.Sprintf("file %.300q", f.Target)
		v.require(isTarget(f.Target), "%s: want an absolute, clean path", where)
		v.require(i == 0 || files[i-1].Target < f.Target, "%s: not sorted by target, or twice", where)
		v.require(modeShape.MatchString(f.Mode), "%s: mode %.10q, want four octal digits such as 0644", where, f.Mode)
		for folder := path.Dir(f.Target); len(folder) > 1; folder = path.Dir(folder) {
			v.require(!targets[folder], "%s: %s is a file too", where, folder)
		}
		v.named(where, "artifact", f.Artifact, RoleManifest)
		v.named(where, "contents", f.Digest, RoleFile)
	}
}

// isTarget reports whether s can name a file on a host: absolute, clean, at most PATH_MAX, no control characters.
func isTarget(s string) bool {
	printable := strings.IndexFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f || r == '\uFFFD' }) < 0
	return path.IsAbs(s) && path.Clean(s) == s && s != "/" && len(s) < 4096 && printable
}

func (v *validator) distributions(m *Manifest) {
	for i, d := range m.Distributions {
		where := fmt.Sprintf("distribution for %.100q", d.Platform)
		v.require(slices.Contains(m.Platforms, d.Platform), "%s: not one of the bundle's platforms", where)
		v.require(i == 0 || m.Distributions[i-1].Platform < d.Platform, "%s: not sorted by platform, or twice", where)
		v.version(where+": version", d.Version)
		kubernetes, prefixed := strings.CutPrefix(d.Kubernetes, "v")
		v.require(prefixed, "%s: kubernetes %.130q, want v1.2.3", where, d.Kubernetes)
		v.version(where+": kubernetes", kubernetes)
		v.named(where, "artifact", d.Artifact, RoleManifest)
		if e, ok := v.named(where, "executable", d.Digest, RoleExecutable); ok {
			v.require(e.Size == d.Size, "%s: size %d, its entry has %d", where, d.Size, e.Size)
		}
	}
}

func (v *validator) attestations(attestations []Attestation) {
	for i, a := range attestations {
		where := fmt.Sprintf("attestation %.210q", a.PredicateType)
		v.require(typeURIShape.MatchString(a.PredicateType), "%s: want a URI", where)
		v.require(i == 0 || attestations[i-1].PredicateType < a.PredicateType, "%s: not sorted by predicate type, or twice", where)
		v.named(where, "artifact", a.Artifact, RoleManifest)
		v.named(where, "statement", a.Digest, RoleStatement)
	}
}

// base checks what a delta says of those bundles that have the rest.
func (v *validator) base(m *Manifest) {
	delta := slices.ContainsFunc(m.Entries, func(e Entry) bool { return e.Omitted })
	v.require(delta == (len(m.Base) > 0), "base: %d bundles; want some if entries are omitted, and else none", len(m.Base))
	for i, b := range m.Base {
		where := fmt.Sprintf("base %.70q", b.Name)
		v.require(labelShape.MatchString(b.Name), "%s: want the name of a bundle", where)
		v.version(where+": version", b.Version)
		v.require(isDigest(b.Digest), "%s: %.80q is not a SHA-256 digest", where, b.Digest)
		v.require(i == 0 || compareBases(m.Base[i-1], b) < 0, "%s: not sorted by name, or twice", where)
	}
}
