package source

import (
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/chartutil"
	helmrelease "helm.sh/helm/v3/pkg/release"
	"sigs.k8s.io/yaml"
)

// chartRelease is a chart and how it is to be installed.
type chartRelease struct {
	origin          string // what a mention of an image begins with: "chart podinfo"
	file            string // what one ends with that no template makes
	name, namespace string
	loaded          *loadedChart
	values          map[string]any
	tests           bool      // what its tests need is carried too
	atMost          certainty // of what is found
	advice          string    // what to say if it does not render
}

// render finds the images of a chart: in what an install would apply, hooks and CRDs included, and in what its
// maker says beside. A chart that asks what the cluster can do is rendered for both answers, and the
// images of either count: the site's cluster may have what this one has not.
func (g *gatherer) render(r chartRelease) (findings, error) {
	whole := r.loaded.chart
	pruned, err := r.loaded.fresh()
	if err != nil {
		return findings{}, err
	}
	asked := askedCapabilities(whole)
	found, failure := g.renderFor(r, pruned, nil)
	if len(asked) > 0 {
		second, err := r.loaded.fresh()
		if err != nil {
			return findings{}, err
		}
		more, err := g.renderFor(r, second, asked)
		switch {
		case failure != nil && err != nil:
			return findings{}, fmt.Errorf("%w; the chart asks whether the cluster has %s: it renders neither with nor without", failure, strings.Join(asked, ", "))
		case failure != nil:
			return findings{}, fmt.Errorf("%w; it renders only where the cluster has %s: have what brings that installed before, in this bundle or another, and "+
				"list the chart's images in spec.images", failure, strings.Join(asked, ", "))
		case err == nil:
			found.addNew(more, " if the cluster has "+strings.Join(asked, ", "))
		}
	}
	if failure != nil {
		return findings{}, fmt.Errorf("%w%s", failure, r.advice)
	}
	annotated, err := annotatedImages(pruned, r.origin)
	if err != nil {
		return findings{}, err
	}
	found.images = append(found.images, annotated...)
	configured, err := chartutil.CoalesceValues(whole, r.values)
	if err != nil {
		return findings{}, err
	}
	found.addNew(findings{images: valueImages(whole, configured, r.origin, "")}, "")
	found.bound(r.atMost, "")
	return found, nil
}

// renderFor renders a chart for a cluster that has further API versions, and finds what is in what comes out.
// The images of its tests, which no install runs, are optional unless they are wanted.
func (g *gatherer) renderFor(r chartRelease, from *chart.Chart, apiVersions []string) (findings, error) {
	manifest, hooks, err := renderChart(from, r.values, cluster{r.name, r.namespace, g.options.KubernetesVersion, apiVersions})
	if err != nil {
		return findings{}, fmt.Errorf("does not render: %w", err)
	}
	found, err := findIn(manifest, r.origin, r.file, r.namespace)
	if err != nil {
		return findings{}, fmt.Errorf("renders to what is not YAML: %w", err)
	}
	for _, hook := range hooks {
		_, file, _ := strings.Cut(hook.Path, "/")
		more, err := findIn([]byte(hook.Manifest), r.origin, file, r.namespace)
		if err != nil {
			return findings{}, fmt.Errorf("hook %s renders to what is not YAML: %w", hook.Path, err)
		}
		if !r.tests && !slices.ContainsFunc(hook.Events, func(e helmrelease.HookEvent) bool { return e != helmrelease.HookTest }) {
			more.bound(hint, ", a test")
		}
		found.add(more)
	}
	return found, nil
}

// bound lowers the certainty of all that was found, and adds a condition to why.
func (f *findings) bound(atMost certainty, condition string) {
	for i := range f.images {
		image := &f.images[i]
		image.optional = image.optional || atMost == hint
		image.Guessed = image.Guessed || atMost == likely
		image.Where += condition
	}
	for i := range f.declared {
		at := &f.declared[i].at
		at.atMost = max(at.atMost, atMost)
		at.file += condition
	}
}

// addNew adds what is in more and not yet here, with a condition to why.
func (f *findings) addNew(more findings, condition string) {
	images, objects := slices.Clone(f.images), slices.Clone(f.declared)
	only := findings{
		images: slices.DeleteFunc(more.images, func(image named) bool {
			return slices.ContainsFunc(images, func(have named) bool { return have.reference == image.reference })
		}),
		declared: slices.DeleteFunc(more.declared, func(d declared) bool {
			return slices.ContainsFunc(objects, func(have declared) bool { return reflect.DeepEqual(have.object, d.object) })
		}),
	}
	only.bound(sure, condition)
	f.add(only)
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
	for i := range w.images {
		w.images[i].Where = strings.Replace(w.images[i].Where, "value, field ", "value "+below, 1)
	}
	return append(found, w.images...)
}
