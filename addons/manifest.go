package addons

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"
)

// document is one YAML document of a file.
type document struct {
	line int // of the file, from 1, at which the document begins
	text []byte
}

// splitDocuments cuts a stream of YAML documents at its markers (YAML 1.2.2, section 9.1.2: "---"
// or "..." at the beginning of a line and followed by white space or the end). Documents of
// nothing but comments, directives and blank lines are left out.
//
// The splitters at hand take "--- # comment" for content and lose the document behind it.
func splitDocuments(content []byte) []document {
	content = bytes.TrimPrefix(content, []byte("\xef\xbb\xbf"))
	var documents []document
	current := document{line: 1}
	flush := func(nextLine int) {
		if !isBlank(current.text) {
			documents = append(documents, current)
		}
		current = document{line: nextLine}
	}
	number := 0
	for line := range bytes.Lines(content) {
		number++
		switch {
		case isMarker(line, "---"):
			flush(number)
			// What follows the marker on its line belongs to the document; the spaces keep columns.
			current.text = append(current.text, "   "...)
			current.text = append(current.text, line[3:]...)
		case isMarker(line, "..."):
			flush(number + 1)
		default:
			current.text = append(current.text, line...)
		}
	}
	flush(number)
	return documents
}

func isMarker(line []byte, marker string) bool {
	rest, found := bytes.CutPrefix(line, []byte(marker))
	return found && (len(rest) == 0 || rest[0] == ' ' || rest[0] == '\t' || rest[0] == '\r' || rest[0] == '\n')
}

// isBlank says whether a document has nothing but comments, directives and white space.
func isBlank(text []byte) bool {
	for line := range bytes.Lines(text) {
		if bytes.HasPrefix(line, []byte("%")) {
			continue
		}
		if line = bytes.TrimSpace(line); len(line) > 0 && line[0] != '#' {
			return false
		}
	}
	return true
}

// parseManifest returns the objects of a manifest, YAML or JSON, in the order in which to apply
// them; lists are taken apart. The error names every document that is bad, by its line.
func parseManifest(content []byte) ([]*unstructured.Unstructured, error) {
	var objects []*unstructured.Unstructured
	var bad []error
	for _, document := range splitDocuments(content) {
		found, err := parseDocument(document.text)
		if err != nil {
			bad = append(bad, fmt.Errorf("document at line %d: %w", document.line, err))
		}
		objects = append(objects, found...)
	}
	if err := errors.Join(bad...); err != nil {
		return nil, err
	}
	seen := map[identity]bool{}
	for _, object := range objects {
		id := identityOf(referenceTo(object))
		if seen[id] {
			return nil, fmt.Errorf("%s is there twice", referenceTo(object))
		}
		seen[id] = true
	}
	slices.SortStableFunc(objects, func(a, b *unstructured.Unstructured) int {
		return cmp.Compare(rank(a.GroupVersionKind().GroupKind()), rank(b.GroupVersionKind().GroupKind()))
	})
	return objects, nil
}

func parseDocument(text []byte) ([]*unstructured.Unstructured, error) {
	json, err := yaml.YAMLToJSONStrict(text)
	if err != nil {
		return nil, err
	}
	if string(json) == "null" {
		return nil, nil
	}
	decoded, err := runtime.Decode(unstructured.UnstructuredJSONScheme, json)
	if err != nil {
		return nil, err
	}
	var objects []*unstructured.Unstructured
	switch decoded := decoded.(type) {
	case *unstructured.UnstructuredList:
		for i := range decoded.Items {
			objects = append(objects, &decoded.Items[i])
		}
	case *unstructured.Unstructured:
		objects = append(objects, decoded)
	}
	for _, object := range objects {
		if object.GetAPIVersion() == "" || object.GetKind() == "" {
			return nil, errors.New("an object without apiVersion and kind")
		}
		if object.GetName() == "" {
			return nil, fmt.Errorf("a %s without metadata.name: a file that is applied again and again needs fixed names", object.GetKind())
		}
	}
	return objects, nil
}

// rank orders the objects of a file: what others need to exist comes first. Within a rank, the file's
// own order stands.
func rank(kind schema.GroupKind) int {
	switch kind {
	case schema.GroupKind{Kind: "Namespace"}:
		return 0
	case schema.GroupKind{Group: "apiextensions.k8s.io", Kind: "CustomResourceDefinition"}:
		return 1
	}
	return 2
}
