package source

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"

	"helm.sh/helm/v3/pkg/action"
	"helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/release"
)

// renderingChart has one of each thing that rendering treats in a way of its own.
var renderingChart = map[string]string{
	"c/Chart.yaml": "apiVersion: v2\nname: c\nversion: 1.2.3\nappVersion: v9\nkubeVersion: '>=1.30.0-0'\ndependencies:\n" +
		"  - {name: on, version: 1.0.0, condition: on.enabled, import-values: [shared]}\n  - {name: off, version: 1.0.0, condition: off.enabled}\n" +
		"  - {name: on, version: 1.0.0, alias: twin}\n  - {name: lib, version: 1.0.0}\n",
	"c/values.yaml":                 "image: x\non: {enabled: true}\noff: {enabled: true}\nglobal: {suffix: s}\n",
	"c/values.schema.json":          `{"type": "object", "properties": {"image": {"type": "string"}}}`,
	"c/crds/kind.yaml":              "kind: CustomResourceDefinition\nmetadata: {name: k}\n",
	"c/templates/_helpers.tpl":      `{{ define "c.name" }}{{ .Release.Name }}-{{ .Chart.AppVersion }}{{ end }}`,
	"c/templates/NOTES.txt":         "hello {{ .Release.Name }}",
	"c/templates/z-service.yaml":    "kind: Service\nmetadata: {name: {{ include \"c.name\" . }}, namespace: {{ .Release.Namespace }}}\n---\nkind: Namespace\nmetadata: {name: n}\n",
	"c/templates/a-deploy.yaml":     "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: d, labels: {v: {{ .Capabilities.KubeVersion.Version }}, r: \"{{ .Release.Revision }}{{ .Release.IsInstall }}{{ .Release.IsUpgrade }}\"}}\nspec: {image: {{ .Values.image }}, imported: {{ .Values.imported }}}\n",
	"c/templates/empty.yaml":        "{{ if false }}kind: Pod{{ end }}\n",
	"c/templates/asks.yaml":         "{{ if .Capabilities.APIVersions.Has \"x.example/v1\" }}kind: Monitor\nmetadata: {name: m}\n{{ end }}",
	"c/templates/looks.yaml":        "kind: ConfigMap\nmetadata: {name: l}\ndata: {found: \"{{ len (lookup \"v1\" \"Secret\" \"\" \"\") }}\"}\n",
	"c/templates/job.yaml":          "kind: Job\nmetadata: {name: j, annotations: {helm.sh/hook: \"pre-install,post-upgrade\", helm.sh/hook-weight: \"5\"}}\n",
	"c/templates/tests/t.yaml":      "kind: Pod\nmetadata: {name: t, annotations: {helm.sh/hook: test}}\n",
	"c/charts/on/Chart.yaml":        "apiVersion: v2\nname: on\nversion: 1.0.0\n",
	"c/charts/on/values.yaml":       "size: 1\nexports: {shared: {imported: yes-it-is}}\n",
	"c/charts/on/crds/k.yaml":       "kind: CustomResourceDefinition\nmetadata: {name: on}\n",
	"c/charts/on/templates/p.yaml":  "kind: Pod\nmetadata: {name: on-{{ .Values.size }}-{{ .Values.global.suffix }}-{{ .Chart.Name }}}\n",
	"c/charts/off/Chart.yaml":       "apiVersion: v2\nname: off\nversion: 1.0.0\n",
	"c/charts/off/templates/p.yaml": "kind: Pod\nmetadata: {name: off}\n",
	"c/charts/lib/Chart.yaml":       "apiVersion: v2\nname: lib\nversion: 1.0.0\ntype: library\n",
	"c/charts/lib/templates/_l.tpl": `{{ define "lib" }}lib{{ end }}`,
}

// TestRenderAsHelm compares with Helm's own dry run on the client, which is what `helm template` does.
func TestRenderAsHelm(t *testing.T) {
	folder := filepath.Join(write(t, renderingChart), "c")
	tests := map[string]struct {
		settings map[string]any
		on       cluster
	}{
		"as it is":              {nil, cluster{"r", "ns", "v1.37.1", nil}},
		"values":                {map[string]any{"image": "y", "off": map[string]any{"enabled": false}, "twin": map[string]any{"size": 2}}, cluster{"r", "ns", "v1.37.1", nil}},
		"an API version":        {nil, cluster{"r", "ns", "v1.37.1", []string{"x.example/v1"}}},
		"an older Kubernetes":   {nil, cluster{"r", "ns", "v1.20.0", nil}},
		"against the schema":    {map[string]any{"image": 5}, cluster{"r", "ns", "v1.37.1", nil}},
		"a name too long":       {nil, cluster{strings.Repeat("r", 60), "ns", "v1.37.1", nil}},
		"a name of other signs": {nil, cluster{"R_r", "ns", "v1.37.1", nil}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			wantManifest, wantHooks, wantErr := renderWithHelm(t, loadFolder(t, folder), chartutil.CoalesceTables(map[string]any{}, test.settings), test.on)
			manifest, hooks, err := renderChart(loadFolder(t, folder), chartutil.CoalesceTables(map[string]any{}, test.settings), test.on)
			if (err == nil) != (wantErr == nil) || err != nil && !strings.Contains(err.Error(), wantErr.Error()) {
				t.Fatalf("got %v, Helm says %v", err, wantErr)
			}
			if !bytes.Equal(manifest, wantManifest) {
				t.Errorf("got\n%s\nHelm renders\n%s", manifest, wantManifest)
			}
			if got, want := hookText(hooks), hookText(wantHooks); got != want {
				t.Errorf("hooks\n%s\nHelm's\n%s", got, want)
			}
			if err == nil && len(hooks) == 0 {
				t.Error("no hooks: the test shows less than it should")
			}
		})
	}
}

func loadFolder(t *testing.T, folder string) *chart.Chart {
	t.Helper()
	c, err := loader.LoadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func renderWithHelm(t *testing.T, c *chart.Chart, settings map[string]any, on cluster) ([]byte, []*release.Hook, error) {
	t.Helper()
	version, err := chartutil.ParseKubeVersion(on.kubernetes)
	if err != nil {
		t.Fatal(err)
	}
	install := action.NewInstall(&action.Configuration{Log: func(string, ...any) {}})
	install.DryRun, install.ClientOnly, install.IncludeCRDs = true, true, true
	install.ReleaseName, install.Namespace = on.release, on.namespace
	install.KubeVersion, install.APIVersions = version, on.apiVersions
	rendered, err := install.Run(c, settings)
	if err != nil {
		return nil, nil, err
	}
	return []byte(rendered.Manifest), rendered.Hooks, nil
}

func hookText(hooks []*release.Hook) string {
	var text strings.Builder
	for _, h := range hooks {
		text.WriteString(h.Path + " " + h.Kind + "\n" + h.Manifest + "\n")
		for _, event := range h.Events {
			text.WriteString(string(event) + "\n")
		}
	}
	return text.String()
}
