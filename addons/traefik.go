package addons

import (
	"embed"
	"fmt"
	"strings"

	"sigs.k8s.io/yaml"

	"airgap/internal/helmchart"
)

//go:embed all:charts
var chartFiles embed.FS

// crdFiles are the definitions of Traefik's kinds and of the Gateway API's, made from the sources of the Traefik
// that is packaged (TestDefinitions says how).
//
//go:embed crds
var crdFiles embed.FS

// The files of the ingress controller, in the order in which to apply them.
const (
	GatewayAPIFile  = "gateway-api-crds.yaml" // the kinds of the Gateway API that Traefik implements
	TraefikCRDsFile = "traefik-crds.yaml"
	TraefikFile     = "traefik.yaml"
)

// TraefikOptions are what the manifests of the ingress controller are filled in with.
type TraefikOptions struct {
	Image      string // reference of Traefik's image, with a tag
	GatewayAPI bool   // define the kinds of the Gateway API, and serve them
	OwnKinds   bool   // define Traefik's own kinds, and serve them
}

// Traefik returns the manifests of the ingress controller by file name: definitions of kinds, and a
// HelmChart traefik in kube-system, whose values a HelmChartConfig of that name changes. Ingresses are
// always served. The same options give the same bytes.
func Traefik(o TraefikOptions) (map[string][]byte, error) {
	repository, tag, found := cutTag(o.Image)
	if !found {
		return nil, fmt.Errorf("manifest of traefik: image %q has no tag", o.Image)
	}
	given := map[string]any{"image": map[string]string{"repository": repository, "tag": tag}}
	providers := map[string]any{}
	if !o.GatewayAPI {
		providers["kubernetesGateway"] = map[string]bool{"enabled": false}
	}
	if !o.OwnKinds {
		providers["kubernetesCRD"] = map[string]bool{"enabled": false}
	}
	if len(providers) > 0 {
		given["providers"] = providers
	}
	values, err := yaml.Marshal(given)
	if err != nil {
		return nil, err
	}
	archive, err := packChart(chartFiles, "charts/traefik")
	if err != nil {
		return nil, fmt.Errorf("chart of traefik: %w", err)
	}
	release, err := helmchart.Manifest(helmchart.Options{Name: "traefik", ChartContent: archive, Values: values})
	if err != nil {
		return nil, err
	}
	manifests := map[string][]byte{TraefikFile: release}
	for name, wanted := range map[string]bool{GatewayAPIFile: o.GatewayAPI, TraefikCRDsFile: o.OwnKinds} {
		if !wanted {
			continue
		}
		if manifests[name], err = crdFiles.ReadFile("crds/" + name); err != nil {
			return nil, err
		}
	}
	return manifests, nil
}

// FilesOf returns the files, by name without extension, that packaged components are made of. Most are one of their
// own name; traefik takes its definitions along.
func FilesOf(components []string) []string {
	var files []string
	for _, component := range components {
		files = append(files, component)
		if component == componentOf(TraefikFile) {
			files = append(files, componentOf(GatewayAPIFile), componentOf(TraefikCRDsFile))
		}
	}
	return files
}

// cutTag splits a reference at its tag. A colon before the last slash is a port.
func cutTag(image string) (repository, tag string, found bool) {
	i := strings.LastIndex(image, ":")
	if i <= 0 || i < strings.LastIndex(image, "/") || i == len(image)-1 {
		return image, "", false
	}
	return image[:i], image[i+1:], true
}
