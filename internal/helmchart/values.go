package helmchart

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"helm.sh/helm/v3/pkg/strvals"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/yaml"
)

// Layer is one source of values; of several, the later wins.
type Layer struct {
	Source  string // for errors: "spec.valuesContent"
	Content string // YAML
	Silent  bool   // a change of it is no reason for an upgrade
}

// Secrets returns the data of a Secret. That there is none is an error of the API's kind NotFound.
type Secrets func(namespace, name string) (map[string][]byte, error)

// Layers returns the sources of a chart's values in ascending order of precedence (K3s'), without Spec.Set, which is above them all:
// see [Merge]. config may be nil.
func (c *Chart) Layers(config *Config, secrets Secrets) ([]Layer, error) {
	layers, err := layersOf("", c.Namespace, c.Spec.ValuesContent, c.Spec.Values, c.Spec.ValuesSecrets, secrets)
	if err != nil || config == nil {
		return layers, err
	}
	over, err := config.Layers(c.Namespace, secrets)
	return append(layers, over...), err
}

// Layers returns the sources of the values that a HelmChartConfig of a namespace puts over those of its HelmChart.
func (c *Config) Layers(namespace string, secrets Secrets) ([]Layer, error) {
	return layersOf(" of the HelmChartConfig", namespace, c.Spec.ValuesContent, c.Spec.Values, c.Spec.ValuesSecrets, secrets)
}

// layersOf are those of one object, which of says for errors.
func layersOf(of, namespace, content string, tree map[string]any, references []ValuesSecret, secrets Secrets) ([]Layer, error) {
	layers := []Layer{{Source: "spec.valuesContent" + of, Content: content}}
	if len(tree) > 0 {
		encoded, err := yaml.Marshal(tree) // a copy: the tree may be an informer's
		if err != nil {
			return nil, fmt.Errorf("spec.values%s: %w", of, err)
		}
		layers = append(layers, Layer{Source: "spec.values" + of, Content: string(encoded)})
	}
	for _, reference := range references {
		data, err := secrets(namespace, reference.Name)
		if reference.IgnoreUpdates && apierrors.IsNotFound(err) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("spec.valuesSecrets%s: %w", of, err)
		}
		keys := reference.Keys
		if len(keys) == 0 {
			keys = slices.Sorted(maps.Keys(data))
		}
		for _, key := range keys {
			text, found := data[key]
			if !found {
				return nil, fmt.Errorf("spec.valuesSecrets%s: Secret %s/%s has no key %q", of, namespace, reference.Name, key)
			}
			layers = append(layers, Layer{fmt.Sprintf("Secret %s/%s, key %s", namespace, reference.Name, key), string(text), reference.IgnoreUpdates})
		}
	}
	return layers, nil
}

// Merge makes one tree of values of all layers and of single settings. Tables are merged, anything else is replaced; null takes a
// value of the chart's own away. Only a change of what is merged mends an error.
func Merge(layers []Layer, set map[string]intstr.IntOrString) (map[string]any, error) {
	values := map[string]any{}
	for _, l := range layers {
		var over map[string]any
		if err := yaml.Unmarshal([]byte(l.Content), &over); err != nil {
			return nil, fmt.Errorf("%s: %w", l.Source, err)
		}
		overlay(values, over)
	}
	for _, path := range slices.Sorted(maps.Keys(set)) {
		value := set[path]
		parse := strvals.ParseIntoString
		if isTyped(value) {
			parse = strvals.ParseInto
		}
		if err := parse(path+"="+escapeCommas(value.String()), values); err != nil {
			return nil, fmt.Errorf("spec.set: %s: %w", path, err)
		}
	}
	return values, nil
}

// overlay puts the values of over onto those of base, as Helm does with several values files.
func overlay(base, over map[string]any) {
	for key, value := range over {
		table, isTable := value.(map[string]any)
		if below, both := base[key].(map[string]any); isTable && both {
			overlay(below, table)
			continue
		}
		base[key] = value
	}
}

// isTyped says whether a setting is a number, a truth value or null rather than a string. As in K3s'
// controller, digits in quotes are a string.
func isTyped(value intstr.IntOrString) bool {
	if value.Type == intstr.Int {
		return true
	}
	return slices.Contains([]string{"true", "false", "null"}, strings.ToLower(value.StrVal))
}

// escapeCommas keeps a value from being read as several settings; a list in braces stays one.
func escapeCommas(value string) string {
	if strings.HasPrefix(value, "{") && strings.HasSuffix(value, "}") {
		return value
	}
	return strings.ReplaceAll(strings.ReplaceAll(value, `\,`, `,`), `,`, `\,`)
}
