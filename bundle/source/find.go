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
	Guessed bool   `json:"guessed,omitempty"` // a field that only looks like an image reference
}

// named is an image reference as a Kubernetes object has it.
type named struct {
	reference string
	Mention
}

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

// imagesIn finds the images in a stream of YAML documents. origin is what a mention begins
// with ("chart podinfo"), file what it ends with unless the stream's own "# Source:" comments,
// which Helm writes, say better.
func imagesIn(stream []byte, origin, file string) ([]named, error) {
	var found []named
	reader := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(stream)))
	for {
		document, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return found, nil
		} else if err != nil {
			return nil, err
		}
		from := file
		if m := sourceComment.FindSubmatch(document); m != nil {
			from = string(m[1])
		}
		var object map[string]any
		if err := yaml.Unmarshal(document, &object); err != nil {
			return nil, fmt.Errorf("%s: %w", from, err)
		}
		w := walker{origin: origin, file: from}
		w.object(object)
		found = append(found, w.found...)
	}
}

// sourceComment is how Helm says which template made a document: "# Source: podinfo/templates/x.yaml".
var sourceComment = regexp.MustCompile(`(?m)\A(?:---\n)?\s*# Source: [^/\n]+/(.+)$`)

// walker collects the images of one object.
type walker struct {
	origin, file string
	title        string // "Deployment demo/podinfo"
	found        []named
}

// name notes an image.
func (w *walker) name(reference, what string, guessed bool) {
	where := fmt.Sprintf("%s: %s, %s (%s)", w.origin, w.title, what, w.file)
	w.found = append(w.found, named{reference, Mention{where, guessed}})
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
				w.object(o)
			}
		}
		return
	}
	metadata, _ := object["metadata"].(map[string]any)
	name, _ := metadata["name"].(string)
	if namespace, _ := metadata["namespace"].(string); namespace != "" {
		name = namespace + "/" + name
	}
	w.title = kind + " " + name

	group, _, grouped := strings.Cut(apiVersion, "/")
	if !grouped {
		group = ""
	}
	if !slices.Contains(builtInGroups, group) {
		w.guess(object, "")
		return
	}
	node := object
	for _, key := range podSpecs[kind] {
		node, _ = node[key].(map[string]any)
	}
	if podSpecs[kind] != nil && node != nil {
		w.podSpec(node)
	}
}

// podSpec notes the images of containers and of image volumes, and guesses at those that
// a container is told of: operators start them.
func (w *walker) podSpec(spec map[string]any) {
	for _, list := range []struct{ key, what string }{
		{"initContainers", "init container"}, {"containers", "container"}, {"ephemeralContainers", "ephemeral container"},
	} {
		for _, container := range mappings(spec[list.key]) {
			what := fmt.Sprintf("%s %v", list.what, container["name"])
			if image, _ := container["image"].(string); image != "" {
				w.name(image, what, false)
			}
			w.settings(container, what)
		}
	}
	for _, volume := range mappings(spec["volumes"]) {
		if image, ok := volume["image"].(map[string]any); ok {
			if reference, _ := image["reference"].(string); reference != "" {
				w.name(reference, fmt.Sprintf("volume %v", volume["name"]), false)
			}
		}
	}
}

// Settings that hand an image to a program: --config-reloader-image=…, RELATED_IMAGE_X=….
var (
	imageFlag     = regexp.MustCompile(`^--?[a-z0-9-]*image[a-z0-9-]*=(.+)$`)
	imageVariable = regexp.MustCompile(`(^|_)IMAGE(_|$)`)
)

// settings guesses at images in the arguments and the environment of a container.
func (w *walker) settings(container map[string]any, what string) {
	for _, key := range []string{"command", "args"} {
		arguments, _ := container[key].([]any)
		for _, argument := range arguments {
			text, _ := argument.(string)
			if m := imageFlag.FindStringSubmatch(text); m != nil && surelyReference(m[1]) {
				w.name(m[1], what+", argument "+strings.SplitN(text, "=", 2)[0], true)
			}
		}
	}
	for _, variable := range mappings(container["env"]) {
		name, _ := variable["name"].(string)
		if value, _ := variable["value"].(string); imageVariable.MatchString(name) && surelyReference(value) {
			w.name(value, what+", variable "+name, true)
		}
	}
}

// guess looks for images in an object of a kind that nobody here knows, at path: strings called image or
// …Image, and repository with tag or digest beside it.
func (w *walker) guess(node any, path string) {
	switch node := node.(type) {
	case []any:
		for i, item := range node {
			w.guess(item, fmt.Sprintf("%s[%d]", path, i))
		}
	case map[string]any:
		if reference := joined(node); reference != "" {
			w.name(reference, "field "+path, true)
		}
		for _, key := range sortedKeys(node) {
			below := strings.TrimPrefix(path+"."+key, ".")
			text, isText := node[key].(string)
			switch {
			case !isText:
				w.guess(node[key], below)
			case key == "image" && isReference(text), strings.HasSuffix(key, "Image") && surelyReference(text):
				w.name(text, "field "+below, true)
			}
		}
	}
}

// joined makes a reference of {registry, repository, tag, digest}, or "".
func joined(node map[string]any) string {
	text := func(key string) string { s, _ := node[key].(string); return s }
	repository, tag, digest := text("repository"), text("tag"), text("digest")
	if repository == "" || tag == "" && digest == "" || strings.Contains(repository, "://") {
		return ""
	}
	if registry := text("registry"); registry != "" {
		repository = registry + "/" + repository
	}
	if tag != "" {
		repository += ":" + tag
	}
	if digest != "" {
		repository += "@" + digest
	}
	if !isReference(repository) {
		return ""
	}
	return repository
}

// isReference says whether a text parses as an image reference.
func isReference(text string) bool {
	_, err := Normalize(text)
	return err == nil
}

// surelyReference wants a repository and a tag or digest as well: not every …Image is one.
func surelyReference(text string) bool {
	slash := strings.Index(text, "/")
	return slash > 0 && strings.ContainsAny(text[slash:], ":@") && isReference(text)
}

// mappings are the mappings in a list.
func mappings(node any) []map[string]any {
	var out []map[string]any
	items, _ := node.([]any)
	for _, item := range items {
		if m, ok := item.(map[string]any); ok {
			out = append(out, m)
		}
	}
	return out
}

func sortedKeys(m map[string]any) []string {
	keys := make([]string, 0, len(m))
	for key := range m {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}
