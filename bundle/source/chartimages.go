package source

import (
	"bytes"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	helmrelease "helm.sh/helm/v3/pkg/release"
	"sigs.k8s.io/yaml"
)

// render finds the images of a chart: in what an install would apply, hooks and CRDs included, and in what its
// maker says beside. A chart that asks what the cluster can do is rendered for both answers, and the
// images of either count: the site's cluster may have what this one has not.
func (g *gatherer) render(c Chart, l *loadedChart, values []byte) ([]named, error) {
	settings := map[string]any{}
	if err := yaml.Unmarshal(values, &settings); err != nil {
		return nil, fmt.Errorf("%s: %w", c.Values, err)
	}
	whole, err := loader.LoadArchive(bytes.NewReader(l.archive)) // rendering prunes the other
	if err != nil {
		return nil, err
	}
	asked := askedCapabilities(whole)
	found, failure := g.renderFor(c, l.chart, settings, nil)
	if len(asked) > 0 {
		second, err := loader.LoadArchive(bytes.NewReader(l.archive))
		if err != nil {
			return nil, err
		}
		more, err := g.renderFor(c, second, settings, asked)
		switch {
		case failure != nil && err != nil:
			return nil, fmt.Errorf("%w; the chart asks whether the cluster has %s: it renders neither with nor without", failure, strings.Join(asked, ", "))
		case failure != nil:
			return nil, fmt.Errorf("%w; it renders only where the cluster has %s: have what brings that installed before, in this bundle or another, and "+
				"list the chart's images in spec.images", failure, strings.Join(asked, ", "))
		case err == nil:
			found = append(found, onlyIn(more, found, " if the cluster has "+strings.Join(asked, ", "))...)
		}
	}
	if failure != nil {
		return nil, withValues(c, failure)
	}
	annotated, err := annotatedImages(l.chart, "chart "+c.Name)
	if err != nil {
		return nil, err
	}
	found = append(found, annotated...)
	configured, err := chartutil.CoalesceValues(whole, settings)
	if err != nil {
		return nil, err
	}
	return append(found, onlyIn(valueImages(whole, configured, "chart "+c.Name, ""), found, "")...), nil
}

// withValues adds to the error of a chart that does not render that it was rendered with no values but its own.
func withValues(c Chart, err error) error {
	if c.Values != "" {
		return err
	}
	return fmt.Errorf("%w (it was rendered with its own values; give it yours with `values: FILE`)", err)
}

// renderFor renders a chart for a cluster that has further API versions, and finds the images in what comes out.
// Its tests, which no install runs, are optional unless the entry in airgap.yaml wants them.
func (g *gatherer) renderFor(c Chart, from *chart.Chart, settings map[string]any, apiVersions []string) ([]named, error) {
	manifest, hooks, err := renderChart(from, settings, cluster{c.Name, c.Namespace, g.options.KubernetesVersion, apiVersions})
	if err != nil {
		return nil, fmt.Errorf("does not render: %w", err)
	}
	origin := "chart " + c.Name
	found, err := imagesIn(manifest, origin, c.Chart)
	if err != nil {
		return nil, fmt.Errorf("renders to what is not YAML: %w", err)
	}
	for _, hook := range hooks {
		_, file, _ := strings.Cut(hook.Path, "/")
		more, err := imagesIn([]byte(hook.Manifest), origin, file)
		if err != nil {
			return nil, fmt.Errorf("hook %s renders to what is not YAML: %w", hook.Path, err)
		}
		if !c.Tests && !slices.ContainsFunc(hook.Events, func(e helmrelease.HookEvent) bool { return e != helmrelease.HookTest }) {
			for i := range more {
				more[i].optional = true
				more[i].Where += ", a test"
			}
		}
		found = append(found, more...)
	}
	return found, nil
}

// onlyIn are the images of more that found does not have, with a condition added to why.
func onlyIn(more, found []named, condition string) []named {
	have := map[string]bool{}
	for _, image := range found {
		have[image.reference] = true
	}
	var only []named
	for _, image := range more {
		if !have[image.reference] {
			image.Where += condition
			only = append(only, image)
		}
	}
	return only
}

// capabilityQuestion is how a template asks for an API version or a kind.
var capabilityQuestion = regexp.MustCompile(`\.Capabilities\.APIVersions\.Has\s+"([^"]+)"`)

// askedCapabilities are the API versions that a chart and its subcharts ask for and that not every cluster has, sorted.
func askedCapabilities(c *chart.Chart) []string {
	var asked []string
	for _, template := range c.Templates {
		for _, m := range capabilityQuestion.FindAllSubmatch(template.Data, -1) {
			if version := string(m[1]); !chartutil.DefaultVersionSet.Has(version) {
				asked = append(asked, version)
			}
		}
	}
	for _, sub := range c.Dependencies() {
		asked = append(asked, askedCapabilities(sub)...)
	}
	slices.Sort(asked)
	return slices.Compact(asked)
}

// imagesAnnotation is how a chart's maker lists the images that it needs. The others list what it may use.
const imagesAnnotation = "helm.sh/images"

var otherAnnotations = []string{"artifacthub.io/images", "images"}

// annotatedImages are those in the annotations of a chart and its subcharts.
func annotatedImages(c *chart.Chart, origin string) ([]named, error) {
	var found []named
	for _, annotation := range append([]string{imagesAnnotation}, otherAnnotations...) {
		optional := annotation != imagesAnnotation
		references, err := listedImages(c.Metadata.Annotations[annotation])
		if err != nil && !optional {
			return nil, fmt.Errorf("annotation %s of %s: %w", annotation, c.Name(), err)
		}
		for _, reference := range references {
			if where := fmt.Sprintf("%s: annotation %s of %s (Chart.yaml)", origin, annotation, c.Name()); !optional || isReference(reference) {
				found = append(found, named{reference, Mention{where, optional}, optional})
			}
		}
	}
	for _, sub := range c.Dependencies() {
		more, err := annotatedImages(sub, origin)
		if err != nil {
			return nil, err
		}
		found = append(found, more...)
	}
	return found, nil
}

// listedImages reads a YAML list of references, or of mappings whose image is one.
func listedImages(text string) ([]string, error) {
	var items []any
	if err := yaml.Unmarshal([]byte(text), &items); err != nil {
		return nil, fmt.Errorf("want a YAML list of images: %w", err)
	}
	var references []string
	for _, item := range items {
		reference, _ := item.(string)
		if mapping, ok := item.(map[string]any); ok {
			reference, _ = mapping["image"].(string)
		}
		if reference == "" {
			return nil, fmt.Errorf("want a YAML list of references, or of mappings with an image; there is %v", item)
		}
		references = append(references, reference)
	}
	return references, nil
}

// valueImages are the images in a chart's values that only other values would have it use. An empty tag is the
// chart's appVersion, as by custom in templates.
func valueImages(c *chart.Chart, values map[string]any, origin, below string) []named {
	w := walker{origin: origin, title: "value", file: "values.yaml", atMost: hint, defaultTag: c.AppVersion()}
	own := map[string]any{}
	for key, value := range values {
		own[key] = value
	}
	var found []named
	for _, sub := range c.Dependencies() {
		nested, _ := own[sub.Name()].(map[string]any)
		delete(own, sub.Name())
		found = append(found, valueImages(sub, nested, origin, below+sub.Name()+".")...)
	}
	w.guess(own, "")
	for i := range w.found {
		w.found[i].Where = strings.Replace(w.found[i].Where, "value, field ", "value "+below, 1)
	}
	return append(found, w.found...)
}
