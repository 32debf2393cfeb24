package images

import (
	"os"
	"strings"
	"testing"

	"golang.org/x/mod/modfile"
)

func TestReference(t *testing.T) {
	for name, prefix := range map[string]string{
		"pause":   "airgap.internal/pause:3.",
		"coredns": "airgap.internal/coredns:v1.",
		"busybox": "airgap.internal/busybox:1.",
	} {
		if got := Reference(name); !strings.HasPrefix(got, prefix) {
			t.Errorf("Reference(%q) = %s, want %s…", name, got, prefix)
		}
	}
	if _, err := System().Reference("nginx"); err == nil || !strings.Contains(err.Error(), "pause, coredns, busybox") {
		t.Errorf("an unknown name: %v", err)
	}
}

// TestVersionsAreTheOnesRequired holds that a declared module version is the one that go.mod
// gives to the build: the file people read must not lie.
func TestVersionsAreTheOnesRequired(t *testing.T) {
	for _, image := range System().Images {
		if image.Upstream.Module == "" {
			continue
		}
		file := "../go.mod"
		if image.Build.Go != nil {
			file = image.Build.Go.Folder + "/go.mod"
		}
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		mod, err := modfile.Parse(file, data, nil)
		if err != nil {
			t.Fatal(err)
		}
		got := "not required"
		for _, r := range mod.Require {
			if r.Mod.Path == image.Upstream.Module {
				got = r.Mod.Version
			}
		}
		if got != image.Upstream.Version {
			t.Errorf("%s: images.yaml says %s %s, %s says %s", image.Name, image.Upstream.Module, image.Upstream.Version, file, got)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	const good = `
registry: example.test
images:
  - {name: a, tag: v1, title: t, licenses: MIT, upstream: {module: m, version: v1}, build: {go: {folder: a, package: .}}, entrypoint: [/a], user: "1:1", platforms: [linux/amd64]}
`
	if _, err := Parse([]byte(good)); err != nil {
		t.Fatalf("the good one: %v", err)
	}
	tests := map[string]struct{ old, new, want string }{
		"unknown key":              {"title: t", "titel: t", "titel"},
		"no registry":              {"registry: example.test", "", "registry"},
		"no tag":                   {"tag: v1,", "", "tag"},
		"no way to build":          {"build: {go: {folder: a, package: .}}", "build: {}", "exactly one"},
		"two ways to build":        {"build: {", "build: {c: {source: x.c}, ", "exactly one"},
		"no upstream version":      {"module: m, version: v1", "module: m", "version"},
		"two upstreams":            {"module: m,", "module: m, debian: d,", "either module or debian"},
		"debian build of a module": {"build: {go: {folder: a, package: .}}", "build: {debian: {executable: /bin/a}}", "debian"},
		"relative entrypoint":      {"[/a]", "[a]", "absolute"},
		"unclean target":           {"entrypoint:", "files: [{source: a, target: /x/../y}], entrypoint:", "clean"},
		"file without content":     {"entrypoint:", "files: [{target: /y}], entrypoint:", "source or content"},
		"user by name":             {`"1:1"`, "nobody", "uid:gid"},
		"no platform":              {"[linux/amd64]", "[]", "platforms"},
		"from later":               {"title: t,", "title: t, from: b,", "no image \"b\" is declared before"},
		"from and packages":        {"title: t,", "title: t, from: b, packages: {suites: [s], install: [p]},", "one of them"},
		"packages of no suite":     {"title: t,", "title: t, packages: {install: [p]},", "suites"},
		"upstream not installed":   {"upstream: {module: m, version: v1}, build: {go: {folder: a, package: .}}", "upstream: {debian: d, version: v1}, packages: {suites: [s], install: [p]}", "not among packages"},
		"the same name twice":      {"images:\n", "images:\n  - {name: a, tag: v2, title: t, licenses: MIT, upstream: {module: m, version: v1}, build: {go: {folder: a, package: .}}, entrypoint: [/a], user: \"1:1\", platforms: [linux/amd64]}\n", "twice"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			bad := strings.Replace(good, test.old, test.new, 1)
			if bad == good {
				t.Fatal("the case changes nothing")
			}
			if _, err := Parse([]byte(bad)); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want it to say %q", err, test.want)
			}
		})
	}
}
