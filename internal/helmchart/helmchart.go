// Package helmchart is the HelmChart and HelmChartConfig resources of helm.cattle.io/v1:
// what a writer of them (the installer) and their controller (addons/helm) both know.
//
// A HelmChart is a chart that the cluster keeps installed as a Helm release of the same
// name. The fields and their meaning are K3s' (helm-controller, pkg/apis/helm.cattle.io/v1),
// so that its users' manifests work unchanged; what differs is told at the field. Fields that
// tune K3s' install job (bootstrap, jobImage, backOffLimit, podSecurityContext, securityContext) or Helm 4's
// way to apply (serverSide, forceConflicts) are not in these types: the schema accepts them, and as no
// job is run, and Helm is version 3, they have no effect.
package helmchart

import (
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// The API's names.
const (
	Group      = "helm.cattle.io"
	Version    = "v1"
	ChartKind  = "HelmChart"
	ConfigKind = "HelmChartConfig"
)

// The resources, as paths of the API name them.
var (
	Charts  = schema.GroupVersionResource{Group: Group, Version: Version, Resource: "helmcharts"}
	Configs = schema.GroupVersionResource{Group: Group, Version: Version, Resource: "helmchartconfigs"}
)

// DefaultTimeout bounds each hook of a chart, and how long its workloads may take
// to become ready before an upgrade counts as failed.
const DefaultTimeout = 5 * time.Minute

// FailurePolicy says what follows a failed install or upgrade.
type FailurePolicy string

const (
	// Reinstall, the default, uninstalls a release that never worked and tries again; a failed
	// upgrade is rolled back to the revision before it. (K3s uninstalls then, too.)
	Reinstall FailurePolicy = "reinstall"
	// Abort leaves everything as the failure left it, until the HelmChart changes; the release is then
	// upgraded in place. (In K3s' a failed release stays so until someone mends it with Helm.)
	Abort FailurePolicy = "abort"
	// Retry is the same as Abort.
	Retry FailurePolicy = "retry"
)

// Holds says whether a failure leaves everything as it is.
func (p FailurePolicy) Holds() bool { return p == Abort || p == Retry }

// UnmanagedAnnotation on a HelmChart, with any value, makes the controller leave it alone, as K3s' does.
const UnmanagedAnnotation = "helmcharts.helm.cattle.io/unmanaged"

// Chart is a HelmChart: its name is the release's.
type Chart struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec   Spec   `json:"spec"`
	Status Status `json:"status,omitempty"`
}

// Spec is what is to be installed and with which values.
//
// The chart is the first of these that is given: ChartContent; Chart as an oci:// reference
// or an http(s):// URL of a .tgz; Chart as a name in Repo.
type Spec struct {
	Chart        string `json:"chart,omitempty"`
	ChartContent string `json:"chartContent,omitempty"` // base64 of a chart's .tgz
	Version      string `json:"version,omitempty"`
	Repo         string `json:"repo,omitempty"` // URL of a chart repository

	RepoCA                string         `json:"repoCA,omitempty"`               // PEM
	RepoCAConfigMap       *NameReference `json:"repoCAConfigMap,omitempty"`      // each key a PEM file
	AuthSecret            *NameReference `json:"authSecret,omitempty"`           // kubernetes.io/basic-auth
	DockerRegistrySecret  *NameReference `json:"dockerRegistrySecret,omitempty"` // kubernetes.io/dockerconfigjson
	AuthPassCredentials   bool           `json:"authPassCredentials,omitempty"`
	InsecureSkipTLSVerify bool           `json:"insecureSkipTLSVerify,omitempty"`
	PlainHTTP             bool           `json:"plainHTTP,omitempty"`

	TargetNamespace string `json:"targetNamespace,omitempty"` // empty: the HelmChart's own
	CreateNamespace bool   `json:"createNamespace,omitempty"`

	// Values, least to greatest: the chart's own, ValuesContent, Values, ValuesSecrets, those of the
	// HelmChartConfig of the same name, Set.
	ValuesContent string                        `json:"valuesContent,omitempty"` // YAML
	Values        map[string]any                `json:"values,omitempty"`
	ValuesSecrets []ValuesSecret                `json:"valuesSecrets,omitempty"`
	Set           map[string]intstr.IntOrString `json:"set,omitempty"`

	HelmVersion   string           `json:"helmVersion,omitempty"` // "v3" or empty
	TakeOwnership bool             `json:"takeOwnership,omitempty"`
	Timeout       *metav1.Duration `json:"timeout,omitempty"`
	FailurePolicy FailurePolicy    `json:"failurePolicy,omitempty"`
	Driver        Driver           `json:"driver,omitempty"` // cannot be changed
}

// Driver says in objects of which kind Helm keeps the revisions of a release.
type Driver string

// The drivers; the first is meant where none is given.
const (
	DriverSecret    Driver = "secret"
	DriverConfigMap Driver = "configmap"
)

// NameReference names an object in the HelmChart's namespace.
type NameReference struct {
	Name string `json:"name,omitempty"`
}

// ValuesSecret names keys of a Secret in the HelmChart's namespace, each a YAML document of values.
// A later key wins; no keys are all keys, in order of their names (in K3s': none). The Secret must be there, and a
// change of it upgrades the release.
type ValuesSecret struct {
	Name          string   `json:"name,omitempty"`
	Keys          []string `json:"keys,omitempty"`
	IgnoreUpdates bool     `json:"ignoreUpdates,omitempty"` // the Secret may be missing, and its change is no reason for an upgrade
}

// Config is a HelmChartConfig: values for the HelmChart of the same name and namespace, for
// charts that someone else writes.
type Config struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec ConfigSpec `json:"spec,omitempty"`
}

// ConfigSpec overrides parts of a [Spec].
type ConfigSpec struct {
	ValuesContent string         `json:"valuesContent,omitempty"`
	Values        map[string]any `json:"values,omitempty"`
	ValuesSecrets []ValuesSecret `json:"valuesSecrets,omitempty"`
	FailurePolicy FailurePolicy  `json:"failurePolicy,omitempty"`
}

// Release returns the name and namespace of the release.
func (c *Chart) Release() (namespace, name string) {
	if c.Spec.TargetNamespace != "" {
		return c.Spec.TargetNamespace, c.Name
	}
	return c.Namespace, c.Name
}

// ChartFromObject reads a HelmChart as the API server gives it.
func ChartFromObject(u *unstructured.Unstructured) (*Chart, error) {
	c := new(Chart)
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, c); err != nil {
		return nil, fmt.Errorf("HelmChart %s/%s: %w", u.GetNamespace(), u.GetName(), err)
	}
	return c, nil
}

// ConfigFromObject reads a HelmChartConfig as the API server gives it.
func ConfigFromObject(u *unstructured.Unstructured) (*Config, error) {
	c := new(Config)
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, c); err != nil {
		return nil, fmt.Errorf("HelmChartConfig %s/%s: %w", u.GetNamespace(), u.GetName(), err)
	}
	return c, nil
}
