package helm

import (
	"context"
	"embed"
	"fmt"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/dynamic"
	"sigs.k8s.io/yaml"
)

//go:embed crds
var crdFiles embed.FS

var crdResource = apiextensionsv1.SchemeGroupVersion.WithResource("customresourcedefinitions")

// definitions returns the CustomResourceDefinitions of the API.
func definitions() ([]*unstructured.Unstructured, error) {
	entries, err := crdFiles.ReadDir("crds")
	if err != nil {
		return nil, err
	}
	var objects []*unstructured.Unstructured
	for _, entry := range entries {
		content, err := crdFiles.ReadFile("crds/" + entry.Name())
		if err != nil {
			return nil, err
		}
		object := new(unstructured.Unstructured)
		if err := yaml.UnmarshalStrict(content, &object.Object); err != nil {
			return nil, fmt.Errorf("%s: %w", entry.Name(), err)
		}
		objects = append(objects, object)
	}
	return objects, nil
}

// define makes the cluster know the API, and returns once it does. The definitions that are
// there may be K3s' or those of another version: they are made the same as ours.
func define(ctx context.Context, client dynamic.Interface) error {
	objects, err := definitions()
	if err != nil {
		return err
	}
	resource := client.Resource(crdResource)
	for _, object := range objects {
		if _, err := resource.Apply(ctx, object.GetName(), object, metav1.ApplyOptions{FieldManager: fieldManager, Force: true}); err != nil {
			return fmt.Errorf("define %s: %w", object.GetName(), err)
		}
	}
	for _, object := range objects {
		for {
			current, err := resource.Get(ctx, object.GetName(), metav1.GetOptions{})
			if err != nil {
				return fmt.Errorf("define %s: %w", object.GetName(), err)
			}
			if isEstablished(current) {
				break
			}
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(100 * time.Millisecond):
			}
		}
	}
	return nil
}

func isEstablished(object *unstructured.Unstructured) bool {
	var definition apiextensionsv1.CustomResourceDefinition
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, &definition); err != nil {
		return false
	}
	for _, condition := range definition.Status.Conditions {
		if condition.Type == apiextensionsv1.Established {
			return condition.Status == apiextensionsv1.ConditionTrue
		}
	}
	return false
}
