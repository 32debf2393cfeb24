package addons

import (
	"context"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
)

const (
	fieldManager = "airgap-deployer"
	// fileAnnotation names the file for which an object is there. What does not carry it, or
	// carries another's name, is not deleted on a file's account.
	fileAnnotation = "airgap.internal/manifest"
	ownerLabel     = "airgap.internal/managed-by"

	// keepAnnotation, with keepValue, is Helm's way to say that an object outlives what made it. It is
	// asked of the object in the cluster.
	keepAnnotation = "helm.sh/resource-policy"
	keepValue      = "keep"
)

// A cluster applies and deletes objects of any kind.
type cluster struct {
	typed   kubernetes.Interface
	dynamic dynamic.Interface
	mapper  meta.ResettableRESTMapper
	asked   time.Time // when the mapper was last made to ask the API server again
}

// askAgainAfter bounds how often a file full of unknown kinds makes the mapper ask the API server.
const askAgainAfter = 300 * time.Millisecond

func connect(config *rest.Config) (*cluster, error) {
	config = rest.CopyConfig(config)
	config.UserAgent = fieldManager
	config.QPS, config.Burst = 50, 100 // client-go's 5 and 10 would make the first start slow
	typed, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	untyped, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	discoveryClient, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		return nil, err
	}
	mapper := restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(discoveryClient))
	return &cluster{typed: typed, dynamic: untyped, mapper: mapper}, nil
}

// resolve completes a reference: it finds the resource, and the namespace is the default one where
// none is named, and none where the kind has none. A kind that the API server does not know gives an
// error for which meta.IsNoMatchError holds.
func (c *cluster) resolve(r Reference) (Reference, dynamic.ResourceInterface, error) {
	mapping, err := c.mapper.RESTMapping(r.groupKind(), r.Version)
	if meta.IsNoMatchError(err) && time.Since(c.asked) > askAgainAfter {
		c.asked = time.Now()
		c.mapper.Reset() // it may be a new kind
		mapping, err = c.mapper.RESTMapping(r.groupKind(), r.Version)
	}
	if err != nil {
		return r, nil, err
	}
	if mapping.Scope.Name() == meta.RESTScopeNameRoot {
		r.Namespace = ""
		return r, c.dynamic.Resource(mapping.Resource), nil
	}
	if r.Namespace == "" {
		r.Namespace = metav1.NamespaceDefault
	}
	return r, c.dynamic.Resource(mapping.Resource).Namespace(r.Namespace), nil
}

// apply makes the cluster agree with an object on every field that the object states, whoever
// set it before.
func (c *cluster) apply(ctx context.Context, object *unstructured.Unstructured, file string) error {
	reference, resource, err := c.resolve(referenceTo(object))
	if err != nil {
		return fmt.Errorf("%s: %w", reference, err)
	}
	object = object.DeepCopy()
	object.SetNamespace(reference.Namespace)
	object.SetManagedFields(nil) // exported objects carry them; the API refuses them here
	object.SetResourceVersion("")
	object.SetUID("")
	unstructured.RemoveNestedField(object.Object, "metadata", "creationTimestamp")
	setEntry(object.GetAnnotations, object.SetAnnotations, fileAnnotation, file)
	setEntry(object.GetLabels, object.SetLabels, ownerLabel, fieldManager)
	_, err = resource.Apply(ctx, object.GetName(), object, metav1.ApplyOptions{FieldManager: fieldManager, Force: true})
	if apierrors.IsInvalid(err) {
		return fmt.Errorf("%s: %w (if a field cannot be changed, delete the object to have it made anew)", reference, err)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", reference, err)
	}
	return nil
}

// remove deletes an object, with all that it owns, if it is there on account of file.
func (c *cluster) remove(ctx context.Context, r Reference, file string) error {
	if isProtected(r) {
		return nil
	}
	_, resource, err := c.resolve(r)
	if meta.IsNoMatchError(err) {
		return nil // the kind is gone, and with it all objects of it
	}
	if err != nil {
		return fmt.Errorf("%s: %w", r, err)
	}
	object, err := resource.Get(ctx, r.Name, metav1.GetOptions{})
	if err == nil {
		annotations := object.GetAnnotations()
		if annotations[fileAnnotation] != file || annotations[keepAnnotation] == keepValue {
			return nil
		}
		uid, background := object.GetUID(), metav1.DeletePropagationBackground
		err = resource.Delete(ctx, r.Name, metav1.DeleteOptions{
			PropagationPolicy: &background,
			Preconditions:     &metav1.Preconditions{UID: &uid},
		})
	}
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("%s: %w", r, err)
	}
	return nil
}

func setEntry(get func() map[string]string, set func(map[string]string), key, value string) {
	entries := get() // a copy
	if entries == nil {
		entries = map[string]string{}
	}
	entries[key] = value
	set(entries)
}

// describe says which object an error is about, and what an unknown kind means.
func describe(r Reference, err error) error {
	if meta.IsNoMatchError(err) {
		return fmt.Errorf("%s: the API server knows no %s of %s/%s (yet): %w", r, r.Kind, r.Group, r.Version, err)
	}
	return fmt.Errorf("%s: %w", r, err)
}
