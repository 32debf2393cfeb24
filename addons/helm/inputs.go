package helm

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"airgap/internal/helmchart"
)

// inputs is everything that makes a release but the chart itself.
type inputs struct {
	name, target, owner            string // of the release, its namespace, the HelmChart's
	values                         map[string]any
	createNamespace, takeOwnership bool
	timeout                        time.Duration
	policy                         helmchart.FailurePolicy
	driver                         helmchart.Driver
	hash                           string // over all of it and the chart; hex SHA-256
}

// gather reads the values of a chart and hashes what makes its release. config may be nil.
func (c *Controller) gather(ctx context.Context, chart *helmchart.Chart, config *helmchart.Config) (*inputs, error) {
	target, name := chart.Release()
	in := &inputs{
		name: name, target: target, owner: chart.Namespace,
		createNamespace: chart.Spec.CreateNamespace, takeOwnership: chart.Spec.TakeOwnership,
		timeout: timeoutOf(chart), policy: chart.Spec.FailurePolicy, driver: chart.Spec.Driver,
	}
	if config != nil && config.Spec.FailurePolicy != "" {
		in.policy = config.Spec.FailurePolicy
	}
	layers, err := chart.Layers(config, c.secretData(ctx))
	if err != nil {
		return in, err
	}
	if in.values, err = helmchart.Merge(layers, chart.Spec.Set); err != nil {
		return in, invalid{err}
	}
	layers = slices.DeleteFunc(layers, func(l helmchart.Layer) bool { return l.Silent })
	loud, err := helmchart.Merge(layers, chart.Spec.Set)
	if err != nil {
		return in, invalid{err}
	}
	in.hash, err = hashOf(chart, loud)
	return in, err
}

// secretData reads Secrets of the cluster.
func (c *Controller) secretData(ctx context.Context) helmchart.Secrets {
	return func(namespace, name string) (map[string][]byte, error) {
		secret, err := c.typed.CoreV1().Secrets(namespace).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return nil, err
		}
		return secret.Data, nil
	}
}

func timeoutOf(chart *helmchart.Chart) time.Duration {
	if t := chart.Spec.Timeout; t != nil && t.Duration > 0 {
		return t.Duration
	}
	return helmchart.DefaultTimeout
}

func hashOf(chart *helmchart.Chart, values map[string]any) (string, error) {
	target, name := chart.Release()
	content, err := json.Marshal(struct {
		Target, Name, Content, Chart, Repo, Version string
		Values                                      map[string]any
		TakeOwnership                               bool
	}{
		target, name, contentDigest(chart.Spec.ChartContent), chart.Spec.Chart, chart.Spec.Repo, chart.Spec.Version,
		values, chart.Spec.TakeOwnership,
	})
	if err != nil {
		return "", invalid{fmt.Errorf("values: %w", err)}
	}
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:]), nil
}

// digestPrefix cannot begin base64, which has no colon.
const digestPrefix = "sha256:"

// contentDigest returns the digest of a chart's content, or the content if it is a digest already.
func contentDigest(content string) string {
	if content == "" || strings.HasPrefix(content, digestPrefix) {
		return content
	}
	sum := sha256.Sum256([]byte(content))
	return digestPrefix + hex.EncodeToString(sum[:])
}

// slim puts the digest of a chart's content in the place of the content, up to 1.4 MB, in objects
// that stay in memory for as long as the process lives.
func slim(object any) (any, error) {
	u, ok := object.(*unstructured.Unstructured)
	if !ok {
		return object, nil
	}
	u.SetManagedFields(nil)
	content, found, err := unstructured.NestedString(u.Object, "spec", "chartContent")
	if err != nil || !found || content == "" {
		return object, nil
	}
	return u, unstructured.SetNestedField(u.Object, contentDigest(content), "spec", "chartContent")
}
