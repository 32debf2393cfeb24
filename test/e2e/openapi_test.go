package e2e

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"airgap/test/site"
)

// widgets is the definition of a kind with one field, of any name.
func widgets(field string) string {
	return `apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.site.example}
spec:
  group: site.example
  scope: Namespaced
  names: {kind: Widget, plural: widgets}
  versions:
  - name: v1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, properties: {` + field + `: {type: string}}}}
`
}

// testOpenAPIDocuments holds that documents follow the kinds that there are, in both versions, though nobody holds them in memory.
func testOpenAPIDocuments(t *testing.T, s *node) {
	s.Apply(widgets("color"))
	t.Cleanup(func() { s.Command("kubectl", "delete", "crd", "widgets.site.example", "--ignore-not-found").Run() })
	site.Eventually(t, patience, func() error { return s.KubectlContains("color", "explain", "widget") })

	before := s.documents()
	s.Apply(widgets("weight"))
	site.Eventually(t, patience, func() error { return s.KubectlContains("weight", "explain", "widget") })
	after := s.documents()
	for path, url := range after {
		if path == "apis" || path == "version" {
			continue // metrics-server has these too, and the aggregator answers from either
		}
		if changed := path == "apis/site.example/v1"; changed != (url != before[path]) {
			t.Errorf("%s: %s, before the change %s", path, url, before[path])
		}
	}

	// Kubernetes' own kinds, custom ones and those of other servers in one document.
	for _, text := range []string{`"io.k8s.api.core.v1.Pod"`, `"weight"`, `"example.site.v1.Widget"`, `"io.k8s.metrics.pkg.apis.metrics.v1beta1.NodeMetrics"`} {
		site.Eventually(t, patience, func() error { return s.serves(text) })
	}
	s.Kubectl("delete", "crd", "widgets.site.example")
	site.Eventually(t, patience, func() error {
		if url, there := s.documents()["apis/site.example/v1"]; there {
			return fmt.Errorf("a deleted kind has the document %s", url)
		}
		if s.serves("example.site.v1.Widget") == nil {
			return fmt.Errorf("/openapi/v2 has a deleted kind")
		}
		return nil
	})
}

// documents returns where the documents of version 3 are, with the hashes of their contents, by group and version.
func (s *node) documents() map[string]string {
	s.T.Helper()
	var list struct {
		Paths map[string]struct{ ServerRelativeURL string }
	}
	if err := json.Unmarshal([]byte(s.Kubectl("get", "--raw", "/openapi/v3")), &list); err != nil {
		s.T.Fatal(err)
	}
	documents := map[string]string{}
	for path, document := range list.Paths {
		documents[path] = document.ServerRelativeURL
	}
	return documents
}

// serves wants text in the document of version 2.
func (s *node) serves(text string) error {
	out, err := s.Command("kubectl", "get", "--raw", "/openapi/v2").Output()
	if err != nil {
		return err
	}
	if !strings.Contains(string(out), text) {
		return fmt.Errorf("/openapi/v2: no %s in %d bytes", text, len(out))
	}
	return nil
}
