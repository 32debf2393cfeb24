package addons

import (
	"cmp"
	"fmt"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Reference names an object of the cluster.
type Reference struct {
	Group     string `json:"group,omitempty"`
	Version   string `json:"version"`
	Kind      string `json:"kind"`
	Namespace string `json:"namespace,omitempty"` // empty for what is the cluster's
	Name      string `json:"name"`
}

func (r Reference) String() string {
	kind := r.Kind
	if r.Group != "" {
		kind += "." + r.Group
	}
	if r.Namespace != "" {
		return fmt.Sprintf("%s %s/%s", kind, r.Namespace, r.Name)
	}
	return fmt.Sprintf("%s %s", kind, r.Name)
}

func (r Reference) groupKind() schema.GroupKind {
	return schema.GroupKind{Group: r.Group, Kind: r.Kind}
}

func referenceTo(object *unstructured.Unstructured) Reference {
	kind := object.GroupVersionKind()
	return Reference{kind.Group, kind.Version, kind.Kind, object.GetNamespace(), object.GetName()}
}

// identity is what makes two references the same object: the version of the API through which
// it is seen does not matter.
type identity struct{ group, kind, namespace, name string }

func identityOf(r Reference) identity { return identity{r.Group, r.Kind, r.Namespace, r.Name} }

// union returns all references of a, then those of b that a has not. A reference of both is
// given as b has it.
func union(a, b []Reference) []Reference {
	return append(subtract(a, b), b...)
}

// subtract returns the references of a that are not in any of bs, in order.
func subtract(a []Reference, bs ...[]Reference) []Reference {
	drop := map[identity]bool{}
	for _, b := range bs {
		for _, r := range b {
			drop[identityOf(r)] = true
		}
	}
	var rest []Reference
	for _, r := range a {
		if !drop[identityOf(r)] {
			rest = append(rest, r)
		}
	}
	return rest
}

// deletionOrder returns the references in the order in which to delete them: the reverse
// of the order of making, so that custom resources go before their definition, which would take
// them along, and everything before its namespace.
func deletionOrder(references []Reference) []Reference {
	ordered := slices.Clone(references)
	slices.Reverse(ordered)
	slices.SortStableFunc(ordered, func(a, b Reference) int {
		return -cmp.Compare(rank(a.groupKind()), rank(b.groupKind()))
	})
	return ordered
}

// isProtected says whether an object is never deleted, whatever the folder says: the namespaces
// that every cluster has.
func isProtected(r Reference) bool {
	if r.groupKind() != (schema.GroupKind{Kind: "Namespace"}) {
		return false
	}
	switch r.Name {
	case metav1.NamespaceDefault, metav1.NamespaceSystem, metav1.NamespacePublic, "kube-node-lease":
		return true
	}
	return false
}
