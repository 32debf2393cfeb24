package bundle

import (
	"slices"
	"strings"
)

// hostileManifests are signed manifests of good form that say what no manifest may say.
func hostileManifests() []hostile {
	var cases []hostile
	add := func(name, text string, edit func(m *Manifest)) {
		cases = append(cases, hostile{"manifest", name, func(h *hostileMaker) []byte { return h.stated(edit) }, ErrFormat, RuleManifest, text})
	}
	add("another format", "apiVersion", func(m *Manifest) { m.APIVersion = "airgap/v2" })
	add("another kind", "apiVersion", func(m *Manifest) { m.Kind = "Bundle" })
	for name, value := range map[string]string{"empty": "", "with a slash": "site/a", "of two dots": "..", "in capitals": "Site", "too long": strings.Repeat("a", 64), "with an escape sequence": "\x1b[2J"} {
		add("name "+name, "name", func(m *Manifest) { m.Name = value })
	}
	for name, value := range map[string]string{"of two numbers": "1.4", "with a v": "v1.4.0", "in words": "latest", "with a zero in front": "01.4.0", "without end": "1.0.0-" + strings.Repeat("a", 200)} {
		add("version "+name, "semantic version", func(m *Manifest) { m.Version = value })
	}
	add("floor above the version", "above version", func(m *Manifest) { m.VersionFloor = "9.0.0" })
	add("floor that is no version", "versionFloor", func(m *Manifest) { m.VersionFloor = "none" })
	add("needs no version of airgap", "minimumAirgap", func(m *Manifest) { m.MinimumAirgap = "any" })
	add("no platform", "platforms", func(m *Manifest) { m.Platforms = nil })
	add("platform twice", "platforms", func(m *Manifest) { m.Platforms = []string{"linux/amd64", "linux/amd64"} })
	add("platforms not sorted", "platforms", func(m *Manifest) { m.Platforms = []string{"linux/arm64", "linux/amd64"} })
	add("platform with a path", "platforms", func(m *Manifest) { m.Platforms = []string{"linux/../amd64"} })
	for name, value := range map[string]string{"in local time": "2026-11-22T09:00:00+01:00", "with a fraction": "2026-11-22T09:00:00.5Z", "before 1970": "1969-12-31T23:59:59Z", "beyond a header": "2243-01-01T00:00:00Z", "missing": ""} {
		add("time "+name, "issuedAt", func(m *Manifest) { m.IssuedAt = value })
	}
	image := func(name, text string, edit func(i *Image)) {
		add("image "+name, text, func(m *Manifest) { edit(&m.Images[0]) })
	}
	image("by a short name", "full reference", func(i *Image) { i.Reference = "a:1.29" })
	image("without a tag", "full reference", func(i *Image) { i.Reference = "docker.io/library/a" })
	image("with tag and digest", "full reference", func(i *Image) { i.Reference += "@" + i.Digest })
	image("in capitals", "full reference", func(i *Image) { i.Reference = "docker.io/library/A:1" })
	image("with a space", "full reference", func(i *Image) { i.Reference = "docker.io/library/a:1 " })
	image("without a reference", "full reference", func(i *Image) { i.Reference = "" })
	image("by a digest that is another", "resolves to", func(i *Image) { i.Reference = "docker.io/library/a@sha256:" + strings.Repeat("0", 64) })
	image("of another algorithm", "not a SHA-256 digest", func(i *Image) { i.Digest = "sha512:" + strings.Repeat("0", 128) })
	image("with a digest in capitals", "not a SHA-256 digest", func(i *Image) { i.Digest = strings.ToUpper(i.Digest) })
	image("that is not there", "not among the entries", func(i *Image) { i.Digest = "sha256:" + strings.Repeat("0", 64) })
	image("of another size", "its entry has", func(i *Image) { i.Size++ })
	image("of no media type", "media type", func(i *Image) { i.MediaType = "" })
	image("of a media type with a line", "media type", func(i *Image) { i.MediaType = "a/b\nc" })
	image("of no platform", "at least one", func(i *Image) { i.Platforms = nil })
	image("of a platform that the bundle has not", "not one of the bundle's", func(i *Image) { i.Platforms[0].Platform = "linux/s390x" })
	image("of a platform that is not there", "not among the entries", func(i *Image) { i.Platforms[0].Digest = "sha256:" + strings.Repeat("0", 64) })
	add("image that is a layer", "has the role", func(m *Manifest) { m.Images[0].Digest = m.Entries[len(m.Entries)-1].Digest() })
	add("image twice", "or twice", func(m *Manifest) { m.Images = slices.Insert(m.Images, 0, m.Images[0]) })
	add("images not sorted", "not sorted", func(m *Manifest) { slices.Reverse(m.Images) })
	chart := func(name, text string, edit func(c *Chart)) {
		add("chart "+name, text, func(m *Manifest) { edit(&m.Charts[0]) })
	}
	chart("with a release of two dots", "DNS name", func(c *Chart) { c.Release = ".." })
	chart("with a release that is too long", "DNS name", func(c *Chart) { c.Release = strings.Repeat("a", 54) })
	chart("in a namespace with a slash", "namespace", func(c *Chart) { c.Namespace = "kube/system" })
	chart("with a path for a name", `chart "../../etc"`, func(c *Chart) { c.Chart = "../../etc" })
	chart("of no version", "chart version", func(c *Chart) { c.Version = "newest" })
	chart("without an artifact", "artifact", func(c *Chart) { c.Artifact = "" })
	chart("that is not there", "not among the entries", func(c *Chart) { c.Digest = "sha256:" + strings.Repeat("0", 64) })
	chart("whose values are not there", "not among the entries", func(c *Chart) { c.Values = "sha256:" + strings.Repeat("0", 64) })
	add("chart twice", "there twice", func(m *Manifest) { m.Charts = append(m.Charts, m.Charts[0]) })
	objects := func(name, text, value string) {
		add("manifest "+name, text, func(m *Manifest) { m.Manifests[0].Name = value })
	}
	objects("with a path for a name", "file name", "../namespace")
	objects("without a name", "file name", "")
	objects("hidden", "file name", ".namespace")
	objects("with a zero byte", "file name", "a\x00b")
	add("manifest twice but for a capital", "differs only in case", func(m *Manifest) {
		again := m.Manifests[0]
		again.Name = "Namespace"
		m.Manifests = append(m.Manifests, again)
	})
	for name, target := range map[string]string{
		"relative": "etc/site.conf", "with a detour": "/etc/../site.conf", "that is the root": "/", "that is a folder": "/etc/", "with two slashes": "/etc//site.conf",
		"with a dot": "/etc/./site.conf", "with a zero byte": "/etc/site\x00.conf", "with a line": "/etc/site\n.conf", "empty": "", "without end": "/" + strings.Repeat("a", 4096),
	} {
		add("file "+name, "absolute, clean path", func(m *Manifest) { m.Files[0].Target = target })
	}
	for name, mode := range map[string]string{"setuid": "4755", "short": "644", "in letters": "rw-r--r--", "beyond octal": "0888"} {
		add("file mode "+name, "mode", func(m *Manifest) { m.Files[0].Mode = mode })
	}
	add("file twice", "or twice", func(m *Manifest) { m.Files = append(m.Files, m.Files[0]) })
	add("file below a file", "is a file too", func(m *Manifest) {
		below := m.Files[0]
		below.Target += "/below"
		m.Files = append(m.Files, below)
	})
	distribution := func(name, text string, edit func(d *Distribution)) {
		add("distribution "+name, text, func(m *Manifest) { edit(&m.Distributions[0]) })
	}
	distribution("for another platform", "not one of the bundle's", func(d *Distribution) { d.Platform = "linux/s390x" })
	distribution("of no version", "semantic version", func(d *Distribution) { d.Version = "" })
	distribution("of a Kubernetes without a v", "kubernetes", func(d *Distribution) { d.Kubernetes = "1.37.1" })
	distribution("of another size", "its entry has", func(d *Distribution) { d.Size++ })
	distribution("that is a layer's artifact", "not among the entries", func(d *Distribution) { d.Artifact = "sha256:" + strings.Repeat("0", 64) })
	add("distribution twice", "or twice", func(m *Manifest) { m.Distributions = append(m.Distributions, m.Distributions[0]) })
	slices.SortStableFunc(cases, func(a, b hostile) int { return strings.Compare(a.name, b.name) })
	return cases
}

// hostileEntries are signed manifests whose list of entries is not one of a bundle.
func hostileEntries() []hostile {
	var cases []hostile
	add := func(name, text string, edit func(m *Manifest)) {
		cases = append(cases, hostile{"entries", name, func(h *hostileMaker) []byte { return h.stated(edit) }, ErrFormat, RuleManifest, text})
	}
	last := func(name, text string, edit func(e *Entry)) {
		add(name, text, func(m *Manifest) { edit(&m.Entries[len(m.Entries)-1]) })
	}
	add("none", "the first are not", func(m *Manifest) { m.Entries = nil })
	add("no layout", "the first are not", func(m *Manifest) { m.Entries = m.Entries[1:] })
	add("index before layout", "the first are not", func(m *Manifest) { m.Entries[0], m.Entries[1] = m.Entries[1], m.Entries[0] })
	add("another layout", "OCI image layout", func(m *Manifest) { m.Entries[0].Size++ })
	add("index of another role", "role", func(m *Manifest) { m.Entries[1].Role = RoleIndex })
	add("index larger than may be held", "bytes, want", func(m *Manifest) { m.Entries[1].Size = MaxMetadataBytes + 1 })
	add("image manifest larger than may be held", "bytes, want", func(m *Manifest) { m.Entries[3].Size = MaxMetadataBytes + 1 })
	add("not sorted", "out of order", func(m *Manifest) { m.Entries[3], m.Entries[4] = m.Entries[4], m.Entries[3] })
	add("twice", "there twice", func(m *Manifest) { m.Entries = append(m.Entries, m.Entries[len(m.Entries)-1]) })
	add("layer before metadata", "out of order", func(m *Manifest) {
		end := len(m.Entries) - 1
		m.Entries = slices.Insert(m.Entries[:end], 2, m.Entries[end])
	})
	last("negative size", "bytes, want", func(e *Entry) { e.Size = -1 })
	last("size whose sum overflows", "bytes, want", func(e *Entry) { e.Size = 1<<63 - 1 })
	last("size beyond the limit", "bytes, want", func(e *Entry) { e.Size = MaxEntryBytes + 1 })
	last("unknown role", "role", func(e *Entry) { e.Role = "script" })
	last("no role", "role", func(e *Entry) { e.Role = "" })
	last("role of the layout", "role", func(e *Entry) { e.Role = RoleLayout })
	last("path outside", "under the name of its digest", func(e *Entry) { e.Path = "../../etc/cron.d/x" })
	last("path that is absolute", "under the name of its digest", func(e *Entry) { e.Path = "/etc/cron.d/x" })
	last("path with a detour", "under the name of its digest", func(e *Entry) { e.Path = "blobs/../" + e.Path })
	last("path with a dot", "under the name of its digest", func(e *Entry) { e.Path = "./" + e.Path })
	last("path of another blob", "under the name of its digest", func(e *Entry) { e.Path = blobFolder + strings.Repeat("0", 64) })
	last("digest in capitals", "under the name of its digest", func(e *Entry) { e.SHA256 = strings.ToUpper(e.SHA256) })
	last("digest cut", "under the name of its digest", func(e *Entry) { e.SHA256 = e.SHA256[:63] })
	last("no digest", "under the name of its digest", func(e *Entry) { e.SHA256 = "" })
	cases = append(cases, hostile{"entries", "another digest", func(h *hostileMaker) []byte {
		return h.stated(func(m *Manifest) { m.Entries[1].SHA256 = strings.Repeat("0", 64) })
	}, ErrFormat, RuleIndex, "its images and artifacts make"})
	cases = append(cases, hostile{"entries", "another size", func(h *hostileMaker) []byte {
		return h.stated(func(m *Manifest) { m.Entries[len(m.Entries)-1].Size++ })
	}, ErrFormat, RuleGraph, "is declared with"})
	return cases
}
