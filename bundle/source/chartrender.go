package source

import (
	"bytes"
	"fmt"
	"strings"

	"helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
	"helm.sh/helm/v3/pkg/release"
	"helm.sh/helm/v3/pkg/releaseutil"
)

// cluster is what a chart learns of where it is installed.
type cluster struct {
	release, namespace string
	kubernetes         string   // version, "v1.37.1"
	apiVersions        []string // beyond those of every cluster
}

// renderChart returns what `helm template --include-crds` would: the manifests, as one YAML stream in the order of an
// install, and the hooks. It takes the same steps with the same packages of Helm, but for package action, whose clients of
// clusters and registries are 40 MB of the executable and of the memory of each build. The chart is pruned by its conditions and values.
func renderChart(c *chart.Chart, settings map[string]any, on cluster) ([]byte, []*release.Hook, error) {
	if err := chartutil.ValidateReleaseName(on.release); err != nil {
		return nil, nil, fmt.Errorf("release name %q: %w", on.release, err)
	}
	version, err := chartutil.ParseKubeVersion(on.kubernetes)
	if err != nil {
		return nil, nil, err
	}
	if wanted := c.Metadata.KubeVersion; wanted != "" && !chartutil.IsCompatibleRange(wanted, version.String()) {
		return nil, nil, fmt.Errorf("chart requires kubeVersion: %s which is incompatible with Kubernetes %s", wanted, version)
	}
	if err := chartutil.ProcessDependenciesWithMerge(c, settings); err != nil {
		return nil, nil, err
	}
	capabilities := chartutil.DefaultCapabilities.Copy()
	capabilities.KubeVersion = *version
	capabilities.APIVersions = append(capabilities.APIVersions, on.apiVersions...)
	options := chartutil.ReleaseOptions{Name: on.release, Namespace: on.namespace, Revision: 1, IsInstall: true}
	values, err := chartutil.ToRenderValues(c, settings, options, capabilities)
	if err != nil {
		return nil, nil, err
	}
	files, err := engine.Engine{}.Render(c, values)
	if err != nil {
		return nil, nil, err
	}
	for name := range files {
		if strings.HasSuffix(name, "NOTES.txt") { // for people, not for the cluster
			delete(files, name)
		}
	}
	hooks, manifests, err := releaseutil.SortManifests(files, nil, releaseutil.InstallOrder)
	if err != nil {
		return nil, nil, err
	}
	var out bytes.Buffer
	for _, crd := range c.CRDObjects() {
		fmt.Fprintf(&out, "---\n# Source: %s\n%s\n", crd.Filename, crd.File.Data)
	}
	for _, manifest := range manifests {
		fmt.Fprintf(&out, "---\n# Source: %s\n%s\n", manifest.Name, manifest.Content)
	}
	return out.Bytes(), hooks, nil
}
