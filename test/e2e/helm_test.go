package e2e

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"airgap/test/site"
)

// A badChart is a HelmChart that cannot become a release, what is said about it, and what mends it.
type badChart struct {
	name, namespace string
	spec            string // YAML, after chartContent
	template        string // of its chart; "" for no chart
	want            []string
}

const goodTemplate = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: '{{ .Release.Name }}'}\ndata: {from: '{{ .Values.from }}'}\n"

func badCharts(busybox string) []badChart {
	return []badChart{
		{name: "bad-values", spec: `valuesContent: "a: ["`, template: goodTemplate, want: []string{"InvalidChart", "spec.valuesContent"}},
		{name: "bad-chart", spec: `chart: nowhere`, want: []string{"InvalidChart", `spec.chart "nowhere"`}},
		{name: "bad-repository", spec: "chart: a\n  repo: https://charts.nowhere.test", want: []string{"InstallFailed", "charts.nowhere.test", "next attempt in"}},
		{name: "bad-template", template: `{{ fail "the site has no name" }}`, want: []string{"InstallFailed", "the site has no name"}},
		{name: "bad-kind", template: "apiVersion: nowhere.test/v1\nkind: Ship\nmetadata: {name: s}\n", want: []string{"InstallFailed", `no matches for kind "Ship"`}},
		{name: "bad-object", template: "apiVersion: v1\nkind: Service\nmetadata: {name: s}\nspec: {type: Nonsense}\n", want: []string{"InstallFailed", "Nonsense"}},
		{
			name: "bad-hook", template: "apiVersion: batch/v1\nkind: Job\nmetadata: {name: h, annotations: {helm.sh/hook: pre-install}}\nspec:\n  backoffLimit: 0\n" +
				"  template: {spec: {restartPolicy: Never, containers: [{name: h, image: '" + busybox + "', command: ['false']}]}}\n",
			want: []string{"InstallFailed", "failed pre-install"},
		},
		{ // a second HelmChart for the release podinfo in demo
			name: "podinfo", namespace: "demo", template: goodTemplate,
			want: []string{"InvalidChart", "belongs to HelmChart kube-system/podinfo"},
		},
	}
}

// manifest is the YAML of the HelmChart.
func (c badChart) manifest(t *testing.T, spec, template string) string {
	t.Helper()
	namespace := c.namespace
	if namespace == "" {
		namespace = "default"
	}
	text := fmt.Sprintf("---\napiVersion: helm.cattle.io/v1\nkind: HelmChart\nmetadata: {name: %s, namespace: %s}\nspec:\n", c.name, namespace)
	if template != "" {
		text += "  chartContent: " + base64.StdEncoding.EncodeToString(chartArchive(t, template)) + "\n"
	}
	if spec != "" {
		text += "  " + spec + "\n"
	}
	return text
}

// chartArchive makes the .tgz of a chart with one template.
func chartArchive(t *testing.T, template string) []byte {
	t.Helper()
	var out bytes.Buffer
	compressed := gzip.NewWriter(&out)
	archive := tar.NewWriter(compressed)
	for _, file := range [][2]string{{"Chart.yaml", "{apiVersion: v2, name: thing, version: 1.0.0}"}, {"values.yaml", "from: chart"}, {"templates/t.yaml", template}} {
		if err := archive.WriteHeader(&tar.Header{Name: "thing/" + file[0], Mode: 0o644, Size: int64(len(file[1]))}); err != nil {
			t.Fatal(err)
		}
		if _, err := archive.Write([]byte(file[1])); err != nil {
			t.Fatal(err)
		}
	}
	if err := archive.Close(); err != nil {
		t.Fatal(err)
	}
	if err := compressed.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// chartCondition is the reason and message of a HelmChart's condition, "" if it is not True.
func (s *node) chartCondition(namespace, name, condition string) string {
	out, err := s.Command("kubectl", "-n", namespace, "get", "helmchart", name, "-o",
		`jsonpath={range .status.conditions[?(@.type=="`+condition+`")]}{.status} {.reason} {.message}{end}`).Output()
	is, text, _ := strings.Cut(string(out), " ")
	if err != nil || is != "True" {
		return ""
	}
	return text
}

// wantCondition waits until a HelmChart's condition is True and tells of all fragments.
func (s *node) wantCondition(t *testing.T, namespace, name, condition string, fragments ...string) {
	t.Helper()
	site.Eventually(t, patience, func() error {
		got := s.chartCondition(namespace, name, condition)
		for _, fragment := range fragments {
			if !strings.Contains(got, fragment) {
				return fmt.Errorf("HelmChart %s/%s: condition %s does not tell of %q: %s", namespace, name, condition, fragment, got)
			}
		}
		return nil
	})
}

// wantStatus wants `airgap status` to tell of what is wrong.
func (s *node) wantStatus(t *testing.T, fragments ...string) {
	t.Helper()
	out, err := s.Command("status", "--data-dir", s.Paths.DataDir).CombinedOutput()
	if err == nil {
		t.Error("status says that all is well")
	}
	for _, fragment := range fragments {
		if !strings.Contains(string(out), fragment) {
			t.Errorf("status does not tell of %q:\n%s", fragment, out)
		}
	}
}

// testCharts gives the node charts and manifests that are bad in every way, and mends them; and changes what a
// release has made behind its back.
func testCharts(t *testing.T, s *node) {
	// What the ingress test has changed in Traefik's values goes with the HelmChartConfig.
	s.Kubectl("-n", "kube-system", "delete", "helmchartconfig", "traefik", "--ignore-not-found")
	charts := badCharts(busyboxImage(t))
	var all string
	for _, chart := range charts {
		all += chart.manifest(t, chart.spec, chart.template)
	}
	s.Apply(all)
	for _, chart := range charts {
		t.Run(chart.name+" is reported", func(t *testing.T) {
			namespace := strings.Fields(chart.namespace + " default")[0]
			s.wantCondition(t, namespace, chart.name, "Failed", chart.want...)
			site.Eventually(t, patience, func() error {
				return s.KubectlContains(chart.want[1], "-n", namespace, "events", "--for", "helmchart/"+chart.name, "--types=Warning")
			})
		})
	}
	if got := s.chartCondition("kube-system", "podinfo", "Ready"); !strings.HasPrefix(got, "Deployed") {
		t.Errorf("podinfo's own HelmChart is not Ready any more: %q", got)
	}
	s.wantStatus(t, "release bad-values", "release bad-hook")
	t.Run("mended charts become ready", func(t *testing.T) {
		all = ""
		for _, chart := range charts[:len(charts)-1] {
			all += chart.manifest(t, "valuesContent: 'from: values'", goodTemplate)
		}
		s.Apply(all)
		s.Kubectl("-n", "demo", "delete", "helmchart", "podinfo", "--timeout=60s")
		for _, chart := range charts[:len(charts)-1] {
			s.wantCondition(t, "default", chart.name, "Ready", "Deployed")
		}
		out := s.Kubectl("get", "configmaps", "-o", "jsonpath={range .items[*]}{.metadata.name}={.data.from} {end}")
		for _, chart := range charts[:len(charts)-1] {
			if !strings.Contains(out, chart.name+"=values") {
				t.Errorf("the release %s made no object: %s", chart.name, out)
			}
		}
		s.Kubectl("delete", "helmchart", "--all", "--timeout=60s")
	})
	t.Run("bad manifests", func(t *testing.T) { testBadManifests(t, s) })
	t.Run("drift", func(t *testing.T) { testDrift(t, s) })
	t.Run("a deleted HelmChartConfig is undone", func(t *testing.T) {
		site.Eventually(t, patience, func() error {
			if args := s.Kubectl("-n", "kube-system", "get", "deployment", "traefik", "-o", "jsonpath={.spec.template.spec.containers[0].args}"); strings.Contains(args, "--accesslog") {
				return fmt.Errorf("traefik still runs with %s", args)
			}
			return nil
		})
		s.wantCondition(t, "kube-system", "traefik", "Ready", "Deployed")
	})
}

func testBadManifests(t *testing.T, s *node) {
	folder := filepath.Join(s.Paths.DataDir, "server/manifests")
	write := func(name, content string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(folder, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	const good = "{apiVersion: v1, kind: ConfigMap, metadata: {name: NAME}, data: {v: '1'}}\n"
	write("bad-yaml.yaml", "kind: [\n")
	write("refused.yaml", strings.Replace(good, "NAME", "beside-refused", 1)+"---\n{apiVersion: v1, kind: Service, metadata: {name: refused}, spec: {type: Nonsense}}\n")
	for file, want := range map[string]string{"bad-yaml.yaml": "document at line 1", "refused.yaml": "Nonsense"} {
		site.Eventually(t, patience, func() error {
			return s.KubectlContains(file+": ", "events", "-A", "--for", "node/node-1", "--types=Warning")
		})
		site.Eventually(t, patience, func() error {
			return s.KubectlContains(want, "-n", "kube-system", "get", "configmap", "airgap-addon-"+file, "-o", "jsonpath={.data.state} {.data.message}")
		})
	}
	s.Kubectl("get", "configmap", "beside-refused")
	s.wantStatus(t, "add-on bad-yaml.yaml", "add-on refused.yaml")
	write("bad-yaml.yaml", strings.Replace(good, "NAME", "of-bad-yaml", 1))
	write("refused.yaml", strings.Replace(good, "NAME", "beside-refused", 1))
	for _, file := range []string{"bad-yaml.yaml", "refused.yaml"} {
		site.Eventually(t, patience, func() error {
			return s.KubectlContains("Applied", "-n", "kube-system", "get", "configmap", "airgap-addon-"+file, "-o", "jsonpath={.data.state}")
		})
		if err := os.Remove(filepath.Join(folder, file)); err != nil {
			t.Fatal(err)
		}
	}
	site.Eventually(t, patience, func() error {
		out := s.Kubectl("get", "configmap", "of-bad-yaml", "beside-refused", "--ignore-not-found", "-o", "name")
		if out != "" {
			return fmt.Errorf("the files are gone, and their objects are not: %s", out)
		}
		return nil
	})
}

// testDrift deletes and changes objects of the release podinfo.
func testDrift(t *testing.T, s *node) {
	look := func(mode string) {
		s.Kubectl("-n", "kube-system", "annotate", "--overwrite", "helmchart", "podinfo", "airgap.internal/drift="+mode)
	}
	s.Kubectl("-n", "demo", "delete", "service", "podinfo")
	s.Kubectl("-n", "demo", "patch", "deployment", "podinfo", "--type=json", "-p", `[{"op":"replace","path":"/spec/template/spec/containers/0/imagePullPolicy","value":"Never"}]`)
	look("restore")
	s.wantCondition(t, "kube-system", "podinfo", "Drifted", "Deployment demo/podinfo differs in spec.template.spec.containers[podinfo].imagePullPolicy")
	s.Kubectl("-n", "demo", "get", "service", "podinfo")
	look("correct")
	site.Eventually(t, patience, func() error {
		return s.KubectlContains("IfNotPresent", "-n", "demo", "get", "deployment", "podinfo", "-o", "jsonpath={.spec.template.spec.containers[0].imagePullPolicy}")
	})
	site.Eventually(t, patience, func() error {
		return s.KubectlContains("DriftCorrected", "-n", "kube-system", "events", "--for", "helmchart/podinfo")
	})
	s.Kubectl("-n", "kube-system", "annotate", "helmchart", "podinfo", "airgap.internal/drift-")
	s.Kubectl("-n", "demo", "rollout", "status", "deployment/podinfo", "--timeout=120s")
}
