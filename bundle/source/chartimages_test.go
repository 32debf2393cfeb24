package source

import (
	"context"
	"strings"
	"testing"
)

// pod is a template of a pod with an image.
func pod(name, image string) string {
	return "apiVersion: v1\nkind: Pod\nmetadata: {name: " + name + "}\nspec: {containers: [{name: c, image: " + image + "}]}\n"
}

// told writes down what was found: a line each, those that are not carried in brackets.
func told(found []Found) string {
	var out strings.Builder
	for _, image := range found {
		reference := strings.TrimPrefix(image.Reference, "docker.io/library/")
		if !image.Carried {
			reference = "[" + reference + "]"
		}
		out.WriteString(reference + " " + strings.TrimPrefix(image.Why[0].Where, "chart c: ") + "\n")
	}
	return out.String()
}

func TestImagesOfAChart(t *testing.T) {
	const chartYAML = "apiVersion: v2\nname: c\nversion: 1.0.0\nappVersion: \"9\"\n"
	for _, test := range []struct {
		name  string
		files map[string]string
		entry string // further keys of the chart's entry
		want  string
	}{
		{"a hook", map[string]string{"templates/job.yaml": strings.Replace(pod("h", "h:1"), "{name: h}", "{name: h, annotations: {helm.sh/hook: pre-install}}", 1)}, "",
			"h:1 Pod h, container c (templates/job.yaml)\n"},
		{"a test", map[string]string{"templates/test.yaml": strings.Replace(pod("t", "t:1"), "{name: t}", "{name: t, annotations: {helm.sh/hook: test}}", 1)}, "",
			"[t:1] Pod t, container c (templates/test.yaml), a test\n"},
		{"a test that is wanted", map[string]string{"templates/test.yaml": strings.Replace(pod("t", "t:1"), "{name: t}", "{name: t, annotations: {helm.sh/hook: test}}", 1)}, ", tests: true",
			"t:1 Pod t, container c (templates/test.yaml)\n"},
		{"its annotation", map[string]string{"Chart.yaml": chartYAML + "annotations:\n  helm.sh/images: |\n    - {name: x, image: x:1}\n    - y:2\n  artifacthub.io/images: |\n    - {name: z, image: z:3}\n"}, "",
			"x:1 annotation helm.sh/images of c (Chart.yaml)\ny:2 annotation helm.sh/images of c (Chart.yaml)\n[z:3] annotation artifacthub.io/images of c (Chart.yaml)\n"},
		{"a subchart's annotation", map[string]string{"charts/s/Chart.yaml": "apiVersion: v2\nname: s\nversion: 1.0.0\nannotations: {helm.sh/images: \"[s:1]\"}\n"}, "",
			"s:1 annotation helm.sh/images of s (Chart.yaml)\n"},
		{"values that are not used", map[string]string{
			"values.yaml":            "image: {repository: a, tag: \"\"}\nmetrics: {enabled: false, image: {repository: m, tag: \"2\"}}\n",
			"templates/pod.yaml":     pod("p", "{{ .Values.image.repository }}:{{ .Chart.AppVersion }}"),
			"templates/metrics.yaml": "{{ if .Values.metrics.enabled }}\n" + pod("m", "m:2") + "{{ end }}"}, "",
			"a:9 Pod p, container c (templates/pod.yaml)\n[m:2] value metrics.image (values.yaml)\n"},
		{"a subchart that is off", map[string]string{
			"Chart.yaml":          chartYAML + "dependencies: [{name: s, version: 1.0.0, condition: s.enabled}]\n",
			"values.yaml":         "s: {enabled: false}\n",
			"charts/s/Chart.yaml": "apiVersion: v2\nname: s\nversion: 1.0.0\nappVersion: \"5\"\n", "charts/s/values.yaml": "image: {repository: s, tag: \"\"}\n"}, "",
			"[s:5] value s.image (values.yaml)\n"},
		{"a capability", map[string]string{"templates/pod.yaml": pod("p", "p:1") + "{{ if .Capabilities.APIVersions.Has \"monitoring.coreos.com/v1\" }}\n---\n" + pod("m", "m:1") + "{{ end }}"}, "",
			"m:1 Pod m, container c (templates/pod.yaml) if the cluster has monitoring.coreos.com/v1\np:1 Pod p, container c (templates/pod.yaml)\n"},
		{"a capability that every cluster has", map[string]string{"templates/pod.yaml": "{{ if .Capabilities.APIVersions.Has \"apps/v1\" }}\n" + pod("p", "p:1") + "{{ end }}"}, "",
			"p:1 Pod p, container c (templates/pod.yaml)\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			files := map[string]string{"c/Chart.yaml": chartYAML}
			for file, text := range test.files {
				files["c/"+file] = text
			}
			spec := load(t, write(t, files), "  charts: [{name: c, chart: c"+test.entry+"}]\n")
			if got := told(must(FindImages(context.Background(), spec, options()))(t)); got != test.want {
				t.Errorf("got\n%swant\n%s", got, test.want)
			}
		})
	}
}

// A chart that lacks something says what.
func TestChartSaysWhatItNeeds(t *testing.T) {
	for _, test := range []struct{ name, template, entry, want string }{
		{"a value", `{{ required "say the host" .Values.host }}`, "", "say the host (it was rendered with its own values; give it yours with `values: FILE`)"},
		{"a value beside others", `{{ required "say the host" .Values.host }}`, ", values: v.yaml", "say the host"},
		{"a capability", `{{ if not (.Capabilities.APIVersions.Has "cert-manager.io/v1") }}{{ fail "no cert-manager" }}{{ end }}`, "",
			"no cert-manager; it renders only where the cluster has cert-manager.io/v1: have what brings that installed before"},
		{"what is nowhere", `{{ if .Capabilities.APIVersions.Has "x.io/v1" }}{{ end }}{{ fail "never" }}`, "",
			"never; the chart asks whether the cluster has x.io/v1: it renders neither with nor without"},
	} {
		t.Run(test.name, func(t *testing.T) {
			folder := write(t, map[string]string{"c/Chart.yaml": "apiVersion: v2\nname: c\nversion: 1.0.0\n", "c/templates/x.yaml": test.template, "v.yaml": "a: b\n"})
			_, err := FindImages(context.Background(), load(t, folder, "  charts: [{name: c, chart: c"+test.entry+"}]\n"), options())
			if err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "rendered with its own values") != strings.Contains(test.want, "own values") {
				t.Errorf("got %v\nwant %s", err, test.want)
			}
		})
	}
}

func TestAnnotationThatIsNoList(t *testing.T) {
	folder := write(t, map[string]string{"c/Chart.yaml": "apiVersion: v2\nname: c\nversion: 1.0.0\nannotations: {helm.sh/images: \"just: text\"}\n"})
	_, err := FindImages(context.Background(), load(t, folder, "  charts: [{name: c, chart: c}]\n"), options())
	if err == nil || !strings.Contains(err.Error(), "chart c (airgap.yaml:7): annotation helm.sh/images of c: want a YAML list of images") {
		t.Errorf("got %v", err)
	}
}

// What is only hinted at is carried once it is listed, and is then no hint any more.
func TestHintIsCarriedIfListed(t *testing.T) {
	folder := write(t, map[string]string{"pod.yaml": "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: {containers: [{name: c, image: op:1, env: [{name: WORKER_IMAGE, value: r.io/worker:1}]}]}\n"})
	for images, want := range map[string]string{
		"[]":              "op:1 manifest: Pod p, container c (pod.yaml)\n[r.io/worker:1] manifest: Pod p, container c, variable WORKER_IMAGE (pod.yaml)\n",
		"[r.io/worker:1]": "op:1 manifest: Pod p, container c (pod.yaml)\nr.io/worker:1 spec.images[0] (airgap.yaml:7)\n",
	} {
		spec := load(t, folder, "  images: "+images+"\n  manifests: [pod.yaml]\n")
		if got := told(must(FindImages(context.Background(), spec, options()))(t)); got != want {
			t.Errorf("%s: got\n%swant\n%s", images, got, want)
		}
	}
	spec := load(t, folder, "  ignoreImages: [r.io/*]\n  manifests: [pod.yaml]\n")
	if got := told(must(FindImages(context.Background(), spec, options()))(t)); strings.Contains(got, "worker") {
		t.Errorf("ignored, but told:\n%s", got)
	}
}
