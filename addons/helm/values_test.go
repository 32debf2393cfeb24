package helm

import (
	"context"
	"reflect"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes/fake"
	"sigs.k8s.io/yaml"

	"airgap/internal/helmchart"
)

func TestValuesAreMergedInOrder(t *testing.T) {
	client := fake.NewClientset(&corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: "s"},
		Data:       map[string][]byte{"b": []byte("from: secret b\nb: 1"), "a": []byte("from: secret a\na: 1"), "c": []byte("c: 1")},
	})
	chart := &helmchart.Chart{ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: "x"}, Spec: helmchart.Spec{
		ValuesContent: "from: content\nkeep: 1\ntree: content\ntable: {a: 1, b: {c: 2}}\nlist: [1, 2]\ngone: 1\n",
		Values:        map[string]any{"from": "tree", "tree": "tree", "table": map[string]any{"t": int64(1)}},
		ValuesSecrets: []helmchart.ValuesSecret{{Name: "s", Keys: []string{"a", "b"}}, {Name: "not there", IgnoreUpdates: true}},
		Set: map[string]intstr.IntOrString{
			"table.b.d": intstr.FromInt32(7), "text": intstr.FromString("7"), "truth": intstr.FromString("true"),
			"commas": intstr.FromString("a,b"), "dots\\.in\\.key": intstr.FromString("x"), "from": intstr.FromString("set"),
		},
	}}
	config := &helmchart.Config{Spec: helmchart.ConfigSpec{ValuesContent: "from: config\ntable: {b: {c: 3}}\nlist: [3]\ngone: null\n", Values: map[string]any{"over": "config"}}}
	secrets := (&Controller{typed: client}).secretData(context.Background())
	layers, err := chart.Layers(config, secrets)
	if err != nil {
		t.Fatal(err)
	}
	got, err := helmchart.Merge(layers, chart.Spec.Set)
	if err != nil {
		t.Fatal(err)
	}
	var want map[string]any
	if err := yaml.Unmarshal([]byte(`
from: set
keep: 1
a: 1
b: 1
tree: tree
over: config
table: {a: 1, b: {c: 3, d: 7}, t: 1}
list: [3]
gone: null
text: "7"
truth: true
commas: a,b
dots.in.key: x
`), &want); err != nil {
		t.Fatal(err)
	}
	// Numbers of settings are int64, those of YAML float64.
	gotYAML, _ := yaml.Marshal(got)
	wantYAML, _ := yaml.Marshal(want)
	if string(gotYAML) != string(wantYAML) {
		t.Errorf("got\n%s\nwant\n%s", gotYAML, wantYAML)
	}

	if table := chart.Spec.Values["table"].(map[string]any); len(table) != 1 {
		t.Errorf("the HelmChart's own tree was changed: %v", table)
	}
	chart.Spec.Set, chart.Spec.ValuesSecrets = nil, nil
	if layers, err = chart.Layers(config, secrets); err != nil {
		t.Fatal(err)
	}
	if got, err = helmchart.Merge(layers, nil); err != nil || got["from"] != "config" {
		t.Errorf("a HelmChartConfig is above a HelmChart's values: %v, error %v", got["from"], err)
	}
}

func TestBadValuesSayWhere(t *testing.T) {
	chart := func(spec helmchart.Spec) *helmchart.Chart {
		return &helmchart.Chart{ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "x"}, Spec: spec}
	}
	client := fake.NewClientset(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "s"}, Data: map[string][]byte{"k": []byte("- a")}})
	for name, test := range map[string]struct {
		chart   *helmchart.Chart
		config  *helmchart.Config
		want    string
		invalid bool
	}{
		"content":        {chart(helmchart.Spec{ValuesContent: "a: ["}), nil, "spec.valuesContent:", true},
		"config":         {chart(helmchart.Spec{}), &helmchart.Config{Spec: helmchart.ConfigSpec{ValuesContent: "- a"}}, "HelmChartConfig", true},
		"secret missing": {chart(helmchart.Spec{ValuesSecrets: []helmchart.ValuesSecret{{Name: "t"}}}), nil, `"t" not found`, false},
		"key missing":    {chart(helmchart.Spec{ValuesSecrets: []helmchart.ValuesSecret{{Name: "s", Keys: []string{"z"}}}}), nil, `no key "z"`, false},
		"secret's value": {chart(helmchart.Spec{ValuesSecrets: []helmchart.ValuesSecret{{Name: "s"}}}), nil, "Secret n/s, key k", true},
		"set":            {chart(helmchart.Spec{Set: map[string]intstr.IntOrString{"a[b": intstr.FromInt32(1)}}), nil, "spec.set: a[b", true},
	} {
		t.Run(name, func(t *testing.T) {
			c := &Controller{typed: client}
			_, err := c.gather(context.Background(), test.chart, test.config)
			if err == nil || !strings.Contains(err.Error(), test.want) || isInvalid(err) != test.invalid {
				t.Errorf("error %v (only a change helps: %v); want one with %q (%v)", err, isInvalid(err), test.want, test.invalid)
			}
		})
	}
}

func TestHashChangesWithWhatMakesTheRelease(t *testing.T) {
	base := func() *helmchart.Chart {
		return &helmchart.Chart{ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "x"}, Spec: helmchart.Spec{ChartContent: "AAAA"}}
	}
	hash := func(chart *helmchart.Chart, values map[string]any) string {
		h, err := hashOf(chart, values)
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	want := hash(base(), map[string]any{"a": 1})
	slimmed := base()
	slimmed.Spec.ChartContent = contentDigest(slimmed.Spec.ChartContent)
	timeout := base()
	timeout.Spec.Timeout, timeout.Spec.FailurePolicy = &metav1.Duration{Duration: 1}, helmchart.Abort
	for name, same := range map[string]*helmchart.Chart{"content left out": slimmed, "timeout and policy": timeout} {
		if hash(same, map[string]any{"a": 1}) != want {
			t.Errorf("%s: another hash", name)
		}
	}
	content := base()
	content.Spec.ChartContent = "AAAB"
	target := base()
	target.Spec.TargetNamespace = "m"
	version := base()
	version.Spec.Version = "2"
	for name, other := range map[string]string{
		"values": hash(base(), map[string]any{"a": 2}), "content": hash(content, map[string]any{"a": 1}),
		"target": hash(target, map[string]any{"a": 1}), "version": hash(version, map[string]any{"a": 1}),
	} {
		if other == want {
			t.Errorf("%s: the same hash", name)
		}
	}
}

func TestDefinitionsCoverTheTypes(t *testing.T) {
	objects, err := definitions()
	if err != nil || len(objects) != 2 {
		t.Fatalf("%d definitions, error %v", len(objects), err)
	}
	for _, object := range objects {
		content, err := yaml.Marshal(object.Object)
		if err != nil {
			t.Fatal(err)
		}
		if err := yaml.UnmarshalStrict(content, &apiextensionsv1.CustomResourceDefinition{}); err != nil {
			t.Errorf("%s: %v", object.GetName(), err)
		}
	}
	properties := func(path ...string) map[string]any {
		var at any = objects[1].Object // helmcharts.yaml
		at = at.(map[string]any)["spec"].(map[string]any)["versions"].([]any)[0].(map[string]any)["schema"].(map[string]any)["openAPIV3Schema"]
		for _, step := range path {
			at = at.(map[string]any)["properties"].(map[string]any)[step]
		}
		return at.(map[string]any)["properties"].(map[string]any)
	}
	for part, kind := range map[string]reflect.Type{"spec": reflect.TypeFor[helmchart.Spec](), "status": reflect.TypeFor[helmchart.Status]()} {
		known := properties(part)
		for i := range kind.NumField() {
			name, _, _ := strings.Cut(kind.Field(i).Tag.Get("json"), ",")
			if known[name] == nil {
				t.Errorf("the schema has no %s.%s: the API server would drop it", part, name)
			}
		}
	}
}
