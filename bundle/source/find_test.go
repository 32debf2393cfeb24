package source

import (
	"fmt"
	"strings"
	"testing"
)

func TestFindIn(t *testing.T) {
	for _, test := range []struct{ name, objects, want string }{
		{"pod", "kind: Pod\napiVersion: v1\nmetadata: {name: p, namespace: ns}\nspec: {ephemeralContainers: [{name: e, image: a}]}",
			"a: o: Pod ns/p, ephemeral container e (f)"},
		{"list", "kind: List\napiVersion: v1\nitems: [{kind: Pod, apiVersion: v1, metadata: {name: p}, spec: {containers: [{name: c, image: a}]}}]",
			"a: o: Pod p, container c (f)"},
		{"several documents", "# nothing\n---\nkind: Pod\napiVersion: v1\nmetadata: {name: p}\nspec: {containers: [{name: c, image: a}]}\n---\n---\n",
			"a: o: Pod p, container c (f)"},
		{"Helm's comment", "---\n# Source: chart/templates/x.yaml\nkind: Pod\napiVersion: v1\nmetadata: {name: p}\nspec: {containers: [{name: c, image: a}]}\n",
			"a: o: Pod p, container c (templates/x.yaml)"},
		{"variable of an operator", "kind: Pod\napiVersion: v1\nmetadata: {name: p}\nspec: {containers: [{name: c, image: a, env: [{name: RELATED_IMAGE_X, value: r.io/x:1}, {name: IMAGES, value: r.io/y:1}, {name: IMAGE_DIR, value: /var/images}]}]}",
			"a: o: Pod p, container c (f)\nr.io/x:1: o: Pod p, container c, variable RELATED_IMAGE_X (f)??\nr.io/y:1: o: Pod p, container c, variable IMAGES (f)??"},
		{"argument of an operator", "kind: Pod\napiVersion: v1\nmetadata: {name: p}\nspec: {containers: [{name: c, image: a, args: [--image-gc=5m, --reloader-image=r.io/x:1, r.io/z:1, --image, shell/ops:2, --watch, shell/ops:3, \"--addr=redis:6379/0\"]}]}",
			"a: o: Pod p, container c (f)\nr.io/x:1: o: Pod p, container c, argument --reloader-image (f)??\nr.io/z:1: o: Pod p, container c, argument (f)??\nshell/ops:2: o: Pod p, container c, argument --image (f)??"},
		{"custom resource", "kind: Prometheus\napiVersion: monitoring.coreos.com/v1\nmetadata: {name: p}\nspec: {image: prom, baseImage: r.io/base:2, imagePullPolicy: Always, backgroundImage: blue, containers: [{image: r.io/s:1}]}",
			"r.io/base:2: o: Prometheus p, field spec.baseImage (f)?\nr.io/s:1: o: Prometheus p, field spec.containers[0].image (f)?\nprom: o: Prometheus p, field spec.image (f)?"},
		{"repository and tag", "kind: X\napiVersion: example.com/v1\nmetadata: {name: x}\nspec: {image: {registry: r.io, repository: a/b, tag: v1}, chart: {repository: \"https://example.com\", tag: v2}}",
			"r.io/a/b:v1: o: X x, field spec.image (f)?"},
		{"repository and digest", "kind: X\napiVersion: example.com/v1\nmetadata: {name: x}\nspec: {repository: r.io/a, digest: \"sha256:" + strings.Repeat("a", 64) + "\"}",
			"r.io/a@sha256:" + strings.Repeat("a", 64) + ": o: X x, field spec (f)?"},
		{"pod template of a custom resource", "kind: Rollout\napiVersion: argoproj.io/v1alpha1\nmetadata: {name: r}\nspec: {image: other, template: {spec: {initContainers: [{name: i, image: b}], containers: [{name: c, image: a, env: [{name: X, value: r.io/x:1}]}], volumes: [{name: v, image: {reference: v}}]}}}",
			"other: o: Rollout r, field spec.image (f)?\nb: o: Rollout r, field spec.template.spec, init container i (f)\na: o: Rollout r, field spec.template.spec, container c (f)\nr.io/x:1: o: Rollout r, field spec.template.spec, container c, variable X (f)??\nv: o: Rollout r, field spec.template.spec, volume v (f)"},
		{"object in a config map", "kind: ConfigMap\napiVersion: v1\nmetadata: {name: c}\ndata: {helper.yaml: \"apiVersion: v1\\nkind: Pod\\nmetadata: {name: h}\\nspec: {containers: [{name: c, image: a}]}\"}",
			"a: o: ConfigMap c, key helper.yaml: Pod h, container c (f)?"},
		{"line of a config map", "kind: ConfigMap\napiVersion: v1\nmetadata: {name: c}\ndata: {inject: \"containers:\\n- name: x\\n  image: r.io/x:1\\n{{ end }}\"}",
			"r.io/x:1: o: ConfigMap c, key inject (f)??"},
		{"config map", "kind: ConfigMap\napiVersion: v1\nmetadata: {name: c}\ndata: {image: r.io/a:1}", ""},
		{"not an object", "just: data", ""},
		{"a pod that is not one", "kind: Pod\napiVersion: v1\nmetadata: []\nspec: {containers: no}", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			found, err := findIn([]byte(test.objects), "o", "f", "default")
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, image := range found.images {
				line := image.reference + ": " + image.Where
				if image.Guessed {
					line += "?"
				}
				if image.optional {
					line += "?"
				}
				got = append(got, line)
			}
			if strings.Join(got, "\n") != test.want {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), test.want)
			}
		})
	}
}

func TestEveryKindWithPods(t *testing.T) {
	const pod = `{containers: [{name: c, image: a}]}`
	for kind, path := range podSpecs {
		object := pod
		for i := len(path) - 1; i >= 0; i-- {
			object = fmt.Sprintf("{%s: %s}", path[i], object)
		}
		text := fmt.Sprintf("{apiVersion: apps/v1, kind: %s, metadata: {name: x}, %s", kind, strings.TrimPrefix(object, "{"))
		found, err := findIn([]byte(text), "o", "f", "default")
		if err != nil || len(found.images) != 1 || found.images[0].reference != "a" {
			t.Errorf("%s: %v, %v", kind, found, err)
		}
	}
}

func FuzzFindIn(f *testing.F) {
	f.Add([]byte("kind: Pod\napiVersion: v1\nmetadata: {name: p}\nspec: {containers: [{image: a}]}\n---\nkind: List\napiVersion: v1\nitems: [1]"))
	f.Add([]byte("kind: X\napiVersion: e.com/v1\nspec: [[{image: [], repository: a, tag: b}]]"))
	f.Fuzz(func(t *testing.T, data []byte) {
		found, err := findIn(data, "o", "f", "default")
		if err != nil && (found.images != nil || found.declared != nil) {
			t.Errorf("%v beside %v", found, err)
		}
		for _, image := range found.images {
			if image.Guessed && !isReference(image.reference) {
				t.Errorf("guessed %q", image.reference)
			}
		}
	})
}
