package helmchart

import (
	"encoding/base64"
	"errors"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/yaml"
)

const (
	// MaxChartBytes bounds a chart's .tgz. Helm keeps each revision of a release, chart included,
	// in one Secret, and Kubernetes bounds that (core/v1 MaxSecretSize).
	MaxChartBytes = 1 << 20
	// MaxReleaseNameBytes is Helm's bound (chartutil.ValidateReleaseName).
	MaxReleaseNameBytes = 53
)

// Options is what a HelmChart manifest is made of.
type Options struct {
	Name            string        // of the HelmChart and of the release
	Namespace       string        // of the HelmChart; empty: kube-system, where K3s' are
	TargetNamespace string        // of the release; empty: Namespace
	CreateNamespace bool          // make TargetNamespace if it is missing
	ChartContent    []byte        // the chart's .tgz
	Values          []byte        // YAML; may be empty
	Timeout         time.Duration // zero: DefaultTimeout
	FailurePolicy   FailurePolicy // empty: Reinstall
	Annotations     map[string]string
}

// Manifest returns the YAML of a HelmChart. The same options give the same bytes.
func Manifest(o Options) ([]byte, error) {
	if o.Namespace == "" {
		o.Namespace = metav1.NamespaceSystem
	}
	if err := o.validate(); err != nil {
		return nil, fmt.Errorf("HelmChart %q: %w", o.Name, err)
	}
	manifest := struct {
		metav1.TypeMeta `json:",inline"`
		Metadata        metadata `json:"metadata"`
		Spec            Spec     `json:"spec"`
	}{
		TypeMeta: metav1.TypeMeta{APIVersion: Group + "/" + Version, Kind: ChartKind},
		Metadata: metadata{o.Name, o.Namespace, o.Annotations},
		Spec: Spec{
			ChartContent:    base64.StdEncoding.EncodeToString(o.ChartContent),
			TargetNamespace: o.TargetNamespace,
			CreateNamespace: o.CreateNamespace,
			ValuesContent:   string(o.Values),
			FailurePolicy:   o.FailurePolicy,
		},
	}
	if o.Timeout > 0 {
		manifest.Spec.Timeout = &metav1.Duration{Duration: o.Timeout}
	}
	return yaml.Marshal(manifest)
}

// metadata is the part of metav1.ObjectMeta that a manifest states; the rest is the API server's.
type metadata struct {
	Name        string            `json:"name"`
	Namespace   string            `json:"namespace"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

func (o Options) validate() error {
	if len(o.Name) > MaxReleaseNameBytes {
		return fmt.Errorf("the name has %d bytes; Helm allows %d", len(o.Name), MaxReleaseNameBytes)
	}
	if bad := validation.IsDNS1123Subdomain(o.Name); len(bad) > 0 {
		return fmt.Errorf("not a release name: %s", bad[0])
	}
	for _, namespace := range []string{o.Namespace, o.TargetNamespace} {
		if bad := validation.IsDNS1123Label(namespace); namespace != "" && len(bad) > 0 {
			return fmt.Errorf("namespace %q: %s", namespace, bad[0])
		}
	}
	switch n := len(o.ChartContent); {
	case n == 0:
		return errors.New("no chart content")
	case n > MaxChartBytes:
		return fmt.Errorf("the chart has %d bytes; Helm keeps a release in one Secret, which limits it to %d: take unneeded files out (.helmignore)", n, MaxChartBytes)
	}
	if err := yaml.Unmarshal(o.Values, &map[string]any{}); err != nil {
		return fmt.Errorf("values: %w", err)
	}
	if o.FailurePolicy != "" && o.FailurePolicy != Reinstall && !o.FailurePolicy.Holds() {
		return fmt.Errorf("failurePolicy %q: want %q, %q or %q", o.FailurePolicy, Reinstall, Abort, Retry)
	}
	return nil
}
