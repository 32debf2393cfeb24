package source

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"
)

// Settings that hand an image to a program: --config-reloader-image=…, RELATED_IMAGE_X=….
var (
	imageFlag     = regexp.MustCompile(`^--?[a-zA-Z0-9.-]*[iI]mage[a-zA-Z0-9-]*$`)
	imageVariable = regexp.MustCompile(`(^|_)IMAGE(_|$)`)
	imageLine     = regexp.MustCompile(`(?mi)^[\s-]*"?[a-z]*image"?\s*[:=]\s*["']?([^\s"',{}]+)`)
)

// settings notes what looks like an image in the arguments and the environment of a container: what is called an
// image and has a tag or digest, or has a registry's name before it as well.
func (w *walker) settings(container map[string]any, what string) {
	for _, key := range []string{"command", "args"} {
		arguments, _ := container[key].([]any)
		flag := "" // that the argument before was
		for _, argument := range arguments {
			text, _ := argument.(string)
			name, value, assigned := strings.Cut(text, "=")
			switch {
			case assigned && strings.HasPrefix(name, "-"):
			case flag != "":
				name, value = flag, text
			default:
				name, value = "", text
			}
			if imageFlag.MatchString(name) && surelyReference(value) || inRegistry(value) {
				w.name(value, strings.TrimSpace(what+", argument "+name), hint)
			}
			if flag = ""; strings.HasPrefix(text, "-") && !assigned {
				flag = text
			}
		}
	}
	for _, variable := range mappings(container["env"]) {
		name, _ := variable["name"].(string)
		value, _ := variable["value"].(string)
		if imageVariable.MatchString(name) && surelyReference(value) || inRegistry(value) {
			w.name(value, what+", variable "+name, hint)
		}
	}
}

// configMap notes the images in what a program reads: whole objects, which operators create, and lines that
// are called image.
func (w *walker) configMap(object map[string]any) {
	data, _ := object["data"].(map[string]any)
	for _, key := range sortedKeys(data) {
		text, _ := data[key].(string)
		what := "key " + key
		if objects, err := decodeObjects(text); err == nil && len(objects) > 0 {
			for _, inner := range objects {
				w.inside(inner, w.title+", "+what+": ", max(w.atMost, likely))
			}
			continue
		}
		for _, m := range imageLine.FindAllStringSubmatch(text, -1) {
			if surelyReference(m[1]) {
				w.name(m[1], what, hint)
			}
		}
	}
}

// decodeObjects reads Kubernetes objects out of a text, none if any document in it is none.
func decodeObjects(text string) ([]map[string]any, error) {
	var objects []map[string]any
	err := eachDocument([]byte(text), func(document []byte) error {
		var object map[string]any
		if err := yaml.Unmarshal(document, &object); err != nil {
			return err
		}
		if object == nil {
			return nil
		}
		if kind, _ := object["kind"].(string); kind == "" || object["apiVersion"] == nil {
			return errors.New("not a Kubernetes object")
		}
		objects = append(objects, object)
		return nil
	})
	return objects, err
}

// guess looks for images in an object of a kind that nobody here knows, at path: PodSpecs, strings called image or
// …Image, and repository with tag or digest beside it.
func (w *walker) guess(node any, path string) {
	switch node := node.(type) {
	case []any:
		for i, item := range node {
			w.guess(item, fmt.Sprintf("%s[%d]", path, i))
		}
	case map[string]any:
		if reference := w.joined(node); reference != "" {
			w.name(reference, "field "+path, likely)
		}
		pod := isPodSpec(node)
		if pod {
			w.podSpec(node, path)
		}
		for _, key := range sortedKeys(node) {
			if pod && slices.Contains(podSpecKeys, key) {
				continue
			}
			below := strings.TrimPrefix(path+"."+key, ".")
			text, isText := node[key].(string)
			switch {
			case !isText:
				w.guess(node[key], below)
			case key == "image" && isReference(text), strings.HasSuffix(key, "Image") && surelyReference(text):
				w.name(text, "field "+below, likely)
			}
		}
	}
}

// podSpecKeys are the fields of a PodSpec that [walker.podSpec] looks at.
var podSpecKeys = []string{"initContainers", "containers", "ephemeralContainers", "volumes"}

// isPodSpec says whether a mapping is a PodSpec, whatever it is called: its containers have names and images.
func isPodSpec(node map[string]any) bool {
	containers := mappings(node["containers"])
	return len(containers) > 0 && !slices.ContainsFunc(containers, func(container map[string]any) bool {
		name, _ := container["name"].(string)
		image, _ := container["image"].(string)
		return name == "" || !isReference(image)
	})
}

// joined makes a reference of {registry, repository, tag, digest}, or "".
func (w *walker) joined(node map[string]any) string {
	text := func(key string) string { s, _ := node[key].(string); return s }
	repository, tag, digest := text("repository"), text("tag"), text("digest")
	if _, has := node["tag"]; has && tag == "" {
		tag = w.defaultTag
	}
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

// inRegistry wants the name of a registry before that: few other things look so.
func inRegistry(text string) bool {
	host, _, _ := strings.Cut(text, "/")
	return strings.ContainsAny(host, ".:") && surelyReference(text)
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
