package source

import (
	"reflect"
	"strings"
	"testing"
)

const whole = `apiVersion: airgap/v1
kind: Bundle
metadata: {name: site-a, version: 1.4.0}
spec:
  from: [system.airgap]
  platforms: [linux/amd64, linux/arm64/v8]
  images:
    - docker.io/library/nginx:1.29
    - "oci:./out/app:latest"
    - {source: "docker-archive:./app.tar", name: registry.example/app:1}
  charts:
    - {name: podinfo, chart: ./charts/podinfo, namespace: demo, values: values.yaml}
  manifests: [k8s/*.yaml]
  files: [{source: site.conf, target: /etc/site.conf, mode: "0600"}]
`

func TestParse(t *testing.T) {
	spec, err := Parse("there/airgap.yaml", []byte(whole))
	if err != nil {
		t.Fatal(err)
	}
	want := Contents{
		From:      []string{"system.airgap"},
		Platforms: []string{"linux/amd64", "linux/arm64"},
		Images: []Image{{Source: "docker.io/library/nginx:1.29"}, {Source: "oci:./out/app:latest"},
			{Source: "docker-archive:./app.tar", Name: "registry.example/app:1"}},
		Charts:    []Chart{{Name: "podinfo", Chart: "./charts/podinfo", Namespace: "demo", Values: "values.yaml"}},
		Manifests: []string{"k8s/*.yaml"},
		Files:     []File{{Source: "site.conf", Target: "/etc/site.conf", Mode: "0600"}},
	}
	if !reflect.DeepEqual(spec.Spec, want) {
		t.Errorf("got  %+v\nwant %+v", spec.Spec, want)
	}
	if got := spec.place("spec.images[1]"); got != "airgap.yaml:9" {
		t.Errorf("place of the second image: %s", got)
	}
	if got := spec.file("site.conf"); got != "there/site.conf" {
		t.Errorf("file: %s", got)
	}
	if got := spec.LockPath(); got != "there/airgap.lock" {
		t.Errorf("lock: %s", got)
	}
}

func TestFromLeftOutIsNotFromNothing(t *testing.T) {
	head := "apiVersion: airgap/v1\nkind: Bundle\nmetadata: {name: a, version: 1.0.0}\n"
	for text, isNil := range map[string]bool{head + "spec: {}\n": true, head + "spec: {from: []}\n": false} {
		spec, err := Parse("airgap.yaml", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		if (spec.Spec.From == nil) != isNil {
			t.Errorf("%q: from is %#v", text, spec.Spec.From)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	change := func(old, new string) string {
		if !strings.Contains(whole, old) {
			panic(old)
		}
		return strings.Replace(whole, old, new, 1)
	}
	for _, test := range []struct{ name, text, want string }{
		{"unknown key", change("  images:", "  imagez:"), `airgap.yaml:7: unknown key "imagez" in spec; did you mean "images"?`},
		{"unknown key far from any", change("kind: Bundle", "kind: Bundle\nstatus: x"), `airgap.yaml:3: unknown key "status" in the document; it has apiVersion, kind, metadata, spec`},
		{"unknown key in a list", change("namespace: demo", "namspace: demo"), `airgap.yaml:12: unknown key "namspace" in spec.charts[0]; did you mean "namespace"?`},
		{"key twice", change("kind: Bundle", "kind: Bundle\nkind: Bundle"), `airgap.yaml:3: key "kind" is there twice in the document`},
		{"missing field", change("name: site-a, ", ""), `airgap.yaml:3: metadata needs "name"`},
		{"number for a string", change("1.4.0", "1.4"), `airgap.yaml:3: metadata.version must be a string: write it in quotes, "1.4"`},
		{"mode without quotes", change(`"0600"`, "0600"), `airgap.yaml:14: spec.files[0].mode must be a string: write it in quotes, "0600"`},
		{"list for a string", change("site-a", "[a]"), `airgap.yaml:3: metadata.name must be a string, not a list`},
		{"string for a list", change("[k8s/*.yaml]", "k8s/*.yaml"), `airgap.yaml:13: spec.manifests must be a list, not "k8s/*.yaml"`},
		{"nothing for a list", change("[k8s/*.yaml]", ""), `airgap.yaml:13: spec.manifests must be a list, not nothing`},
		{"list for a mapping", change("{name: site-a, version: 1.4.0}", "[]"), `airgap.yaml:3: metadata must be a mapping, not a list`},
		{"other version", change("airgap/v1", "airgap/v2"), `airgap.yaml:1: apiVersion is "airgap/v2"; this airgap reads "airgap/v1"`},
		{"other kind", change("kind: Bundle", "kind: Pod"), `airgap.yaml:2: kind is "Pod", not "Bundle"`},
		{"bad name", change("site-a", "Site_A"), `airgap.yaml:3: metadata.name is "Site_A": want at most 63 lower-case letters`},
		{"bad version", change("1.4.0", "v1"), `airgap.yaml:3: metadata.version is "v1": want a semantic version`},
		{"floor above version", change("1.4.0", "1.4.0, versionFloor: 2.0.0"), `airgap.yaml:3: metadata.versionFloor is "2.0.0", above the version "1.4.0"`},
		{"bad platform", change("linux/amd64,", "amd64,"), `airgap.yaml:6: spec.platforms[0] is "amd64": want os/architecture`},
		{"bad reference", change("docker.io/library/nginx:1.29", "docker.io/Library/nginx"), `airgap.yaml:8: spec.images[0] is not an image reference`},
		{"bad name of an image", change("registry.example/app:1", "a@b"), `airgap.yaml:10: spec.images[2].name is not an image reference`},
		{"bad mode", change(`"0600"`, `"600"`), `airgap.yaml:14: spec.files[0].mode is "600": want four octal digits`},
		{"relative target", change("/etc/site.conf", "etc/site.conf"), `airgap.yaml:14: spec.files[0].target is "etc/site.conf": want the absolute path`},
		{"target that climbs", change("/etc/site.conf", "/etc/../x"), `airgap.yaml:14: spec.files[0].target is "/etc/../x"`},
		{"version of a folder chart", change("namespace: demo", "version: 1.0.0"), `airgap.yaml:12: spec.charts[0].version is for oci:// charts`},
		{"release twice", change("  manifests:", "    - {name: podinfo, chart: x, namespace: demo}\n  manifests:"), `airgap.yaml:13: spec.charts[1] has the same release as spec.charts[0]: podinfo`},
		{"not YAML", change("spec:", "spec: ["), `airgap.yaml:`},
		{"empty", "", `airgap.yaml:1: the file is empty`},
		{"two documents", whole + "---\na: b\n", `airgap.yaml:15: a second document`},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := Parse("airgap.yaml", []byte(test.text))
			if err == nil || !strings.HasPrefix(err.Error(), test.want) {
				t.Errorf("got  %v\nwant %s", err, test.want)
			}
		})
	}
}

func TestEveryProblemIsReported(t *testing.T) {
	text := strings.NewReplacer("Bundle", "Pod", "site-a", "Site_A").Replace(whole)
	_, err := Parse("airgap.yaml", []byte(text))
	if n := len(err.(*Error).Problems); n != 2 {
		t.Errorf("%d problems, want 2: %v", n, err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(whole))
	f.Add([]byte("a: &a [*a]"))
	f.Add([]byte("spec: {images: [{source: }]}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		spec, err := Parse("airgap.yaml", data)
		if (spec == nil) == (err == nil) {
			t.Errorf("spec %v, error %v", spec, err)
		}
	})
}
