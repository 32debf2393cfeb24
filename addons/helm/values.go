package helm

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"helm.sh/helm/v3/pkg/strvals"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/yaml"

	"airgap/internal/helmchart"
)

// A layer is one source of values; of several, the later wins.
type layer struct {
	source  string // for errors
	content string // YAML
	silent  bool   // a change of it is no reason for an upgrade
}

// layersOf returns the sources of a chart's values in ascending order of precedence (K3s'), without Spec.Set,
// which is above them all. config may be nil.
func layersOf(ctx context.Context, client kubernetes.Interface, chart *helmchart.Chart, config *helmchart.Config) ([]layer, error) {
	tree, err := layerOfTree("spec.values", chart.Spec.Values)
	if err != nil {
		return nil, err
	}
	layers := []layer{{source: "spec.valuesContent", content: chart.Spec.ValuesContent}, tree}
	fromSecrets, err := layersOfSecrets(ctx, client, chart.Namespace, chart.Spec.ValuesSecrets)
	if err != nil {
		return nil, err
	}
	layers = append(layers, fromSecrets...)
	if config == nil {
		return layers, nil
	}
	if tree, err = layerOfTree("spec.values of the HelmChartConfig", config.Spec.Values); err != nil {
		return nil, err
	}
	layers = append(layers, layer{source: "spec.valuesContent of the HelmChartConfig", content: config.Spec.ValuesContent}, tree)
	fromSecrets, err = layersOfSecrets(ctx, client, chart.Namespace, config.Spec.ValuesSecrets)
	return append(layers, fromSecrets...), err
}

// layerOfTree returns values that are a tree already. They are copied, since the tree may be the informer's.
func layerOfTree(source string, values map[string]any) (layer, error) {
	if len(values) == 0 {
		return layer{source: source}, nil
	}
	content, err := yaml.Marshal(values)
	if err != nil {
		return layer{}, invalid{fmt.Errorf("%s: %w", source, err)}
	}
	return layer{source: source, content: string(content)}, nil
}

func layersOfSecrets(ctx context.Context, client kubernetes.Interface, namespace string, references []helmchart.ValuesSecret) ([]layer, error) {
	var layers []layer
	for _, reference := range references {
		secret, err := client.CoreV1().Secrets(namespace).Get(ctx, reference.Name, metav1.GetOptions{})
		if reference.IgnoreUpdates && apierrors.IsNotFound(err) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("spec.valuesSecrets: %w", err)
		}
		keys := reference.Keys
		if len(keys) == 0 {
			keys = slices.Sorted(maps.Keys(secret.Data))
		}
		for _, key := range keys {
			content, found := secret.Data[key]
			if !found {
				return nil, fmt.Errorf("spec.valuesSecrets: Secret %s/%s has no key %q", namespace, reference.Name, key)
			}
			layers = append(layers, layer{fmt.Sprintf("Secret %s/%s, key %s", namespace, reference.Name, key), string(content), reference.IgnoreUpdates})
		}
	}
	return layers, nil
}

// merge makes one tree of values of all layers and of single settings. Tables are merged, anything else is replaced;
// null takes a value of the chart's own away.
func merge(layers []layer, set map[string]intstr.IntOrString) (map[string]any, error) {
	values := map[string]any{}
	for _, l := range layers {
		var over map[string]any
		if err := yaml.Unmarshal([]byte(l.content), &over); err != nil {
			return nil, invalid{fmt.Errorf("%s: %w", l.source, err)}
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
			return nil, invalid{fmt.Errorf("spec.set: %s: %w", path, err)}
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
