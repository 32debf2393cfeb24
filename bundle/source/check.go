package source

import (
	"fmt"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/Masterminds/semver/v3"
)

// Names that Kubernetes takes: RFC 1123 labels; Helm's release names are 53 letters
// at most, because it makes longer names out of them.
var (
	labelPattern = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`)
	modePattern  = regexp.MustCompile(`^0[0-7]{3}$`) // no setuid, setgid or sticky
)

const maxReleaseName = 53

// check finds what is wrong with the values of a well-formed file.
func (s *Spec) check() []problem {
	c := checker{spec: s}
	if s.APIVersion != APIVersion {
		c.wrong("apiVersion", "is %q; this airgap reads %q", s.APIVersion, APIVersion)
	}
	if s.Kind != Kind {
		c.wrong("kind", "is %q, not %q", s.Kind, Kind)
	}
	c.label("metadata.name", s.Metadata.Name, 63)
	c.version("metadata.version", s.Metadata.Version)
	c.version("metadata.versionFloor", s.Metadata.VersionFloor)
	if version, err := semver.NewVersion(s.Metadata.Version); err == nil {
		if floor, err := semver.NewVersion(s.Metadata.VersionFloor); err == nil && floor.GreaterThan(version) {
			c.wrong("metadata.versionFloor", "is %q, above the version %q", s.Metadata.VersionFloor, s.Metadata.Version)
		}
	}
	c.version("metadata.minimumAirgap", s.Metadata.MinimumAirgap)
	c.contents(&s.Spec)
	return c.problems
}

// checker collects problems and the nodes they are at.
type checker struct {
	spec     *Spec
	problems []problem
}

func (c *checker) wrong(node, format string, args ...any) {
	c.problems = append(c.problems, problem{c.spec.line(node), node + " " + fmt.Sprintf(format, args...)})
}

func (c *checker) label(node, value string, most int) {
	if !labelPattern.MatchString(value) || len(value) > most {
		c.wrong(node, "is %q: want at most %d lower-case letters, digits and dashes, as in \"site-a\"", value, most)
	}
}

func (c *checker) version(node, value string) {
	if value == "" {
		return
	}
	if _, err := semver.StrictNewVersion(value); err != nil {
		c.wrong(node, "is %q: want a semantic version, as in \"1.4.0\"", value)
	}
}

func (c *checker) platform(node, value string) string {
	platform, err := parsePlatform(value)
	if err != nil {
		c.wrong(node, "is %q: want os/architecture, as in \"linux/amd64\"", value)
	}
	return platform
}

// unique complains about a value that an earlier node has too.
func (c *checker) unique(seen map[string]string, node, what, value string) {
	if first, ok := seen[value]; ok {
		c.wrong(node, "has the same %s as %s: %s", what, first, value)
		return
	}
	seen[value] = node
}

func (c *checker) contents(contents *Contents) {
	for i, platform := range contents.Platforms {
		contents.Platforms[i] = c.platform(fmt.Sprintf("spec.platforms[%d]", i), platform)
	}
	slices.Sort(contents.Platforms)
	contents.Platforms = slices.Compact(contents.Platforms)
	for i, image := range contents.Images {
		c.image(fmt.Sprintf("spec.images[%d]", i), image)
	}
	for i, rule := range contents.VerifyImages {
		c.imageRule(fmt.Sprintf("spec.verifyImages[%d]", i), rule)
	}
	for i, pattern := range contents.Manifests {
		if _, err := filepath.Match(pattern, ""); err != nil {
			c.wrong(fmt.Sprintf("spec.manifests[%d]", i), "is not a pattern: %q", pattern)
		}
	}
	c.charts(contents.Charts)
	c.files(contents.Files)
	platforms := map[string]string{}
	for i := range contents.Distributions {
		d, node := &contents.Distributions[i], fmt.Sprintf("spec.distributions[%d]", i)
		d.Platform = c.platform(node+".platform", d.Platform)
		c.unique(platforms, node, "platform", d.Platform)
		c.version(node+".version", d.Version)
		if d.Kubernetes != "" && !strings.HasPrefix(d.Kubernetes, "v") {
			c.wrong(node+".kubernetes", "is %q: want a version with a v, as in \"v1.37.1\"", d.Kubernetes)
		}
		c.version(node+".kubernetes", strings.TrimPrefix(d.Kubernetes, "v"))
	}
}

func (c *checker) image(node string, image Image) {
	if kind, reference, _ := splitSource(image.Source); kind == registrySource {
		if _, err := Normalize(reference); err != nil {
			c.wrong(node, "is not an image reference: %q: %v", image.Source, err)
		}
	}
	if image.Name == "" {
		return
	}
	if reference, err := Normalize(image.Name); err != nil {
		c.wrong(node+".name", "is not an image reference: %q: %v", image.Name, err)
	} else if reference.Digest != "" {
		c.wrong(node+".name", "has a digest; the image has its own: %q", image.Name)
	}
}

func (c *checker) imageRule(node string, rule ImageRule) {
	if len(rule.Images) == 0 {
		c.wrong(node+".images", "is empty: write the references that the rule is about, as in \"registry.example/*\"")
	}
	for i, pattern := range rule.Images {
		host, _, found := strings.Cut(pattern, "/")
		if !strings.HasPrefix(pattern, "*") && (!found || !strings.ContainsAny(host, ".:*") && host != "localhost") {
			c.wrong(fmt.Sprintf("%s.images[%d]", node, i), "names no registry and would match nothing: %q; in full it is \"docker.io/library/nginx:*\", say", pattern)
		}
	}
	switch {
	case len(rule.Keys)+len(rule.Identities) == 0:
		c.wrong(node, "says nobody: want keys or identities")
	case len(rule.Identities) > 0 && rule.TrustedRoot == "":
		c.wrong(node, "needs trustedRoot, which proves identities: `cosign trusted-root create` writes one")
	case len(rule.Identities) == 0 && rule.TrustedRoot != "":
		c.wrong(node+".trustedRoot", "is for identities, and there are none")
	}
	for i, identity := range rule.Identities {
		if identity.Subject+identity.SubjectRegexp == "" || identity.Issuer+identity.IssuerRegexp == "" {
			c.wrong(fmt.Sprintf("%s.identities[%d]", node, i), "needs a subject and an issuer, each in full or as a regular expression (subjectRegexp, issuerRegexp)")
		}
	}
}

func (c *checker) charts(charts []Chart) {
	releases := map[string]string{}
	for i := range charts {
		chart, node := &charts[i], fmt.Sprintf("spec.charts[%d]", i)
		if chart.Namespace == "" {
			chart.Namespace = "default"
		}
		c.label(node+".name", chart.Name, maxReleaseName)
		c.label(node+".namespace", chart.Namespace, 63)
		c.unique(releases, node, "release", chart.Name)
		if chart.Version != "" && !strings.HasPrefix(chart.Chart, chartScheme) {
			c.wrong(node+".version", "is for oci:// charts; %s has its own", chart.Chart)
		}
	}
}

func (c *checker) files(files []File) {
	targets := map[string]string{}
	for i := range files {
		file, node := &files[i], fmt.Sprintf("spec.files[%d]", i)
		if file.Mode == "" {
			file.Mode = "0644"
		}
		if !modePattern.MatchString(file.Mode) {
			c.wrong(node+".mode", "is %q: want four octal digits from 0000 to 0777, as in \"0644\"", file.Mode)
		}
		if !path.IsAbs(file.Target) || path.Clean(file.Target) != file.Target || file.Target == "/" {
			c.wrong(node+".target", "is %q: want the absolute path of a file, without \".\" or \"..\"", file.Target)
		}
		c.unique(targets, node, "target", file.Target)
	}
}
