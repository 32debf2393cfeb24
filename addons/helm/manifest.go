package helm

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"helm.sh/helm/v3/pkg/releaseutil"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"
)

// objectsOf parses the manifest that Helm keeps of a revision.
func objectsOf(manifest string) ([]*unstructured.Unstructured, error) {
	documents := releaseutil.SplitManifests(manifest)
	names := slices.Collect(maps.Keys(documents))
	slices.SortFunc(names, func(a, b string) int {
		if releaseutil.BySplitManifestsOrder([]string{a, b}).Less(0, 1) {
			return -1
		}
		return 1
	})
	var objects []*unstructured.Unstructured
	for _, name := range names {
		content, err := yaml.YAMLToJSON([]byte(documents[name]))
		if err != nil {
			return nil, err
		}
		if bytes.Equal(content, []byte("null")) {
			continue // comments only
		}
		object := new(unstructured.Unstructured)
		if err := object.UnmarshalJSON(content); err != nil {
			return nil, err
		}
		if !object.IsList() {
			objects = append(objects, object)
			continue
		}
		if err := object.EachListItem(func(item runtime.Object) error {
			objects = append(objects, item.(*unstructured.Unstructured))
			return nil
		}); err != nil {
			return nil, err
		}
	}
	return objects, nil
}

// patchedFields returns the topmost fields that a patch is about.
func patchedFields(patch []byte) []string {
	var tree map[string]any
	if err := json.Unmarshal(patch, &tree); err != nil {
		return nil
	}
	return differingFields(nil, tree)
}

// differingFields returns the paths at which two objects differ, without what the API server keeps on its own.
func differingFields(before, after map[string]any) []string {
	var paths []string
	collectPaths("", before, after, &paths)
	return slices.DeleteFunc(paths, func(path string) bool {
		switch path {
		case "metadata.managedFields", "metadata.resourceVersion", "metadata.generation", "metadata.creationTimestamp", "metadata.uid":
			return true
		}
		return path == "status" || strings.HasPrefix(path, "status.") || strings.HasPrefix(path, "metadata.managedFields[")
	})
}

func collectPaths(path string, before, after any, paths *[]string) {
	if reflect.DeepEqual(before, after) {
		return
	}
	switch after := after.(type) {
	case map[string]any:
		if before, ok := before.(map[string]any); ok {
			keys := maps.Clone(after)
			maps.Copy(keys, before)
			for _, key := range slices.Sorted(maps.Keys(keys)) {
				collectPaths(strings.TrimPrefix(path+"."+key, "."), before[key], after[key], paths)
			}
			return
		}
	case []any:
		if before, ok := before.([]any); ok && len(before) == len(after) {
			for i := range after {
				collectPaths(path+"["+nameOf(after[i], i)+"]", before[i], after[i], paths)
			}
			return
		}
	}
	*paths = append(*paths, path)
}

// nameOf returns what an element of a list is called by.
func nameOf(element any, index int) string {
	if fields, ok := element.(map[string]any); ok {
		if name, ok := fields["name"].(string); ok {
			return name
		}
	}
	return fmt.Sprint(index)
}
