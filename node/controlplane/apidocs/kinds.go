package apidocs

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"k8s.io/apiextensions-apiserver/pkg/apihelpers"
	apiextensions "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	client "k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset/typed/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/controller/openapi/builder"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
	"k8s.io/kube-openapi/pkg/handler"
	"k8s.io/kube-openapi/pkg/spec3"
	"k8s.io/kube-openapi/pkg/validation/spec"
)

// retryDelay is how long Kinds waits when the definitions cannot be read.
const retryDelay = time.Second

// Kinds are the documents of custom kinds. It holds no definitions: those it reads anew when one has changed.
type Kinds struct {
	Documents *Documents // where those of version 3 go

	mutex    sync.Mutex
	made     map[string]string // of which definitions the document of a group and version is
	revision string            // of all definitions
}

// Run follows the definitions until ctx is done.
func (k *Kinds) Run(ctx context.Context, api client.ApiextensionsV1Interface) {
	changed := make(changes, 1)
	definitions := cache.NewListWatchFromClient(api.RESTClient(), "customresourcedefinitions", metav1.NamespaceAll, fields.Everything())
	go cache.NewNamedReflector("openapi-kinds", definitions, &apiextensions.CustomResourceDefinition{}, changed, 0).RunWithContext(ctx)
	for {
		select {
		case <-ctx.Done():
			return
		case <-changed:
		}
		for {
			list, err := List(ctx, api)
			if err == nil {
				k.Follow(list)
				break
			}
			klog.ErrorS(err, "Definitions of custom kinds cannot be read; their OpenAPI documents stay as they are")
			select {
			case <-ctx.Done():
				return
			case <-time.After(retryDelay):
			}
		}
	}
}

// List reads all definitions from the API server's cache.
func List(ctx context.Context, api client.ApiextensionsV1Interface) ([]apiextensions.CustomResourceDefinition, error) {
	list, err := api.CustomResourceDefinitions().List(ctx, metav1.ListOptions{ResourceVersion: "0"})
	if err != nil {
		return nil, err
	}
	return list.Items, nil
}

// changes says that there was one, to whoever reads next. A Reflector takes it for the store that it fills.
type changes chan struct{}

func (c changes) notify() error {
	select {
	case c <- struct{}{}:
	default: // nobody has read since the last one
	}
	return nil
}

func (c changes) Add(any) error               { return c.notify() }
func (c changes) Update(any) error            { return c.notify() }
func (c changes) Delete(any) error            { return c.notify() }
func (c changes) Replace([]any, string) error { return c.notify() }
func (c changes) Resync() error               { return nil }

// served calls f for each definition that is served and each of its versions that are.
func served(definitions []apiextensions.CustomResourceDefinition, f func(*apiextensions.CustomResourceDefinition, string)) {
	for i := range definitions {
		definition := &definitions[i]
		if !apihelpers.IsCRDConditionTrue(definition, apiextensions.Established) {
			continue
		}
		for _, version := range definition.Spec.Versions {
			if version.Served {
				f(definition, version.Name)
			}
		}
	}
}

// Follow makes the documents of version 3 of groups whose definitions are not those that it was last called with.
func (k *Kinds) Follow(definitions []apiextensions.CustomResourceDefinition) {
	slices.SortFunc(definitions, func(a, b apiextensions.CustomResourceDefinition) int { return strings.Compare(a.Name, b.Name) })
	type part struct {
		definition *apiextensions.CustomResourceDefinition
		version    string
	}
	parts, now := map[string][]part{}, map[string]string{}
	served(definitions, func(definition *apiextensions.CustomResourceDefinition, version string) {
		groupVersion := "apis/" + definition.Spec.Group + "/" + version
		parts[groupVersion] = append(parts[groupVersion], part{definition, version})
		now[groupVersion] += fmt.Sprintf("%s %d\n", definition.UID, definition.Generation)
	})
	k.mutex.Lock()
	defer k.mutex.Unlock()
	for groupVersion := range k.made {
		if now[groupVersion] == "" {
			k.Documents.Delete(groupVersion)
		}
	}
	for groupVersion, of := range now {
		if k.made[groupVersion] == of {
			continue
		}
		var documents []*spec3.OpenAPI
		var failed error
		for _, p := range parts[groupVersion] {
			document, err := builder.BuildOpenAPIV3(p.definition, p.version, builder.Options{IncludeSelectableFields: true})
			if err != nil {
				failed = errors.Join(failed, fmt.Errorf("%s: %w", p.definition.Name, err))
				continue // the others of the group have theirs
			}
			documents = append(documents, document)
		}
		if err := k.set(groupVersion, documents); err != nil {
			failed = errors.Join(failed, err)
		}
		if failed != nil {
			klog.ErrorS(failed, "OpenAPI document is incomplete", "groupVersion", groupVersion)
		}
	}
	k.made, k.revision = now, revisionOf(now)
}

func (k *Kinds) set(groupVersion string, documents []*spec3.OpenAPI) error {
	merged, err := builder.MergeSpecsV3(documents...)
	if err != nil {
		return err
	}
	data, err := json.Marshal(merged)
	if err != nil {
		return err
	}
	k.Documents.Set(groupVersion, data)
	return nil
}

func revisionOf(made map[string]string) string {
	hash := sha256.New()
	for _, groupVersion := range slices.Sorted(maps.Keys(made)) {
		fmt.Fprintf(hash, "%s\n%s", groupVersion, made[groupVersion])
	}
	return fmt.Sprintf("%x", hash.Sum(nil))
}

// Revision changes with the definitions.
func (k *Kinds) Revision() string {
	k.mutex.Lock()
	defer k.mutex.Unlock()
	return k.revision
}

// Swagger adds the custom kinds to a document of version 2, which must have no defaults.
func Swagger(static *spec.Swagger, definitions []apiextensions.CustomResourceDefinition) (*spec.Swagger, error) {
	var documents []*spec.Swagger
	served(definitions, func(definition *apiextensions.CustomResourceDefinition, version string) {
		document, err := builder.BuildOpenAPIV2(definition, version, builder.Options{V2: true, IncludeSelectableFields: true})
		if err != nil {
			klog.ErrorS(err, "OpenAPI document is incomplete", "definition", definition.Name, "version", version)
			return
		}
		document.Definitions = handler.PruneDefaults(document.Definitions)
		documents = append(documents, document)
	})
	return builder.MergeSpecs(static, documents...)
}
