package source

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"airgap/internal/helmchart"
)

// maxHelmCharts bounds HelmCharts in charts of HelmCharts: one may make itself again under another name.
const maxHelmCharts = 8

// secretKind is the kind of objects that may have values for HelmCharts.
const secretKind = "Secret"

// declared is an object that the node's Helm controller goes by: a HelmChart, a HelmChartConfig or a Secret.
type declared struct {
	kind, namespace, name string
	object                map[string]any
	at                    walker // as it came by the object
	within                int    // so many HelmCharts
	rendered              bool   // nothing is left to guess at
}

// declare notes an object for the Helm controller, and says whether it is one.
func (w *walker) declare(group, kind string, object map[string]any) bool {
	switch {
	case group == helmchart.Group && (kind == helmchart.ChartKind || kind == helmchart.ConfigKind):
	case group == "" && kind == secretKind:
	default:
		return false
	}
	metadata, _ := object["metadata"].(map[string]any)
	d := declared{kind: kind, namespace: w.namespace, object: object, at: *w}
	d.at.findings = findings{}
	d.name, _ = metadata["name"].(string)
	if own, _ := metadata["namespace"].(string); own != "" {
		d.namespace = own
	}
	w.declared = append(w.declared, d)
	return true
}

// origin is what mentions of images begin with that the object leads to.
func (d *declared) origin() string {
	return fmt.Sprintf("%s: %s (%s)", d.at.origin, d.at.title, d.at.file)
}

// decode reads the object as what its kind is.
func (d *declared) decode(into any) error {
	data, err := json.Marshal(d.object)
	if err != nil {
		return err
	}
	return json.Unmarshal(data, into)
}

// guessed are images in the values of one that was not rendered.
func (d *declared) guessed() []named {
	w := d.at
	w.guess(d.object, "")
	spec, _ := d.object["spec"].(map[string]any)
	content, _ := spec["valuesContent"].(string)
	values := map[string]any{}
	if err := yaml.Unmarshal([]byte(content), &values); err == nil {
		w.guess(values, "spec.valuesContent")
	}
	return w.images
}

// renderCharts renders the charts of airgap.yaml, then the HelmCharts among all objects as the node's Helm controller will, those that come
// out of them too, and notes the images of all.
func (g *gatherer) renderCharts() error {
	for _, e := range g.entries {
		if err := g.renderEntry(e); err != nil {
			return fmt.Errorf("chart %s (%s): %w", e.Name, g.spec.place(e.node), err)
		}
	}
	for i := 0; i < len(g.found.declared); i++ { // which grows
		d := &g.found.declared[i]
		if d.kind != helmchart.ChartKind {
			continue
		}
		same := func(other declared) bool { return reflect.DeepEqual(other.object, d.object) }
		if before := slices.IndexFunc(g.found.declared[:i], same); before >= 0 {
			d.rendered = true
			continue
		}
		if d.within == maxHelmCharts {
			return fmt.Errorf("%s: it is in the charts of %d HelmCharts, one in the other; more are not followed", d.origin(), maxHelmCharts)
		}
		found, rendered, err := g.renderHelmChart(*d)
		if err != nil {
			return fmt.Errorf("%s: %w", d.origin(), err)
		}
		d.rendered = rendered
		for j := range found.declared {
			found.declared[j].within = d.within + 1
		}
		g.found.add(found)
	}
	for _, d := range g.found.declared {
		if d.kind != secretKind && !d.rendered {
			g.found.images = append(g.found.images, d.guessed()...)
		}
	}
	return nil
}

// chartEntry is a chart of airgap.yaml that has been read.
type chartEntry struct {
	Chart
	node   string // in airgap.yaml: "spec.charts[0]"
	loaded *loadedChart
	values []byte
}

// renderEntry renders a chart of airgap.yaml. An install makes a HelmChart of it, so that a HelmChartConfig may add values.
func (g *gatherer) renderEntry(e chartEntry) error {
	layers := []helmchart.Layer{{Source: e.Values, Content: string(e.values)}}
	r := chartRelease{
		origin: "chart " + e.Name, file: e.Chart.Chart, name: e.Name, namespace: e.Namespace, loaded: e.loaded, tests: e.Tests,
	}
	config, err := g.configOf(metav1.NamespaceSystem, e.Name)
	if err != nil {
		return err
	}
	if config != nil {
		over, err := config.Layers(metav1.NamespaceSystem, g.secretData)
		if err != nil {
			return err
		}
		layers = append(layers, over...)
	}
	if e.Values == "" && config == nil {
		r.advice = " (it was rendered with its own values; give it yours with `values: FILE`)"
	}
	if r.values, err = helmchart.Merge(layers, nil); err != nil {
		return err
	}
	found, err := g.render(r)
	g.found.add(found)
	return err
}

// renderHelmChart renders the chart of a HelmChart, unless it is not here or not for the node's controller.
func (g *gatherer) renderHelmChart(d declared) (found findings, rendered bool, err error) {
	chart := new(helmchart.Chart)
	if err := d.decode(chart); err != nil {
		return found, false, err
	}
	chart.Namespace = d.namespace
	if _, unmanaged := chart.Annotations[helmchart.UnmanagedAnnotation]; unmanaged {
		return found, false, nil
	}
	loaded, err := g.chartOf(chart, d.origin())
	if err != nil || loaded == nil {
		return found, false, err
	}
	config, err := g.configOf(d.namespace, d.name)
	if err != nil {
		return found, false, err
	}
	unknown := g.dropUnknownSecrets(d.namespace, &chart.Spec.ValuesSecrets)
	if config != nil {
		unknown = append(unknown, g.dropUnknownSecrets(d.namespace, &config.Spec.ValuesSecrets)...)
	}
	layers, err := chart.Layers(config, g.secretData)
	if err != nil {
		return found, false, err
	}
	r := chartRelease{origin: d.origin(), file: "chart " + loaded.chart.Name(), loaded: loaded, atMost: d.at.atMost}
	r.namespace, r.name = chart.Release()
	if r.values, err = helmchart.Merge(layers, chart.Spec.Set); err != nil {
		return found, false, err
	}
	found, err = g.render(r)
	switch {
	case len(unknown) > 0 && err != nil:
		g.notice("%s: its images are not looked for: without the values in the Secret %s, which is not in the bundle, it %v", d.origin(), strings.Join(unknown, ", "), err)
		return findings{}, false, nil
	case len(unknown) > 0:
		g.notice("%s: its images are looked for without the values in the Secret %s, which is not in the bundle", d.origin(), strings.Join(unknown, ", "))
	}
	return found, err == nil, err
}

// chartOf is the chart that a HelmChart names: its own content, or one that spec.charts has under the same name. nil if it is elsewhere.
func (g *gatherer) chartOf(chart *helmchart.Chart, origin string) (*loadedChart, error) {
	if chart.Spec.ChartContent != "" {
		archive, err := base64.StdEncoding.DecodeString(strings.TrimSpace(chart.Spec.ChartContent))
		if err != nil {
			return nil, fmt.Errorf("spec.chartContent: %w", err)
		}
		return readChart(archive, "its folder")
	}
	from := chart.Spec.Chart
	if chart.Spec.Version != "" {
		from += ":" + chart.Spec.Version
	}
	for _, e := range g.entries {
		if strings.HasPrefix(from, chartScheme) && e.from() == from {
			g.notice("%s: takes its chart from %s, at the site too; spec.chartContent would have it in the bundle", origin, from)
			return e.loaded, nil
		}
	}
	g.notice("%s: its images are not looked for: its chart, %s, is not in the bundle, and a site without a network does not reach it; "+
		"give it in spec.chartContent, or as an entry of spec.charts", origin, strings.TrimPrefix(chart.Spec.Repo+" "+from, " "))
	return nil, nil
}

// configOf is the HelmChartConfig for a HelmChart, nil if there is none.
func (g *gatherer) configOf(namespace, name string) (*helmchart.Config, error) {
	for i := range g.found.declared {
		d := &g.found.declared[i]
		if d.kind != helmchart.ConfigKind || d.namespace != namespace || d.name != name {
			continue
		}
		config := new(helmchart.Config)
		if err := d.decode(config); err != nil {
			return nil, fmt.Errorf("%s: %w", d.origin(), err)
		}
		d.rendered = true
		return config, nil
	}
	return nil, nil
}

// dropUnknownSecrets takes those off a list that no Secret of the bundle is, and returns their names.
func (g *gatherer) dropUnknownSecrets(namespace string, references *[]helmchart.ValuesSecret) (unknown []string) {
	*references = slices.DeleteFunc(*references, func(reference helmchart.ValuesSecret) bool {
		_, err := g.secretData(namespace, reference.Name)
		if missing := apierrors.IsNotFound(err); missing {
			unknown = append(unknown, namespace+"/"+reference.Name)
			return true
		}
		return false
	})
	return unknown
}

// secretData is the data of a Secret of the bundle, as the API server would give it.
func (g *gatherer) secretData(namespace, name string) (map[string][]byte, error) {
	for i := range g.found.declared {
		d := &g.found.declared[i]
		if d.kind != secretKind || d.namespace != namespace || d.name != name {
			continue
		}
		var secret corev1.Secret
		if err := d.decode(&secret); err != nil {
			return nil, fmt.Errorf("%s: %w", d.origin(), err)
		}
		data := map[string][]byte{}
		for key, value := range secret.Data {
			data[key] = value
		}
		for key, value := range secret.StringData {
			data[key] = []byte(value)
		}
		return data, nil
	}
	return nil, apierrors.NewNotFound(corev1.Resource("secrets"), name)
}

// notice tells the builder what the build cannot know.
func (g *gatherer) notice(format string, args ...any) {
	if g.options.Notice != nil {
		g.options.Notice(fmt.Sprintf(format, args...))
	}
}
