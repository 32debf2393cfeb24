package helm

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"airgap/internal/helmchart"
)

// driftTemplates are objects of which the API server gives back something else than what it was given, and some that
// others may change or delete.
var driftTemplates = map[string]string{
	"plain.yaml": configMapTemplate,
	"spelling.yaml": `apiVersion: apps/v1
kind: Deployment
metadata: {name: spelling, annotations: null}
spec:
  replicas: 0
  selector: {matchLabels: {app: spelling}}
  template:
    metadata: {labels: {app: spelling}}
    spec:
      nodeSelector: {}
      containers:
      - name: c
        image: never
        resources: {limits: {cpu: 1000m, memory: 1024Mi}, requests: {cpu: 0.5}}
        ports: [{containerPort: 53, protocol: UDP}, {containerPort: 53, protocol: TCP}]
        env: [{name: A, value: a}, {name: B, value: null}]
---
apiVersion: v1
kind: Secret
metadata: {name: spelling}
stringData: {password: hidden}
---
apiVersion: v1
kind: Service
metadata: {name: spelling}
spec: {clusterIP: "", selector: {app: spelling}, ports: [{port: 80}]}
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: "spellings.{{ .Release.Namespace }}.example.org"}
spec:
  group: "{{ .Release.Namespace }}.example.org"
  names: {kind: Spelling, plural: spellings}
  scope: Namespaced
  versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}]
---
apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: ConfigMap, metadata: {name: listed}, data: {v: "1"}}
`,
	"exempt.yaml": `apiVersion: v1
kind: ConfigMap
metadata: {name: kept, annotations: {helm.sh/resource-policy: keep}}
data: {v: "1"}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: free, annotations: {airgap.internal/drift: ignore}}
data: {v: "1"}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: hook, annotations: {helm.sh/hook: post-install}}
data: {v: "1"}
---
apiVersion: batch/v1
kind: Job
metadata: {name: once}
spec: {suspend: true, template: {spec: {restartPolicy: Never, containers: [{name: c, image: never}]}}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: scaled}
spec:
  replicas: 0
  selector: {matchLabels: {app: scaled}}
  template: {metadata: {labels: {app: scaled}}, spec: {containers: [{name: c, image: never}]}}
`,
}

// drifted installs a chart of driftTemplates and waits until it was looked at and found as it should be.
func drifted(t *testing.T, mode string) *site {
	s := newSite(t)
	s.apply(helmchart.Options{
		Name: "drift", ChartContent: archive(t, "1.0.0", driftTemplates),
		Annotations: map[string]string{helmchart.DriftAnnotation: mode},
	})
	s.waitReady("drift")
	s.waitFor("a look that finds nothing", func() bool { return s.drift().Status == metav1.ConditionFalse })
	return s
}

func (s *site) drift() metav1.Condition {
	s.Helper()
	if c := meta.FindStatusCondition(s.chart("drift").Status.Conditions, helmchart.Drifted); c != nil {
		return *c
	}
	return metav1.Condition{}
}

func (s *site) waitDrift(fragments ...string) {
	s.Helper()
	s.waitFor("drift of "+strings.Join(fragments, " and "), func() bool {
		c := s.drift()
		return c.Status == metav1.ConditionTrue && !slices.ContainsFunc(fragments, func(f string) bool { return !strings.Contains(c.Message, f) })
	})
	if strings.Contains(s.drift().Message, "hidden") {
		s.Errorf("a value is told: %s", s.drift().Message)
	}
}

func (s *site) change(name, value string) {
	s.Helper()
	patch := `{"data":{"message":"` + value + `","v":"` + value + `"}}`
	if _, err := s.typed.CoreV1().ConfigMaps(s.namespace).Patch(context.Background(), name, types.MergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
		s.Fatal(err)
	}
}

func (s *site) delete(name string) {
	s.Helper()
	if err := s.typed.CoreV1().ConfigMaps(s.namespace).Delete(context.Background(), name, metav1.DeleteOptions{}); err != nil {
		s.Fatal(err)
	}
}

func TestWhatIsNoDrift(t *testing.T) {
	s := drifted(t, helmchart.DriftWarn)
	ctx := context.Background()
	began := time.Now()
	if found, err := s.controller.compareRelease(ctx, &session{status: s.chart("drift").Status}, &inputs{name: "drift", target: s.namespace}); err != nil || len(found) > 0 {
		t.Errorf("found %v, error %v", found, err)
	}
	t.Logf("a look at this release took %v", time.Since(began).Round(time.Millisecond))
	s.change("kept", "2")
	s.delete("free")
	s.delete("hook")
	background := metav1.DeletePropagationBackground
	if err := s.typed.BatchV1().Jobs(s.namespace).Delete(ctx, "once", metav1.DeleteOptions{PropagationPolicy: &background}); err != nil {
		t.Fatal(err)
	}
	added := `{"metadata":{"labels":{"added":"x"}},"spec":{"template":{"metadata":{"annotations":{"kubectl.kubernetes.io/restartedAt":"now"}}}}}`
	if _, err := s.typed.AppsV1().Deployments(s.namespace).Patch(ctx, "spelling", types.MergePatchType, []byte(added), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	autoscaler := &autoscalingv2.HorizontalPodAutoscaler{
		ObjectMeta: metav1.ObjectMeta{Name: "scaled"},
		Spec: autoscalingv2.HorizontalPodAutoscalerSpec{
			ScaleTargetRef: autoscalingv2.CrossVersionObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Name: "scaled"}, MaxReplicas: 3,
		},
	}
	if _, err := s.typed.AutoscalingV2().HorizontalPodAutoscalers(s.namespace).Create(ctx, autoscaler, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.typed.AppsV1().Deployments(s.namespace).Patch(ctx, "scaled", types.MergePatchType, []byte(`{"spec":{"replicas":2}}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	time.Sleep(4 * driftInterval)
	if c := s.drift(); c.Status != metav1.ConditionFalse {
		t.Errorf("a false alarm: %s", c.Message)
	}
	// The looks go on: this one is real.
	s.change("drift", "x")
	s.waitDrift("ConfigMap " + s.namespace + "/drift differs in data.message")
	if message := s.drift().Message; strings.Contains(message, ";") {
		t.Errorf("more than one: %s", message)
	}
}

func TestDriftIsCorrectedAsFarAsItIsToBe(t *testing.T) {
	s := drifted(t, helmchart.DriftRestore)
	s.delete("listed")
	s.waitFor("what was deleted", func() bool { return s.data("listed")["v"] == "1" })
	s.change("drift", "changed")
	s.waitDrift("drift differs in data.message")
	if got := s.data("drift")["message"]; got != "changed" {
		t.Errorf("restore took a change back: %q", got)
	}

	setDrift := func(mode string) {
		t.Helper()
		patch := `{"metadata":{"annotations":{"` + helmchart.DriftAnnotation + `":"` + mode + `"}}}`
		if _, err := s.charts.Patch(context.Background(), "drift", types.MergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	setDrift(helmchart.DriftCorrect)
	s.waitFor("the change to be taken back", func() bool { return s.data("drift")["message"] == "default" })
	s.waitFor("no drift", func() bool { return s.drift().Status == metav1.ConditionFalse })

	setDrift(helmchart.DriftWarn)
	s.delete("listed")
	s.waitDrift("ConfigMap " + s.namespace + "/listed was deleted")
	setDrift("nonsense")
	s.waitFor("a complaint", func() bool {
		c := s.drift()
		return c.Status == metav1.ConditionUnknown && strings.Contains(c.Message, `is "nonsense": want restore, correct, warn or ignore`)
	})
	setDrift(helmchart.DriftIgnore)
	s.waitFor("no condition", func() bool { return s.drift().Type == "" })
	if s.data("listed") != nil {
		t.Error("warn made an object again")
	}
	events, err := s.typed.CoreV1().Events(s.namespace).List(context.Background(), metav1.ListOptions{FieldSelector: "involvedObject.kind=HelmChart,involvedObject.name=drift"})
	if err != nil {
		t.Fatal(err)
	}
	for _, reason := range []string{helmchart.Drifted, "DriftCorrected"} {
		if !slices.ContainsFunc(events.Items, func(e corev1.Event) bool { return e.Reason == reason }) {
			t.Errorf("no event %s", reason)
		}
	}
	if chart := s.chart("drift"); chart.Status.Revision != 1 || !chart.Status.IsReady(chart.Generation) {
		t.Errorf("corrections are no upgrade: %+v", chart.Status)
	}
}

func TestOtherClientsRevisionsAreDrift(t *testing.T) {
	s := drifted(t, helmchart.DriftRestore)
	in := &inputs{name: "drift", target: s.namespace, timeout: time.Minute}
	r, err := newReleaser(s.config, s.typed, in, s.controller.log)
	if err != nil {
		t.Fatal(err)
	}
	last, err := r.last()
	if err != nil {
		t.Fatal(err)
	}
	in.values = map[string]any{"message": "by hand"}
	if _, err := r.upgrade(context.Background(), last.Chart, in); err != nil {
		t.Fatal(err)
	}
	s.waitDrift("revision 2 of the release is another Helm client's")
	if got := s.data("drift")["message"]; got != "by hand" {
		t.Errorf("restore took an upgrade back: %q", got)
	}
	if err := r.uninstall(context.Background()); err != nil {
		t.Fatal(err)
	}
	s.waitFor("the release to be installed again", func() bool { return s.data("drift")["message"] == "default" })
	s.waitReady("drift")
}

func TestValuesSecretsAreFollowed(t *testing.T) {
	s := newSite(t)
	ctx := context.Background()
	secrets := s.typed.CoreV1().Secrets(s.namespace)
	for _, name := range []string{"loud", "silent"} {
		if _, err := secrets.Create(ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name}, StringData: map[string]string{"v": name + ": one"}}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	s.apply(helmchart.Options{Name: "values", ChartContent: archive(t, "1.0.0", map[string]string{
		"c.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: values}\ndata: {loud: '{{ .Values.loud }}', silent: '{{ .Values.silent }}'}\n",
	})})
	patch := `{"spec":{"valuesSecrets":[{"name":"loud","keys":["v"]},{"name":"silent","keys":["v"],"ignoreUpdates":true},{"name":"absent","ignoreUpdates":true}]}}`
	if _, err := s.charts.Patch(ctx, "values", types.MergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	s.waitFor("the Secrets' values", func() bool { d := s.data("values"); return d["loud"] == "one" && d["silent"] == "one" })
	revision := s.waitReady("values").Status.Revision
	set := func(name string) {
		t.Helper()
		if _, err := secrets.Patch(ctx, name, types.MergePatchType, []byte(`{"stringData":{"v":"`+name+`: two"}}`), metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	set("silent")
	time.Sleep(time.Second)
	if got := s.waitReady("values").Status.Revision; got != revision {
		t.Errorf("ignoreUpdates: revision %d, want %d", got, revision)
	}
	set("loud")
	s.waitFor("the change", func() bool { d := s.data("values"); return d["loud"] == "two" && d["silent"] == "two" })

	// What is missing is told, and noticed when it comes.
	if err := secrets.Delete(ctx, "loud", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if message := s.waitFailed("values", helmchart.ReasonInvalid); !strings.Contains(message, `"loud" not found`) {
		t.Errorf("message %q", message)
	}
	if _, err := secrets.Create(ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "loud"}, StringData: map[string]string{"v": "loud: three"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	s.waitFor("the new Secret's value", func() bool { return s.data("values")["loud"] == "three" })
}
