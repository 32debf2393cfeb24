package addons

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/mod/modfile"
	"sigs.k8s.io/yaml"
)

// traefikModule is where the versions come from of which the packaged Traefik is built.
const traefikModule = "../airgap-images/traefik"

// implemented are the kinds of the Gateway API's standard channel that this Traefik watches; a kind that
// nobody implements would only cost memory in the API server.
var implemented = []string{"gatewayclasses", "gateways", "httproutes", "grpcroutes", "tlsroutes", "referencegrants", "backendtlspolicies"}

// TestDefinitions holds that the definitions in crds are those of the modules that Traefik's image is built
// from, without what only people read: descriptions, which are three quarters of the text and are
// kept in the API server's memory several times over, and versions that are not served.
func TestDefinitions(t *testing.T) {
	var gatewayAPI []string
	for _, plural := range implemented {
		gatewayAPI = append(gatewayAPI, "config/crd/standard/gateway.networking.k8s.io_"+plural+".yaml")
	}
	for _, test := range []struct {
		golden, module string
		sources        []string
	}{
		{TraefikCRDsFile, "github.com/traefik/traefik/v3", []string{"docs/content/reference/dynamic-configuration/kubernetes-crd-definition-v1.yml"}},
		{GatewayAPIFile, "sigs.k8s.io/gateway-api", gatewayAPI},
	} {
		t.Run(test.golden, func(t *testing.T) {
			version, folder := moduleSource(t, test.module)
			var want bytes.Buffer
			fmt.Fprintf(&want, "# From %s %s, without descriptions. TestDefinitions makes this file.\n", test.module, version)
			for _, source := range test.sources {
				content, err := os.ReadFile(filepath.Join(folder, source))
				if err != nil {
					t.Fatal(err)
				}
				for _, document := range splitDocuments(content) {
					definition, err := trimDefinition(document.text)
					if err != nil {
						t.Fatalf("%s, line %d: %v", source, document.line, err)
					}
					want.WriteString("---\n")
					want.Write(definition)
				}
			}
			golden := filepath.Join("crds", test.golden)
			if *update {
				if err := os.WriteFile(golden, want.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			got, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, want.Bytes()) {
				t.Errorf("%s is not what %s %s has; run the test with -update", golden, test.module, version)
			}
			if _, err := parseManifest(got); err != nil {
				t.Error(err)
			}
		})
	}
}

// moduleSource returns the version of a module that Traefik's image is built from, and its folder.
func moduleSource(t *testing.T, module string) (version, folder string) {
	t.Helper()
	file := filepath.Join(traefikModule, "go.mod")
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	mod, err := modfile.Parse(file, data, nil)
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(mod.Require, func(r *modfile.Require) bool { return r.Mod.Path == module })
	if i < 0 {
		t.Fatalf("%s does not require %s", file, module)
	}
	cmd := exec.Command("go", "mod", "download", "-json", mod.Require[i].Mod.String())
	cmd.Dir = traefikModule
	cmd.Env = append(os.Environ(), "GOFLAGS=")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go mod download %s: %v\n%s", mod.Require[i].Mod, err, out)
	}
	var downloaded struct{ Version, Dir string }
	if err := json.Unmarshal(out, &downloaded); err != nil {
		t.Fatal(err)
	}
	return downloaded.Version, downloaded.Dir
}

// trimDefinition drops from a CustomResourceDefinition what TestDefinitions says, and has it kept when its file goes:
// with a definition go all objects of its kind.
func trimDefinition(document []byte) ([]byte, error) {
	var definition map[string]any
	if err := yaml.Unmarshal(document, &definition); err != nil {
		return nil, err
	}
	if definition["kind"] != "CustomResourceDefinition" {
		return nil, fmt.Errorf("a %v", definition["kind"])
	}
	spec, _ := definition["spec"].(map[string]any)
	versions, _ := spec["versions"].([]any)
	versions = slices.DeleteFunc(versions, func(v any) bool { return v.(map[string]any)["served"] == false })
	if len(versions) == 0 {
		return nil, errors.New("no version is served")
	}
	spec["versions"] = versions
	metadata := definition["metadata"].(map[string]any)
	annotations, _ := metadata["annotations"].(map[string]any)
	if annotations == nil {
		annotations = map[string]any{}
	}
	annotations[keepAnnotation] = keepValue
	metadata["annotations"] = annotations
	delete(definition, "status")
	return yaml.Marshal(withoutDescriptions(definition))
}

func withoutDescriptions(value any) any {
	switch value := value.(type) {
	case map[string]any:
		for key, element := range value {
			if _, text := element.(string); key == "description" && text {
				delete(value, key)
				continue
			}
			value[key] = withoutDescriptions(element)
		}
	case []any:
		for i, element := range value {
			value[i] = withoutDescriptions(element)
		}
	}
	return value
}
