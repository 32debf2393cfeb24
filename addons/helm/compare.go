package helm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"helm.sh/helm/v3/pkg/kube"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/jsonmergepatch"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"k8s.io/cli-runtime/pkg/resource"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"

	"airgap/internal/helmchart"
)

// A comparison looks how the objects of one release are, against what its manifest says.
type comparison struct {
	dynamic   dynamic.Interface
	typed     kubernetes.Interface
	mapper    meta.RESTMapper
	release   string
	namespace string // of the release

	autoscaled map[string][]autoscalingv2.HorizontalPodAutoscaler // by namespace, as far as asked for
}

func newComparison(dynamic dynamic.Interface, typed kubernetes.Interface, mapper meta.RESTMapper, in *inputs) *comparison {
	return &comparison{
		dynamic: dynamic, typed: typed, mapper: mapper, release: in.name, namespace: in.target,
		autoscaled: map[string][]autoscalingv2.HorizontalPodAutoscaler{},
	}
}

// A difference is an object that is not as its release says.
type difference struct {
	object   string   // kind and name
	missing  bool     // it was deleted
	fields   []string // otherwise the paths that differ; never values, which may be secret
	obstacle string   // why it cannot be put right, "" if it may
	target   *unstructured.Unstructured
	resource dynamic.ResourceInterface
	patch    []byte
	kind     types.PatchType
}

func (d difference) String() string {
	const shown = 3
	text := d.object + " was deleted"
	if !d.missing {
		fields := d.fields
		if len(fields) > shown {
			fields = append(slices.Clone(fields[:shown]), fmt.Sprintf("%d more", len(d.fields)-shown))
		}
		text = d.object + " differs in " + strings.Join(fields, ", ")
	}
	if d.obstacle != "" {
		text += " (" + d.obstacle + ")"
	}
	return text
}

// differences compares all objects of a release's manifest with the cluster's.
func (c *comparison) differences(ctx context.Context, manifest string) ([]difference, error) {
	objects, err := objectsOf(manifest)
	if err != nil {
		return nil, err
	}
	var all []difference
	for _, object := range objects {
		d, err := c.compare(ctx, object)
		if err != nil {
			return nil, fmt.Errorf("%s %s: %w", object.GetKind(), object.GetName(), err)
		}
		if d != nil {
			all = append(all, *d)
		}
	}
	return all, nil
}

// compare returns how one object differs, nil if it does not. What it counts is what Helm's next upgrade would
// change: it makes Helm's three-way patch, and where that is not empty asks the API server what
// would come of it. The answer has defaults filled in and quantities in one notation.
func (c *comparison) compare(ctx context.Context, target *unstructured.Unstructured) (*difference, error) {
	kind := target.GroupVersionKind()
	mapping, err := c.mapper.RESTMapping(kind.GroupKind(), kind.Version)
	if meta.IsNoMatchError(err) {
		return &difference{object: kind.Kind + " " + target.GetName(), missing: true, obstacle: fmt.Sprintf("the API server no longer knows %s %s", kind.GroupVersion(), kind.Kind)}, nil
	}
	if err != nil {
		return nil, err
	}
	target = c.owned(target, mapping)
	d := &difference{object: kind.Kind + " " + target.GetName(), target: target, resource: c.dynamic.Resource(mapping.Resource)}
	if mapping.Scope.Name() != meta.RESTScopeNameRoot {
		d.object = kind.Kind + " " + target.GetNamespace() + "/" + target.GetName()
		d.resource = c.dynamic.Resource(mapping.Resource).Namespace(target.GetNamespace())
	}
	live, err := d.resource.Get(ctx, target.GetName(), metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err) && (isExempt(target) || runsOnce(kind.GroupKind())):
		return nil, nil
	case apierrors.IsNotFound(err):
		d.missing = true
		return d, nil
	case err != nil:
		return nil, err
	case live.GetDeletionTimestamp() != nil || isExempt(target) || isExempt(live):
		return nil, nil
	}
	if d.patch, d.kind, err = threeWayPatch(target, live, mapping); err != nil || isEmpty(d.patch) {
		return nil, err
	}
	if scaled, err := c.isAutoscaled(ctx, target, d.patch); err != nil {
		return nil, err
	} else if scaled {
		unstructured.RemoveNestedField(target.Object, "spec", "replicas")
		if d.patch, d.kind, err = threeWayPatch(target, live, mapping); err != nil || isEmpty(d.patch) {
			return nil, err
		}
	}
	would, err := d.resource.Patch(ctx, target.GetName(), d.kind, d.patch, metav1.PatchOptions{FieldManager: fieldManager, DryRun: []string{metav1.DryRunAll}})
	switch {
	case apierrors.IsNotFound(err):
		return nil, nil // deleted this moment: the next look tells
	case apierrors.IsInvalid(err) || apierrors.IsForbidden(err) || apierrors.IsBadRequest(err):
		d.obstacle = refusal(err)
		d.fields = patchedFields(d.patch)
		return d, nil
	case err != nil:
		return nil, err
	}
	if d.fields = differingFields(live.Object, would.Object); len(d.fields) == 0 {
		return nil, nil
	}
	return d, nil
}

// owned returns an object of a manifest as Helm applies it: in a namespace, and marked as the release's. Fields
// that are there for controllers to fill are left out.
func (c *comparison) owned(object *unstructured.Unstructured, mapping *meta.RESTMapping) *unstructured.Unstructured {
	object = object.DeepCopy()
	if object.GetNamespace() == "" && mapping.Scope.Name() != meta.RESTScopeNameRoot {
		object.SetNamespace(c.namespace)
	}
	labels, annotations := object.GetLabels(), object.GetAnnotations()
	if labels == nil {
		labels = map[string]string{}
	}
	if annotations == nil {
		annotations = map[string]string{}
	}
	labels["app.kubernetes.io/managed-by"] = "Helm"
	annotations["meta.helm.sh/release-name"], annotations["meta.helm.sh/release-namespace"] = c.release, c.namespace
	object.SetLabels(labels)
	object.SetAnnotations(annotations)
	switch mapping.GroupVersionKind.Group {
	case "admissionregistration.k8s.io", "apiextensions.k8s.io", "apiregistration.k8s.io":
		dropCABundles(object.Object)
	}
	return object
}

// dropCABundles takes out the certificates that charts leave empty, or fill in vain, for an injector.
func dropCABundles(node any) {
	switch node := node.(type) {
	case map[string]any:
		delete(node, "caBundle")
		for _, below := range node {
			dropCABundles(below)
		}
	case []any:
		for _, below := range node {
			dropCABundles(below)
		}
	}
}

// isExempt says whether an object is left to whoever keeps it.
func isExempt(object *unstructured.Unstructured) bool {
	annotations := object.GetAnnotations()
	return annotations[kube.ResourcePolicyAnno] == kube.KeepPolicy || annotations[helmchart.DriftAnnotation] == helmchart.DriftIgnore
}

// runsOnce says whether objects of a kind go when their work is done, and would do it again if they were made again.
func runsOnce(kind schema.GroupKind) bool {
	return kind == schema.GroupKind{Group: "batch", Kind: "Job"}
}

// threeWayPatch returns the patch by which Helm would bring an object to what its release says. What others
// have added stays.
func threeWayPatch(target, live *unstructured.Unstructured, mapping *meta.RESTMapping) ([]byte, types.PatchType, error) {
	wanted, err := json.Marshal(target.Object)
	if err != nil {
		return nil, "", err
	}
	current, err := json.Marshal(live.Object)
	if err != nil {
		return nil, "", err
	}
	typed := kube.AsVersioned(&resource.Info{Object: target, Mapping: mapping})
	if _, untyped := typed.(runtime.Unstructured); untyped {
		patch, err := jsonmergepatch.CreateThreeWayJSONMergePatch(wanted, wanted, current)
		return patch, types.MergePatchType, err
	}
	schema, err := strategicpatch.NewPatchMetaFromStruct(typed)
	if err != nil {
		return nil, "", err
	}
	patch, err := strategicpatch.CreateThreeWayMergePatch(wanted, wanted, current, schema, true)
	return patch, types.StrategicMergePatchType, err
}

func isEmpty(patch []byte) bool { return len(patch) == 0 || string(patch) == "{}" }

// isAutoscaled says whether a patch sets the number of pods of something that an autoscaler scales.
func (c *comparison) isAutoscaled(ctx context.Context, target *unstructured.Unstructured, patch []byte) (bool, error) {
	var patched struct {
		Spec struct {
			Replicas *int `json:"replicas"`
		} `json:"spec"`
	}
	if json.Unmarshal(patch, &patched) != nil || patched.Spec.Replicas == nil {
		return false, nil
	}
	namespace := target.GetNamespace()
	if _, asked := c.autoscaled[namespace]; !asked {
		list, err := c.typed.AutoscalingV2().HorizontalPodAutoscalers(namespace).List(ctx, metav1.ListOptions{})
		if err != nil {
			return false, fmt.Errorf("autoscalers: %w", err)
		}
		c.autoscaled[namespace] = list.Items
	}
	return slices.ContainsFunc(c.autoscaled[namespace], func(a autoscalingv2.HorizontalPodAutoscaler) bool {
		reference := a.Spec.ScaleTargetRef
		group, _ := schema.ParseGroupVersion(reference.APIVersion)
		return reference.Kind == target.GetKind() && reference.Name == target.GetName() && group.Group == target.GroupVersionKind().Group
	}), nil
}

// refusal says why the API server does not take an object, without the values that its message quotes.
func refusal(err error) string {
	var status apierrors.APIStatus
	if !apierrors.IsInvalid(err) || !errors.As(err, &status) || status.Status().Details == nil {
		return err.Error()
	}
	var fields []string
	for _, cause := range status.Status().Details.Causes {
		if cause.Field != "" && !slices.Contains(fields, cause.Field) {
			fields = append(fields, cause.Field)
		}
	}
	return "the API server refuses " + strings.Join(fields, ", ")
}
