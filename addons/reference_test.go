package addons

import (
	"slices"
	"testing"
)

var (
	site      = Reference{"example.org", "v1", "Site", "a", "one"}
	siteBeta  = Reference{"example.org", "v1beta1", "Site", "a", "one"}
	siteKind  = Reference{"apiextensions.k8s.io", "v1", "CustomResourceDefinition", "", "sites.example.org"}
	namespace = Reference{"", "v1", "Namespace", "", "a"}
	config    = Reference{"", "v1", "ConfigMap", "a", "one"}
)

func TestReferencesAsSets(t *testing.T) {
	if got := subtract([]Reference{site, config}, []Reference{siteBeta}); !slices.Equal(got, []Reference{config}) {
		t.Errorf("another version of the API is another object: %v", got)
	}
	if got := union([]Reference{siteBeta, config}, []Reference{site}); !slices.Equal(got, []Reference{config, site}) {
		t.Errorf("union: %v", got)
	}
	if got := subtract([]Reference{site}, nil, []Reference{site}); len(got) != 0 {
		t.Errorf("subtract of several: %v", got)
	}
}

func TestDeletionOrderIsTheReverse(t *testing.T) {
	got := deletionOrder([]Reference{namespace, siteKind, config, site})
	if want := []Reference{site, config, siteKind, namespace}; !slices.Equal(got, want) {
		t.Errorf("got %v\nwant %v", got, want)
	}
}

func TestProtected(t *testing.T) {
	for reference, want := range map[Reference]bool{
		{"", "v1", "Namespace", "", "kube-system"}:          true,
		{"", "v1", "Namespace", "", "default"}:              true,
		{"", "v1", "Namespace", "", "demo"}:                 false,
		{"", "v1", "ConfigMap", "kube-system", "default"}:   false,
		{"example.org", "v1", "Namespace", "", "default"}:   false,
		{"", "v1", "Namespace", "", "kube-node-lease"}:      true,
		{"", "v1", "Secret", "kube-system", "kube-system"}:  false,
		{"", "v1", "ConfigMap", "default", "kube-public"}:   false,
		{"", "v1", "Namespace", "", "kube-public"}:          true,
		{"apps", "v1", "Deployment", "default", "anything"}: false,
	} {
		if got := isProtected(reference); got != want {
			t.Errorf("%v: %v", reference, got)
		}
	}
}
