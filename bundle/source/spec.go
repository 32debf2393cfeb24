package source

import (
	"fmt"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
)

const (
	// APIVersion is the apiVersion of an airgap.yaml.
	APIVersion = "airgap/v1"
	// Kind is its kind.
	Kind = "Bundle"
)

// Spec is an airgap.yaml. Paths in it are relative to its own folder. The field tags
// are what the decoder, the JSON Schema and its test go by: yaml is the key,
// need says that it must be there.
type Spec struct {
	APIVersion string   `yaml:"apiVersion" need:"true"`
	Kind       string   `yaml:"kind" need:"true"`
	Metadata   Metadata `yaml:"metadata" need:"true"`
	Spec       Contents `yaml:"spec" need:"true"`

	path  string
	lines map[string]int // line of each node: "spec.images[0]" -> 9
}

// Metadata names a bundle and its place among the others of that name.
type Metadata struct {
	Name          string `yaml:"name" need:"true"`    // RFC 1123 label
	Version       string `yaml:"version" need:"true"` // semantic version
	VersionFloor  string `yaml:"versionFloor"`        // lowest version that a machine may return to
	MinimumAirgap string `yaml:"minimumAirgap"`       // lowest airgap that may install it
}

// Contents is what a bundle carries.
type Contents struct {
	From          []string       `yaml:"from"`      // signed bundles to start from; nil (left out) is the system bundle
	Platforms     []string       `yaml:"platforms"` // "linux/amd64"; left out: this machine's
	System        bool           `yaml:"system"`    // the images are part of the distribution
	Images        []Image        `yaml:"images"`
	IgnoreImages  []string       `yaml:"ignoreImages"` // references found in charts and manifests that are not wanted; * matches any text
	VerifyImages  []ImageRule    `yaml:"verifyImages"` // who must have signed which images; each rule that is about an image must hold
	Charts        []Chart        `yaml:"charts"`
	Manifests     []string       `yaml:"manifests"` // globs of YAML files
	Files         []File         `yaml:"files"`
	Distributions []Distribution `yaml:"distributions"`
}

// Image is an image to carry: a string in the file, or a mapping that also says under which
// reference it is known at the site.
type Image struct {
	Source string `yaml:"source" need:"true"`
	Name   string `yaml:"name"`
}

// fromString makes a plain string in the file an Image.
func (i *Image) fromString(s string) { i.Source = s }

// ImageRule says that images must be signed, and by whom: any of its keys or identities.
type ImageRule struct {
	Images      []string   `yaml:"images" need:"true"` // references; * matches any text, slashes too
	Keys        []string   `yaml:"keys"`               // files of public keys, PEM
	Identities  []Identity `yaml:"identities"`         // whose certificates count, for keyless signatures
	TrustedRoot string     `yaml:"trustedRoot"`        // file of the Sigstore trusted root that proves identities
}

// Identity is who may sign without a key of their own. Both a subject and an issuer are needed.
type Identity struct {
	Subject       string `yaml:"subject"`
	SubjectRegexp string `yaml:"subjectRegexp"`
	Issuer        string `yaml:"issuer"`
	IssuerRegexp  string `yaml:"issuerRegexp"`
}

// Chart is a Helm chart and the release it becomes.
type Chart struct {
	Name      string `yaml:"name" need:"true"`  // of the release
	Chart     string `yaml:"chart" need:"true"` // folder, .tgz, or oci://host/repository/chart[:version]
	Version   string `yaml:"version"`           // of an oci:// chart
	Namespace string `yaml:"namespace"`         // "default" if empty
	Values    string `yaml:"values"`            // path of a YAML file
	Tests     bool   `yaml:"tests"`             // carry the images of its tests too, for `helm test`
}

// from is what the lock calls the source of the chart.
func (c Chart) from() string {
	if c.Version == "" {
		return c.Chart
	}
	return c.Chart + ":" + c.Version
}

// File is a file to place on each machine.
type File struct {
	Source string `yaml:"source" need:"true"`
	Target string `yaml:"target" need:"true"` // absolute
	Mode   string `yaml:"mode"`               // four octal digits; "0644" if empty
}

// Distribution is the self-extracting executable that a machine of a platform runs.
type Distribution struct {
	Platform   string `yaml:"platform" need:"true"`
	Executable string `yaml:"executable" need:"true"`
	Version    string `yaml:"version"`    // airgap's own; left out: the version of the tool that builds
	Kubernetes string `yaml:"kubernetes"` // left out: likewise
}

// Error is everything that is wrong with an airgap.yaml, a line each, in the order of
// the file.
type Error struct{ Problems []string }

func (e *Error) Error() string { return strings.Join(e.Problems, "\n") }

// LockPath is where the lock of this file lies: beside it, with the extension .lock.
func (s *Spec) LockPath() string {
	return strings.TrimSuffix(s.path, filepath.Ext(s.path)) + ".lock"
}

// Platforms are those that a bundle of this file is for, sorted and in normal form: instead of spec.platforms those given, unless there
// are none, and this machine's if neither says any.
func (s *Spec) Platforms(instead []string) ([]string, error) {
	wanted := instead
	if wanted == nil {
		wanted = s.Spec.Platforms
	}
	if wanted == nil {
		wanted = []string{"linux/" + runtime.GOARCH}
	}
	wanted = slices.Clone(wanted)
	for i, platform := range wanted {
		normal, err := parsePlatform(platform)
		if err != nil {
			return nil, &Error{[]string{fmt.Sprintf("platform %q: want os/architecture, as in \"linux/amd64\"", platform)}}
		}
		wanted[i] = normal
	}
	slices.Sort(wanted)
	return slices.Compact(wanted), nil
}

// file makes a path of the file relative to the working folder.
func (s *Spec) file(path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(filepath.Dir(s.path), path)
}

// place says where a node stands, for a person: "airgap.yaml:9". A node that is not in the file
// has the place of the nearest one around it.
func (s *Spec) place(node string) string {
	return fmt.Sprintf("%s:%d", filepath.Base(s.path), s.line(node))
}

// line is the line of a node or of the nearest one around it.
func (s *Spec) line(node string) int {
	for {
		if line, ok := s.lines[node]; ok {
			return line
		}
		cut := strings.LastIndexAny(node, ".[")
		if cut < 0 {
			return 1
		}
		node = node[:cut]
	}
}

// problem is one thing wrong with a file.
type problem struct {
	line int
	text string
}

// asError sorts problems by line and puts the file's name before each.
func asError(path string, problems []problem) error {
	if len(problems) == 0 {
		return nil
	}
	slices.SortStableFunc(problems, func(a, b problem) int { return a.line - b.line })
	e := &Error{}
	for _, p := range problems {
		e.Problems = append(e.Problems, fmt.Sprintf("%s:%d: %s", filepath.Base(path), p.line, p.text))
	}
	return e
}
