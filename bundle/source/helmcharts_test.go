package source

import (
	"context"
	"encoding/base64"
	"path/filepath"
	"strings"
	"testing"
)

// imageChart is a chart of a pod whose image is values. Templates replace its own.
func imageChart(t *testing.T, templates map[string]string) []byte {
	t.Helper()
	files := map[string]string{
		"in/Chart.yaml":         "apiVersion: v2\nname: in\nversion: 1.0.0\n",
		"in/values.yaml":        "repo: r.io/in\ntag: \"1\"\n",
		"in/templates/pod.yaml": pod("p-{{ .Release.Namespace }}", "{{ .Values.repo }}:{{ .Values.tag }}"),
	}
	for name, text := range templates {
		files["in/templates/"+name] = text
	}
	return must(packageChart(filepath.Join(write(t, files), "in")))(t)
}

// helmChart is a HelmChart in YAML, of which the rest of spec is given.
func helmChart(archive []byte, spec string) string {
	return "---\napiVersion: helm.cattle.io/v1\nkind: HelmChart\nmetadata: {name: x, namespace: ops}\nspec:\n  chartContent: " +
		base64.StdEncoding.EncodeToString(archive) + "\n" + spec
}

const helmChartConfig = "---\napiVersion: helm.cattle.io/v1\nkind: HelmChartConfig\nmetadata: {name: x, namespace: ops}\nspec:\n"

func TestImagesOfHelmCharts(t *testing.T) {
	plain := imageChart(t, nil)
	secret := "---\napiVersion: v1\nkind: Secret\nmetadata: {name: s, namespace: ops}\ndata: {a: " + base64.StdEncoding.EncodeToString([]byte("repo: r.io/secret")) + "}\nstringData: {b: \"tag: '6'\"}\n"
	required := imageChart(t, map[string]string{"need.yaml": `{{ required "say the password" .Values.password }}`})
	for _, test := range []struct{ name, objects, want, notice string }{
		{"its content", helmChart(plain, ""), "r.io/in:1 manifest: HelmChart ops/x (o.yaml): Pod p-ops, container c (templates/pod.yaml)\n", ""},
		{"where it goes", helmChart(plain, "  targetNamespace: web\n"), "r.io/in:1 manifest: HelmChart ops/x (o.yaml): Pod p-web, container c (templates/pod.yaml)\n", ""},
		{"values", helmChart(plain, "  valuesContent: \"tag: '2'\\nrepo: r.io/content\"\n  values: {repo: r.io/tree}\n"),
			"r.io/tree:2 manifest: HelmChart ops/x (o.yaml): Pod p-ops, container c (templates/pod.yaml)\n", ""},
		{"a setting", helmChart(plain, "  valuesContent: \"tag: '2'\"\n  set: {tag: \"3\"}\n"), "r.io/in:3 manifest: HelmChart ops/x (o.yaml): Pod p-ops, container c (templates/pod.yaml)\n", ""},
		{"a HelmChartConfig", helmChart(plain, "  valuesContent: \"tag: '2'\"\n") + helmChartConfig + "  valuesContent: \"tag: '4'\"\n",
			"r.io/in:4 manifest: HelmChart ops/x (o.yaml): Pod p-ops, container c (templates/pod.yaml)\n", ""},
		{"a Secret", helmChart(plain, "  valuesSecrets: [{name: s}]\n") + secret, "r.io/secret:6 manifest: HelmChart ops/x (o.yaml): Pod p-ops, container c (templates/pod.yaml)\n", ""},
		{"a Secret that the site has", helmChart(plain, "  valuesSecrets: [{name: s}]\n"), "r.io/in:1 manifest: HelmChart ops/x (o.yaml): Pod p-ops, container c (templates/pod.yaml)\n",
			"manifest: HelmChart ops/x (o.yaml): its images are looked for without the values in the Secret ops/s, which is not in the bundle"},
		{"a Secret that it needs", helmChart(required, "  valuesSecrets: [{name: s}]\n"), "",
			"its images are not looked for: without the values in the Secret ops/s, which is not in the bundle, it does not render"},
		{"a HelmChart in its chart", helmChart(imageChart(t, map[string]string{"more.yaml": helmChart(imageChart(t, nil), "  set: {tag: in}\n")}), ""),
			"r.io/in:1 manifest: HelmChart ops/x (o.yaml): Pod p-ops, container c (templates/pod.yaml)\n" +
				"r.io/in:in manifest: HelmChart ops/x (o.yaml): HelmChart ops/x (templates/more.yaml): Pod p-ops, container c (templates/pod.yaml)\n", ""},
		{"one that this node's controller leaves alone", strings.Replace(helmChart(plain, "  values: {image: r.io/guess:1}\n"), "namespace: ops", "namespace: ops, annotations: {helmcharts.helm.cattle.io/unmanaged: \"\"}", 1),
			"r.io/guess:1 manifest: HelmChart ops/x, field spec.values.image (o.yaml)\n", ""},
		{"one in a ConfigMap", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata:\n  x.yaml: |\n    " + strings.ReplaceAll(helmChart(plain, "")[4:], "\n", "\n    "),
			"r.io/in:1 manifest: ConfigMap c, key x.yaml: HelmChart ops/x (o.yaml): Pod p-ops, container c (templates/pod.yaml)?\n", ""},
		{"a chart elsewhere", "apiVersion: helm.cattle.io/v1\nkind: HelmChart\nmetadata: {name: x, namespace: ops}\nspec: {repo: \"https://charts.example\", chart: db, valuesContent: \"image: {repository: r.io/db, tag: '9'}\"}\n",
			"r.io/db:9 manifest: HelmChart ops/x, field spec.valuesContent.image (o.yaml)?\n",
			"manifest: HelmChart ops/x (o.yaml): its images are not looked for: its chart, https://charts.example db, is not in the bundle"},
		{"values for a chart that is not here", helmChartConfig + "  valuesContent: \"image: r.io/traefik:3\"\n", "r.io/traefik:3 manifest: HelmChartConfig ops/x, field spec.valuesContent.image (o.yaml)?\n", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			var notices []string
			o := options()
			o.Notice = func(text string) { notices = append(notices, text) }
			spec := load(t, write(t, map[string]string{"o.yaml": test.objects}), "  manifests: [o.yaml]\n")
			found := must(FindImages(context.Background(), spec, o))(t)
			for i := range found {
				if why := &found[i].Why[0]; why.Guessed && !strings.Contains(test.name, "alone") {
					why.Where += "?"
				}
			}
			if got := told(found); got != test.want {
				t.Errorf("got\n%swant\n%s", got, test.want)
			}
			if got := strings.Join(notices, "\n"); !strings.Contains(got, test.notice) || (test.notice == "") != (got == "") {
				t.Errorf("told %q, want %q", got, test.notice)
			}
		})
	}
}

// A chart of airgap.yaml becomes a HelmChart, and what it makes may be HelmCharts.
func TestHelmChartsOfACharts(t *testing.T) {
	inner := imageChart(t, nil)
	folder := write(t, map[string]string{
		"c/Chart.yaml":               "apiVersion: v2\nname: c\nversion: 1.0.0\n",
		"c/values.yaml":              "image: r.io/own:1\n",
		"c/templates/pod.yaml":       pod("p", "{{ .Values.image }}"),
		"c/templates/inner.yaml":     helmChart(inner, "  set: {tag: \"5\"}\n"),
		"c/templates/test.yaml":      strings.Replace(helmChart(inner, "  set: {tag: \"6\"}\n"), "namespace: ops", "namespace: ops, annotations: {helm.sh/hook: test}", 1),
		"c/templates/available.yaml": "{{ if .Capabilities.APIVersions.Has \"x.io/v1\" }}\n" + helmChart(inner, "  set: {tag: \"7\"}\n") + "{{ end }}",
		"config.yaml":                "apiVersion: helm.cattle.io/v1\nkind: HelmChartConfig\nmetadata: {name: c, namespace: kube-system}\nspec: {values: {image: \"r.io/config:2\"}}\n",
	})
	spec := load(t, folder, "  charts: [{name: c, chart: c}]\n  manifests: [config.yaml]\n")
	const want = "r.io/config:2 Pod p, container c (templates/pod.yaml)\n" +
		"r.io/in:5 HelmChart ops/x (templates/inner.yaml): Pod p-ops, container c (templates/pod.yaml)\n" +
		"[r.io/in:6] HelmChart ops/x (templates/test.yaml, a test): Pod p-ops, container c (templates/pod.yaml)\n" +
		"r.io/in:7 HelmChart ops/x (templates/available.yaml if the cluster has x.io/v1): Pod p-ops, container c (templates/pod.yaml)\n"
	if got := told(must(FindImages(context.Background(), spec, options()))(t)); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

// A HelmChart may name a chart of spec.charts, which may make it once more.
func TestHelmChartOfACarriedChart(t *testing.T) {
	host := newRegistry(t)
	push(t, host+"/charts/in:1.0.0", chartImage(t, imageChart(t, nil)))
	named := "apiVersion: helm.cattle.io/v1\nkind: HelmChart\nmetadata: {name: NAME, namespace: ops}\nspec: {chart: \"oci://" + host + "/charts/in\", version: VERSION, set: {tag: \"8\"}}\n"
	manifest := func(version string) string {
		return strings.NewReplacer("NAME", "x", "VERSION", version).Replace(named)
	}
	entry := "  charts: [{name: in, chart: \"oci://" + host + "/charts/in\", version: VERSION}]\n  manifests: [o.yaml]\n"
	var notices []string
	o := options()
	o.Notice = func(text string) { notices = append(notices, text) }
	spec := load(t, write(t, map[string]string{"o.yaml": manifest("1.0.0")}), strings.Replace(entry, "VERSION", "1.0.0", 1))
	got := told(must(FindImages(context.Background(), spec, o))(t))
	if want := "r.io/in:8 manifest: HelmChart ops/x (o.yaml): Pod p-ops, container c (templates/pod.yaml)\n"; !strings.Contains(got, want) {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	if len(notices) != 1 || !strings.Contains(notices[0], "takes its chart from oci://"+host+"/charts/in:1.0.0, at the site too") {
		t.Errorf("told %q", notices)
	}

	again := strings.NewReplacer("NAME", "{{ .Release.Name }}-a", "VERSION", "2.0.0").Replace(named)
	push(t, host+"/charts/in:2.0.0", chartImage(t, imageChart(t, map[string]string{"again.yaml": again})))
	spec = load(t, write(t, map[string]string{"o.yaml": manifest("2.0.0")}), strings.Replace(entry, "VERSION", "2.0.0", 1))
	if _, err := FindImages(context.Background(), spec, options()); err == nil || !strings.Contains(err.Error(), "it is in the charts of 8 HelmCharts, one in the other") {
		t.Errorf("a chart that makes itself: %v", err)
	}
}

func TestBadHelmCharts(t *testing.T) {
	for _, test := range []struct{ name, objects, want string }{
		{"content that is not base64", strings.Replace(helmChart(nil, ""), "chartContent: ", "chartContent: '%'", 1), "HelmChart ops/x (o.yaml): spec.chartContent: illegal base64"},
		{"content that is no chart", helmChart([]byte("x"), ""), "HelmChart ops/x (o.yaml): not a Helm chart"},
		{"values that are none", helmChart(imageChart(t, nil), "  valuesContent: \"[\"\n"), "HelmChart ops/x (o.yaml): spec.valuesContent: "},
		{"a field of another type", helmChart(imageChart(t, nil), "  set: [1]\n"), "HelmChart ops/x (o.yaml): json: cannot unmarshal"},
		{"a chart that does not render", helmChart(imageChart(t, map[string]string{"f.yaml": `{{ fail "say so" }}`}), ""), "HelmChart ops/x (o.yaml): does not render: "},
	} {
		t.Run(test.name, func(t *testing.T) {
			spec := load(t, write(t, map[string]string{"o.yaml": test.objects}), "  manifests: [o.yaml]\n")
			if _, err := FindImages(context.Background(), spec, options()); err == nil || !strings.Contains(err.Error(), test.want) || strings.Count(err.Error(), "HelmChart ops/x") != 1 {
				t.Errorf("got %v\nwant %s", err, test.want)
			}
		})
	}
}
