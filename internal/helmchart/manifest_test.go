package helmchart_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"airgap/internal/helmchart"
)

func TestManifestIsReadBackAsWritten(t *testing.T) {
	options := helmchart.Options{
		Name: "podinfo", TargetNamespace: "demo", CreateNamespace: true,
		ChartContent: []byte{0x1f, 0x8b, 0}, Values: []byte("replicaCount: 2\nui: {message: \"a: b\"}\n"),
		Timeout: 90 * time.Second, FailurePolicy: helmchart.Abort,
	}
	first, err := helmchart.Manifest(options)
	if err != nil {
		t.Fatal(err)
	}
	second, err := helmchart.Manifest(options)
	if err != nil || !bytes.Equal(first, second) {
		t.Errorf("not deterministic: %v\n%s\n%s", err, first, second)
	}
	var object map[string]any
	if err := yaml.UnmarshalStrict(first, &object); err != nil {
		t.Fatal(err)
	}
	chart, err := helmchart.ChartFromObject(&unstructured.Unstructured{Object: object})
	if err != nil {
		t.Fatal(err)
	}
	if chart.Namespace != "kube-system" || chart.Kind != "HelmChart" || chart.APIVersion != "helm.cattle.io/v1" {
		t.Errorf("%s %s in namespace %s", chart.APIVersion, chart.Kind, chart.Namespace)
	}
	if namespace, name := chart.Release(); namespace != "demo" || name != "podinfo" {
		t.Errorf("release %s in %s", name, namespace)
	}
	spec := chart.Spec
	if spec.ChartContent != "H4sA" || spec.ValuesContent != string(options.Values) || !spec.CreateNamespace ||
		spec.Timeout.Duration != options.Timeout || spec.FailurePolicy != helmchart.Abort {
		t.Errorf("spec: %+v", spec)
	}
	if bytes.Contains(first, []byte("status")) || bytes.Contains(first, []byte("creationTimestamp")) {
		t.Errorf("states what is the server's to state:\n%s", first)
	}
}

func TestManifestRefuses(t *testing.T) {
	good := helmchart.Options{Name: "a", ChartContent: []byte{1}}
	for name, test := range map[string]struct {
		change func(*helmchart.Options)
		want   string
	}{
		"no name":          {func(o *helmchart.Options) { o.Name = "" }, "not a release name"},
		"upper case":       {func(o *helmchart.Options) { o.Name = "A" }, "not a release name"},
		"long name":        {func(o *helmchart.Options) { o.Name = strings.Repeat("a", 54) }, "54 bytes"},
		"target namespace": {func(o *helmchart.Options) { o.TargetNamespace = "a/b" }, `namespace "a/b"`},
		"no chart":         {func(o *helmchart.Options) { o.ChartContent = nil }, "no chart content"},
		"large chart":      {func(o *helmchart.Options) { o.ChartContent = make([]byte, 1<<20+1) }, "1048577 bytes"},
		"values a list":    {func(o *helmchart.Options) { o.Values = []byte("- a") }, "values"},
		"values no YAML":   {func(o *helmchart.Options) { o.Values = []byte("a: [") }, "values"},
		"failure policy":   {func(o *helmchart.Options) { o.FailurePolicy = "hope" }, `failurePolicy "hope"`},
	} {
		t.Run(name, func(t *testing.T) {
			options := good
			test.change(&options)
			if _, err := helmchart.Manifest(options); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want one with %q", err, test.want)
			}
		})
	}
	if _, err := helmchart.Manifest(good); err != nil {
		t.Error(err)
	}
}
