package helm

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"helm.sh/helm/v3/pkg/release"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"

	"airgap/addons/apitest"
	"airgap/internal/helmchart"
)

// A site is a controller at work on a real cluster, and a namespace for one test.
type site struct {
	*testing.T
	config    *rest.Config
	typed     kubernetes.Interface
	charts    dynamic.ResourceInterface
	namespace string

	controller *Controller
	stop       func()
}

// driftInterval makes looks at releases a matter of moments.
const driftInterval = 400 * time.Millisecond

func newSite(t *testing.T) *site {
	t.Helper()
	config := apitest.Config(t, os.Getenv(apitest.Variable))
	s := &site{T: t, config: config, namespace: fmt.Sprintf("helm-%d", time.Now().UnixNano()%1e9)}
	var err error
	if s.typed, err = kubernetes.NewForConfig(config); err != nil {
		t.Fatal(err)
	}
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	s.charts = client.Resource(helmchart.Charts).Namespace(s.namespace)
	ctx := context.Background()
	if _, err := s.typed.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: s.namespace}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	s.start()
	t.Cleanup(func() {
		// The namespace takes the HelmCharts along, and they their releases.
		if err := s.typed.CoreV1().Namespaces().Delete(ctx, s.namespace, metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
		s.waitFor("the namespace to go", func() bool {
			_, err := s.typed.CoreV1().Namespaces().Get(ctx, s.namespace, metav1.GetOptions{})
			return apierrors.IsNotFound(err)
		})
		s.stop()
	})
	return s
}

func (s *site) start() {
	s.Helper()
	var err error
	s.controller, err = New(Options{
		Config: s.config, Log: slog.New(slog.NewTextHandler(testWriter{s.T}, nil)), DriftInterval: driftInterval,
	})
	if err != nil {
		s.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.controller.Run(ctx) }()
	s.stop = func() {
		s.Helper()
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				s.Error(err)
			}
		case <-time.After(5 * time.Second):
			s.Error("the controller did not end in 5 s")
		}
	}
	s.waitFor("the API", func() bool {
		_, err := s.charts.List(context.Background(), metav1.ListOptions{})
		return err == nil
	})
}

type testWriter struct{ *testing.T }

func (w testWriter) Write(line []byte) (int, error) {
	w.Log(strings.TrimSuffix(string(line), "\n"))
	return len(line), nil
}

// archive makes a chart's .tgz of a version and its templates.
func archive(t *testing.T, version string, templates map[string]string) []byte {
	t.Helper()
	var out bytes.Buffer
	compressed := gzip.NewWriter(&out)
	w := tar.NewWriter(compressed)
	files := map[string]string{
		"Chart.yaml":  "apiVersion: v2\nname: thing\nappVersion: \"7\"\nversion: " + version + "\n",
		"values.yaml": "message: default\nother: default\n",
	}
	for name, content := range templates {
		files["templates/"+name] = content
	}
	for name, content := range files {
		if err := w.WriteHeader(&tar.Header{Name: "thing/" + name, Mode: 0o644, Size: int64(len(content))}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := compressed.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

const (
	configMapTemplate = `apiVersion: v1
kind: ConfigMap
metadata: {name: "{{ .Release.Name }}"}
data: {message: "{{ .Values.message }}", other: "{{ .Values.other }}", revision: "{{ .Release.Revision }}"}
`
	deploymentTemplate = `apiVersion: apps/v1
kind: Deployment
metadata: {name: "{{ .Release.Name }}"}
spec:
  selector: {matchLabels: {app: "{{ .Release.Name }}"}}
  template:
    metadata: {labels: {app: "{{ .Release.Name }}"}}
    spec: {containers: [{name: c, image: "{{ .Values.message }}"}]}
`
	refusedTemplate = `apiVersion: v1
kind: Service
metadata: {name: "{{ .Release.Name }}"}
spec: {type: Nonsense}
`
	hookTemplate = `apiVersion: batch/v1
kind: Job
metadata: {name: "{{ .Release.Name }}-hook", annotations: {helm.sh/hook: pre-install}}
spec: {template: {spec: {restartPolicy: Never, containers: [{name: c, image: never}]}}}
`
)

// apply makes a HelmChart be as the options say.
func (s *site) apply(options helmchart.Options) {
	s.Helper()
	options.Namespace = s.namespace
	manifest, err := helmchart.Manifest(options)
	if err != nil {
		s.Fatal(err)
	}
	object := new(unstructured.Unstructured)
	if err := yaml.Unmarshal(manifest, &object.Object); err != nil {
		s.Fatal(err)
	}
	if _, err := s.charts.Apply(context.Background(), options.Name, object, metav1.ApplyOptions{FieldManager: "test", Force: true}); err != nil {
		s.Fatal(err)
	}
}

// chart returns a HelmChart, nil if it is not there.
func (s *site) chart(name string) *helmchart.Chart {
	s.Helper()
	object, err := s.charts.Get(context.Background(), name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		s.Fatal(err)
	}
	chart, err := helmchart.ChartFromObject(object)
	if err != nil {
		s.Fatal(err)
	}
	return chart
}

func (s *site) waitFor(what string, is func() bool) {
	s.Helper()
	apitest.WaitFor(s.T, what, is, func() {
		list, err := s.charts.List(context.Background(), metav1.ListOptions{})
		if err != nil {
			s.Log(err)
			return
		}
		for _, item := range list.Items {
			status, _, _ := unstructured.NestedMap(item.Object, "status")
			s.Logf("%s: %v", item.GetName(), status)
		}
	})
}

func (s *site) waitReady(name string) *helmchart.Chart {
	s.Helper()
	var chart *helmchart.Chart
	s.waitFor(name+" to be ready", func() bool {
		chart = s.chart(name)
		return chart != nil && chart.Status.IsReady(chart.Generation)
	})
	return chart
}

// waitFailed waits for the condition Failed with a reason, and returns its message.
func (s *site) waitFailed(name, reason string) (message string) {
	s.Helper()
	s.waitFor(name+" to fail as "+reason, func() bool {
		chart := s.chart(name)
		var failed bool
		message, failed = chart.Status.IsFailed(chart.Generation)
		return failed && chart.Status.Reason() == reason
	})
	return message
}

// data returns the data of a ConfigMap, nil if it is not there.
func (s *site) data(name string) map[string]string {
	s.Helper()
	c, err := s.typed.CoreV1().ConfigMaps(s.namespace).Get(context.Background(), name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		s.Fatal(err)
	}
	return c.Data
}

// runPods does what a kubelet would: it says that every pod runs.
func (s *site) runPods() {
	s.Helper()
	pods, err := s.typed.CoreV1().Pods(s.namespace).List(context.Background(), metav1.ListOptions{})
	if err != nil {
		s.Fatal(err)
	}
	for _, pod := range pods.Items {
		patch := `{"status":{"phase":"Running","conditions":[{"type":"Ready","status":"True"},{"type":"ContainersReady","status":"True"}]}}`
		if _, err := s.typed.CoreV1().Pods(s.namespace).Patch(context.Background(), pod.Name, types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{}, "status"); err != nil && !apierrors.IsNotFound(err) {
			s.Fatal(err)
		}
	}
}

func TestChartIsInstalledUpgradedAndUninstalled(t *testing.T) {
	s := newSite(t)
	ctx := context.Background()
	options := helmchart.Options{Name: "life", ChartContent: archive(t, "1.0.0", map[string]string{"c.yaml": configMapTemplate})}
	s.apply(options)
	chart := s.waitReady("life")
	if st := chart.Status; st.Revision != 1 || st.Version != "1.0.0" || st.AppVersion != "7" || st.ReadyRevision != 1 {
		t.Errorf("status %+v", st)
	}
	if got := s.data("life"); got["message"] != "default" {
		t.Errorf("values %v", got)
	}

	options.Values = []byte("message: chart\nother: chart\n")
	options.ChartContent = archive(t, "1.1.0", map[string]string{"c.yaml": configMapTemplate})
	s.apply(options)
	if st := s.waitReady("life").Status; st.Revision != 2 || st.Version != "1.1.0" {
		t.Errorf("status %+v", st)
	}

	config := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "helm.cattle.io/v1", "kind": "HelmChartConfig", "metadata": map[string]any{"name": "life"},
		"spec": map[string]any{"valuesContent": "message: config"},
	}}
	configs := s.controller.dynamic.Resource(helmchart.Configs).Namespace(s.namespace)
	if _, err := configs.Create(ctx, config, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	s.waitFor("the HelmChartConfig's value", func() bool { d := s.data("life"); return d["message"] == "config" && d["other"] == "chart" })
	if err := configs.Delete(ctx, "life", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	s.waitFor("the HelmChart's own again", func() bool { return s.data("life")["message"] == "chart" })
	options.Values = nil
	s.apply(options)
	s.waitFor("the chart's own", func() bool { return s.data("life")["message"] == "default" })
	revision := s.waitReady("life").Status.Revision

	// A controller that starts anew finds nothing to do.
	s.stop()
	s.start()
	time.Sleep(time.Second)
	if got := s.waitReady("life").Status.Revision; got != revision {
		t.Errorf("a restart made revision %d of %d", got, revision)
	}

	if err := s.charts.Delete(ctx, "life", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	s.waitFor("the HelmChart to go", func() bool { return s.chart("life") == nil })
	if got := s.data("life"); got != nil {
		t.Errorf("left behind: %v", got)
	}
	secrets, err := s.typed.CoreV1().Secrets(s.namespace).List(ctx, metav1.ListOptions{LabelSelector: "owner=helm"})
	if err != nil || len(secrets.Items) != 0 {
		t.Errorf("%d revisions left, error %v", len(secrets.Items), err)
	}
}

func TestReadyMeansThatWorkloadsAre(t *testing.T) {
	s := newSite(t)
	options := helmchart.Options{
		Name: "pods", Timeout: 4 * time.Second, Values: []byte("message: one"),
		ChartContent: archive(t, "1.0.0", map[string]string{"d.yaml": deploymentTemplate, "c.yaml": configMapTemplate}),
	}
	s.apply(options)
	s.waitFor("a pod", func() bool {
		pods, err := s.typed.CoreV1().Pods(s.namespace).List(context.Background(), metav1.ListOptions{})
		return err == nil && len(pods.Items) > 0
	})
	if chart := s.chart("pods"); chart.Status.IsReady(chart.Generation) {
		t.Error("ready before its pod")
	}
	// Past the timeout it counts as failed, is left alone, and becomes ready all the same.
	message := s.waitFailed("pods", helmchart.ReasonNotReady)
	if !strings.Contains(message, "Deployment is not ready: "+s.namespace+"/pods") {
		t.Errorf("message %q", message)
	}
	s.runPods()
	if chart := s.waitReady("pods"); chart.Status.Revision != 1 {
		t.Errorf("status %+v", chart.Status)
	}

	// An upgrade that does not become ready is rolled back.
	options.Values = []byte("message: two")
	s.apply(options)
	message = s.waitFailed("pods", helmchart.ReasonRolledBack)
	if !strings.Contains(message, "not ready after 4s") || !strings.Contains(message, "what revision 1 was") || !strings.Contains(message, "attempt 1") {
		t.Errorf("message %q", message)
	}
	if got := s.data("pods")["message"]; got != "one" {
		t.Errorf("rolled back to %q", got)
	}
	if st := s.chart("pods").Status; st.Revision != 3 || st.ReadyRevision != 3 {
		t.Errorf("status %+v", st)
	}
	// With the old inputs back, nothing is left of the failure.
	options.Values = []byte("message: one")
	s.apply(options)
	s.waitFor("readiness", func() bool {
		s.runPods()
		chart := s.chart("pods")
		return chart.Status.IsReady(chart.Generation)
	})
}

func TestFailures(t *testing.T) {
	s := newSite(t)
	good := map[string]string{"c.yaml": configMapTemplate}
	refused := map[string]string{"c.yaml": configMapTemplate, "s.yaml": refusedTemplate}

	// What only a change can mend is not tried again, and says what is wrong.
	s.apply(helmchart.Options{Name: "invalid", ChartContent: []byte("no archive")})
	if message := s.waitFailed("invalid", helmchart.ReasonInvalid); !strings.Contains(message, "the chart cannot be read") {
		t.Errorf("message %q", message)
	}
	s.apply(helmchart.Options{Name: "invalid", ChartContent: archive(t, "1.0.0", good)})
	s.waitReady("invalid")

	// A failed install is made anew until it works.
	s.apply(helmchart.Options{Name: "install", ChartContent: archive(t, "1.0.0", refused)})
	if message := s.waitFailed("install", helmchart.ReasonInstallFailed); !strings.Contains(message, "Nonsense") || !strings.Contains(message, "next attempt in") {
		t.Errorf("message %q", message)
	}
	s.waitFor("the second attempt", func() bool { return s.chart("install").Status.Failures >= 2 })
	s.apply(helmchart.Options{Name: "install", ChartContent: archive(t, "1.0.1", good)})
	if st := s.waitReady("install").Status; st.Revision != 1 || st.Failures != 0 {
		t.Errorf("status %+v", st)
	}

	// A failed upgrade is rolled back.
	s.apply(helmchart.Options{Name: "install", ChartContent: archive(t, "2.0.0", refused), Values: []byte("message: two")})
	if message := s.waitFailed("install", helmchart.ReasonRolledBack); !strings.Contains(message, "Nonsense") {
		t.Errorf("message %q", message)
	}
	if got := s.data("install")["message"]; got != "default" || s.chart("install").Status.Version != "1.0.1" {
		t.Errorf("rolled back to %q, version %s", got, s.chart("install").Status.Version)
	}

	// With failurePolicy abort it is left as it is.
	s.apply(helmchart.Options{Name: "install", ChartContent: archive(t, "2.0.1", refused), Values: []byte("message: three"), FailurePolicy: helmchart.Abort})
	if message := s.waitFailed("install", helmchart.ReasonUpgradeFailed); !strings.Contains(message, "when the HelmChart changes") {
		t.Errorf("message %q", message)
	}
	s.apply(helmchart.Options{Name: "install", ChartContent: archive(t, "2.0.2", good), Values: []byte("message: four"), FailurePolicy: helmchart.Abort})
	s.waitReady("install")
	if got := s.data("install")["message"]; got != "four" {
		t.Errorf("message %q", got)
	}
}

func TestInterruptedWorkIsTakenUp(t *testing.T) {
	s := newSite(t)
	options := helmchart.Options{Name: "cut", ChartContent: archive(t, "1.0.0", map[string]string{"c.yaml": configMapTemplate})}
	s.apply(options)
	s.waitReady("cut")
	s.stop()

	// As a power cut in the middle of an upgrade leaves it.
	options.Values = []byte("message: two")
	s.apply(options)
	in := &inputs{name: "cut", target: s.namespace, timeout: time.Minute}
	r, err := newReleaser(s.config, s.typed, in, s.controller.log)
	if err != nil {
		t.Fatal(err)
	}
	last, err := r.last()
	if err != nil {
		t.Fatal(err)
	}
	last.Version, last.Info.Status = 2, release.StatusPendingUpgrade
	if err := r.action.Releases.Create(last); err != nil {
		t.Fatal(err)
	}
	patch := `{"status":{"conditions":[{"type":"Ready","status":"False","reason":"Upgrading","message":"","lastTransitionTime":"2026-01-01T00:00:00Z"}]}}`
	if _, err := s.charts.Patch(context.Background(), "cut", types.MergePatchType, []byte(patch), metav1.PatchOptions{}, "status"); err != nil {
		t.Fatal(err)
	}

	s.start()
	if st := s.waitReady("cut").Status; st.Revision != 3 {
		t.Errorf("status %+v", st)
	}
	if got := s.data("cut")["message"]; got != "two" {
		t.Errorf("message %q", got)
	}
}

func TestOneChartDoesNotHoldUpOthers(t *testing.T) {
	s := newSite(t)
	// Without nodes the hook's job never ends.
	s.apply(helmchart.Options{Name: "blocked", Timeout: 15 * time.Second, ChartContent: archive(t, "1.0.0", map[string]string{"h.yaml": hookTemplate})})
	s.waitFor("the hook", func() bool { return s.chart("blocked").Status.Reason() == helmchart.ReasonInstalling })
	for i := range 6 {
		s.apply(helmchart.Options{Name: fmt.Sprintf("free-%d", i), ChartContent: archive(t, "1.0.0", map[string]string{"c.yaml": configMapTemplate})})
	}
	began := time.Now()
	for i := range 6 {
		s.waitReady(fmt.Sprintf("free-%d", i))
	}
	t.Logf("six charts in %v", time.Since(began).Round(time.Millisecond))
	if s.chart("blocked").Status.Reason() != helmchart.ReasonInstalling {
		t.Error("the blocked chart did not stay blocked: the test shows nothing")
	}
	// The end does not wait for the hook, and the next start finds the install cut off.
	s.stop()
	s.apply(helmchart.Options{Name: "blocked", Timeout: 15 * time.Second, ChartContent: archive(t, "1.0.1", map[string]string{"c.yaml": configMapTemplate})})
	s.start()
	s.waitReady("blocked")
}
