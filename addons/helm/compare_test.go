package helm

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/yaml"

	"airgap/internal/helmchart"
)

func parse(t *testing.T, text string) *unstructured.Unstructured {
	t.Helper()
	objects, err := objectsOf(text)
	if err != nil || len(objects) != 1 {
		t.Fatalf("%d objects, error %v", len(objects), err)
	}
	return objects[0]
}

func TestObjectsOfAManifest(t *testing.T) {
	objects, err := objectsOf("---\n# Source: a\n---\n# Source: b\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: b}\n---\n" +
		"apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: ConfigMap, metadata: {name: c}}\n- {apiVersion: v1, kind: Secret, metadata: {name: d}}\n")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, object := range objects {
		names = append(names, object.GetKind()+" "+object.GetName())
	}
	if want := []string{"ConfigMap b", "ConfigMap c", "Secret d"}; !slices.Equal(names, want) {
		t.Errorf("got %q, want %q", names, want)
	}
}

func TestThreeWayPatchIsAboutWhatTheReleaseSays(t *testing.T) {
	const wanted = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: d, namespace: ns}
spec:
  replicas: 2
  template: {spec: {containers: [{name: c, image: one}]}}
`
	mapping := &meta.RESTMapping{GroupVersionKind: appsv1.SchemeGroupVersion.WithKind("Deployment")}
	for name, test := range map[string]struct {
		live string
		want string // the patch; "{}" for none
	}{
		"as it says, with defaults and additions": {`
apiVersion: apps/v1
kind: Deployment
metadata: {name: d, namespace: ns, labels: {added: x}, uid: u}
spec:
  replicas: 2
  revisionHistoryLimit: 10
  template: {spec: {dnsPolicy: ClusterFirst, containers: [{name: c, image: one, imagePullPolicy: Always}]}}
status: {replicas: 2}
`, "{}"},
		"scaled": {strings.Replace(wanted, "replicas: 2", "replicas: 5", 1), `{"spec":{"replicas":2}}`},
		"another image": {
			strings.Replace(wanted, "image: one", "image: two", 1),
			`{"spec":{"template":{"spec":{"$setElementOrder/containers":[{"name":"c"}],"containers":[{"image":"one","name":"c"}]}}}}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			patch, _, err := threeWayPatch(parse(t, wanted), parse(t, test.live), mapping)
			if err != nil || string(patch) != test.want {
				t.Errorf("got %s, error %v; want %s", patch, err, test.want)
			}
		})
	}
}

func TestDifferingFieldsNameNoValues(t *testing.T) {
	before := `{"metadata":{"generation":1,"resourceVersion":"1","managedFields":[{"time":"a"}],"labels":{"a":"x"}},"status":{"a":1},
		"spec":{"list":[{"name":"c","image":"old","env":[1,2]}],"gone":"old","same":1}}`
	after := `{"metadata":{"generation":2,"resourceVersion":"2","managedFields":[{"time":"b"}],"labels":{"a":"y"}},"status":{"a":2},
		"spec":{"list":[{"name":"c","image":"new","env":[1,3]}],"same":1,"new":{"a":1}}}`
	var a, b map[string]any
	if err := yaml.Unmarshal([]byte(before), &a); err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal([]byte(after), &b); err != nil {
		t.Fatal(err)
	}
	want := []string{"metadata.labels.a", "spec.gone", "spec.list[c].env[1]", "spec.list[c].image", "spec.new"}
	if got := differingFields(a, b); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	d := difference{object: "Thing n/a", fields: want}
	if got := d.String(); got != "Thing n/a differs in metadata.labels.a, spec.gone, spec.list[c].env[1], 2 more" {
		t.Errorf("message %q", got)
	}
}

func TestCABundlesAreLeftToInjectors(t *testing.T) {
	object := parse(t, `{apiVersion: v1, kind: K, metadata: {name: a}, webhooks: [{clientConfig: {caBundle: Cg==, service: {name: s}}}], spec: {caBundle: ""}}`)
	dropCABundles(object.Object)
	content, err := json.Marshal(object.Object)
	if err != nil || strings.Contains(string(content), "caBundle") || !strings.Contains(string(content), `"service"`) {
		t.Errorf("left %s, error %v", content, err)
	}
}

func TestLooksAreSpread(t *testing.T) {
	const interval = 10 * time.Minute
	now := time.Now()
	var l looks
	if first := l.schedule(now, 1, helmchart.DriftRestore, interval); first < 30*time.Second || first > time.Minute {
		t.Errorf("the first look comes after %v", first)
	}
	if again := l.schedule(now.Add(10*time.Second), 1, helmchart.DriftRestore, interval); again > 50*time.Second {
		t.Errorf("asked again, the look moved to %v", again)
	}
	if wait := l.schedule(now, 1, helmchart.DriftCorrect, interval); wait != 0 {
		t.Errorf("another mode waits %v", wait)
	}
	if wait := l.done(now, interval); wait < 9*time.Minute || wait > 11*time.Minute {
		t.Errorf("the second look comes after %v", wait)
	}
	if wait := l.schedule(now, 2, helmchart.DriftCorrect, interval); wait > time.Minute {
		t.Errorf("an upgrade is looked at after %v", wait)
	}
}

func TestRefusalQuotesNoValues(t *testing.T) {
	path := field.NewPath("spec", "selector")
	err := apierrors.NewInvalid(appsv1.SchemeGroupVersion.WithKind("Deployment").GroupKind(), "d", field.ErrorList{
		field.Invalid(path, "hidden", "field is immutable"), field.Invalid(path, "hidden", "wrong, too"), field.Required(field.NewPath("spec", "template"), ""),
	})
	if got, want := refusal(err), "the API server refuses spec.selector, spec.template"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	forbidden := apierrors.NewForbidden(appsv1.Resource("deployments"), "d", errors.New("quota is used up"))
	if got := refusal(forbidden); !strings.Contains(got, "quota is used up") {
		t.Errorf("got %q", got)
	}
}
