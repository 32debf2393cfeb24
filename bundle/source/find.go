package source

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"

	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"
)

// Mention is one place that names an image.
type Mention struct {
	Where   string `json:"where"`             // "chart podinfo: Deployment demo/podinfo, container podinfo (templates/deployment.yaml)"
	Guessed bool   `json:"guessed,omitempty"` // what is there only looks like an image reference
}

// named is an image reference as a Kubernetes object has it.
type named struct {
	reference string
	Mention
	optional bool // nothing says that a machine will pull it: carried only if airgap.yaml lists it
}

// certainty is how far a place that names an image can be relied on.
type certainty int

const (
	sure   certainty = iota // the kubelet pulls it
	likely                  // a field of a custom resource that is called as images are; an object inside another
	hint                    // told to a program, which may or may not start it
)

// podSpecs is where the built-in kinds keep their PodSpec.
var podSpecs = map[string][]string{
	"Pod":                   {"spec"},
	"PodTemplate":           {"template", "spec"},
	"Deployment":            {"spec", "template", "spec"},
	"ReplicaSet":            {"spec", "template", "spec"},
	"ReplicationController": {"spec", "template", "spec"},
	"StatefulSet":           {"spec", "template", "spec"},
	"DaemonSet":             {"spec", "template", "spec"},
	"Job":                   {"spec", "template", "spec"},
	"CronJob":               {"spec", "jobTemplate", "spec", "template", "spec"},
}

// builtInGroups are the API groups whose kinds are all known here: one that is not in podSpecs runs
// nothing. Groups that end in .k8s.io are not among them: many are custom resources.
var builtInGroups = []string{"", "apps", "batch", "extensions", "autoscaling", "policy",
	"rbac.authorization.k8s.io", "networking.k8s.io", "storage.k8s.io", "apiextensions.k8s.io",
	"admissionregistration.k8s.io", "apiregistration.k8s.io", "scheduling.k8s.io", "coordination.k8s.io",
	"discovery.k8s.io", "node.k8s.io", "flowcontrol.apiserver.k8s.io", "certificates.k8s.io", "events.k8s.io"}

// findings are what objects lead to: images, and what the node's Helm controller makes more objects of.
type findings struct {
	images   []named
	declared []declared
}

func (f *findings) add(more findings) {
	f.images = append(f.images, more.images...)
	f.declared = append(f.declared, more.declared...)
}

// findIn looks into a stream of YAML documents. origin is what a mention begins with ("chart podinfo"), file what it ends with unless the
// stream's own "# Source:" comments, which Helm writes, say better; namespace is that of objects that do not say theirs.
func findIn(stream []byte, origin, file, namespace string) (findings, error) {
	var found findings
	err := eachDocument(stream, func(document []byte) error {
		from := file
		if m := sourceComment.FindSubmatch(document); m != nil {
			from = string(m[1])
		}
		var object map[string]any
		if err := yaml.Unmarshal(document, &object); err != nil {
			return fmt.Errorf("%s: %w", from, err)
		}
		w := walker{origin: origin, file: from, namespace: namespace}
		w.object(object)
		found.add(w.findings)
		return nil
	})
	if err != nil {
		return findings{}, err
	}
	return found, nil
}

// eachDocument hands on the documents of a YAML stream.
func eachDocument(stream []byte, take func(document []byte) error) error {
	reader := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(stream)))
	for {
		document, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if err := take(document); err != nil {
			return err
		}
	}
}

// sourceComment is how Helm says which template made a document: "# Source: podinfo/templates/x.yaml".
var sourceComment = regexp.MustCompile(`(?m)\A(?:---\n)?\s*# Source: [^/\n]+/(.+)$`)

// walker looks into one object.
type walker struct {
	findings
	origin, file string
	title        string    // "Deployment demo/podinfo"
	namespace    string    // of an object that does not say its own
	atMost       certainty // of what is found here
	defaultTag   string    // of a repository whose tag is empty
}

// name notes an image.
func (w *walker) name(reference, what string, c certainty) {
	c = max(c, w.atMost)
	where := fmt.Sprintf("%s: %s, %s (%s)", w.origin, w.title, what, w.file)
	w.images = append(w.images, named{reference, Mention{where, c != sure}, c == hint})
}

// inside looks into an object that is in this one.
func (w *walker) inside(object map[string]any, title string, atMost certainty) {
	within := walker{origin: w.origin, file: w.file, title: title, namespace: w.namespace, atMost: atMost}
	within.object(object)
	w.add(within.findings)
}

// object walks a whole object, or the items of a List.
func (w *walker) object(object map[string]any) {
	kind, _ := object["kind"].(string)
	apiVersion, _ := object["apiVersion"].(string)
	if kind == "" || apiVersion == "" {
		return
	}
	if items, ok := object["items"].([]any); ok && strings.HasSuffix(kind, "List") {
		for _, item := range items {
			if o, ok := item.(map[string]any); ok {
				w.inside(o, w.title, w.atMost)
			}
		}
		return
	}
	metadata, _ := object["metadata"].(map[string]any)
	name, _ := metadata["name"].(string)
	if namespace, _ := metadata["namespace"].(string); namespace != "" {
		name = namespace + "/" + name
	}
	w.title += kind + " " + name

	group, _, grouped := strings.Cut(apiVersion, "/")
	if !grouped {
		group = ""
	}
	if w.declare(group, kind, object) {
		return
	}
	if !slices.Contains(builtInGroups, group) {
		w.guess(object, "")
		return
	}
	if kind == "ConfigMap" {
		w.configMap(object)
		return
	}
	node := object
	for _, key := range podSpecs[kind] {
		node, _ = node[key].(map[string]any)
	}
	if podSpecs[kind] != nil && node != nil {
		w.podSpec(node, "")
	}
}

// podSpec notes the images of containers and of image volumes, and guesses at those that
// a container is told of: operators start them. where is the field that has the PodSpec, unless its kind says it.
func (w *walker) podSpec(spec map[string]any, where string) {
	if where != "" {
		where = "field " + where + ", "
	}
	for _, list := range []struct{ key, what string }{
		{"initContainers", "init container"}, {"containers", "container"}, {"ephemeralContainers", "ephemeral container"},
	} {
		for _, container := range mappings(spec[list.key]) {
			what := fmt.Sprintf("%s%s %v", where, list.what, container["name"])
			if image, _ := container["image"].(string); image != "" {
				w.name(image, what, sure)
			}
			w.settings(container, what)
		}
	}
	for _, volume := range mappings(spec["volumes"]) {
		if image, ok := volume["image"].(map[string]any); ok {
			if reference, _ := image["reference"].(string); reference != "" {
				w.name(reference, fmt.Sprintf("%svolume %v", where, volume["name"]), sure)
			}
		}
	}
}
