package source

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"helm.sh/helm/v3/pkg/chart/loader"

	"airgap/bundle"
)

// parent is a chart with a subchart in a folder, switched by a value.
var parent = map[string]string{
	"shop/Chart.yaml":                      "apiVersion: v2\nname: shop\nversion: 1.2.3\ndependencies: [{name: db, version: 1.0.0, condition: db.enabled}]\n",
	"shop/values.yaml":                     "db: {enabled: false}\n",
	"shop/templates/pod.yaml":              "apiVersion: v1\nkind: Pod\nmetadata: {name: shop}\nspec: {containers: [{name: shop, image: shop:1}]}\n",
	"shop/charts/db/Chart.yaml":            "apiVersion: v2\nname: db\nversion: 1.0.0\n",
	"shop/charts/db/templates/pod.yaml":    "apiVersion: v1\nkind: Pod\nmetadata: {name: db}\nspec: {containers: [{name: db, image: db:1}]}\n",
	"shop/.helmignore":                     "secret.txt\n",
	"shop/secret.txt":                      "not for the site",
	"shop/templates/tests/connection.yaml": "apiVersion: v1\nkind: Pod\nmetadata: {name: t, annotations: {helm.sh/hook: test}}\nspec: {containers: [{name: curl, image: curl:8}]}\n",
	"db.yaml":                              "db: {enabled: true}\n",
}

func TestPackagedChartIsTheSameBytes(t *testing.T) {
	one, two := write(t, parent), write(t, parent)
	if err := os.Chtimes(filepath.Join(two, "shop/values.yaml"), time.Unix(1, 0), time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	a, b := must(packageChart(filepath.Join(one, "shop")))(t), must(packageChart(filepath.Join(two, "shop")))(t)
	if !bytes.Equal(a, b) {
		t.Error("two packages of one chart differ")
	}
	c := must(loader.LoadArchive(bytes.NewReader(a)))(t)
	if len(c.Dependencies()) != 1 || c.Dependencies()[0].Name() != "db" {
		t.Errorf("dependencies: %v", c.Dependencies())
	}
	for _, file := range c.Raw {
		if file.Name == "secret.txt" {
			t.Error("a file that .helmignore names is packaged")
		}
	}
}

func TestChartImagesDependOnValues(t *testing.T) {
	folder := write(t, parent)
	for values, want := range map[string]string{
		"":                  "docker.io/library/shop:1",
		", values: db.yaml": "docker.io/library/db:1 docker.io/library/shop:1",
		", tests: true":     "docker.io/library/curl:8 docker.io/library/shop:1",
	} {
		spec := load(t, folder, "  charts: [{name: shop, chart: shop"+values+"}]\n")
		found := must(FindImages(context.Background(), spec, options()))(t)
		var got []string
		for _, image := range found {
			if image.Carried {
				got = append(got, image.Reference)
			}
		}
		if strings.Join(got, " ") != want {
			t.Errorf("with %q: %v, want %s", values, got, want)
		}
	}
}

// chartImage is a chart as `helm push` puts it into a registry.
func chartImage(t *testing.T, archive []byte) v1.Image {
	base := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), bundle.ChartConfigMediaType)
	return must(mutate.AppendLayers(base, static.NewLayer(archive, bundle.ChartLayerMediaType)))(t)
}

func TestChartFromRegistryIsLocked(t *testing.T) {
	host := newRegistry(t)
	files := map[string]string{
		"a/Chart.yaml":        "apiVersion: v2\nname: a\nversion: 1.0.0+build\n",
		"a/templates/cm.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n",
	}
	folder := write(t, files)
	archive := must(packageChart(filepath.Join(folder, "a")))(t)
	push(t, host+"/charts/a:1.0.0_build", chartImage(t, archive))

	spec := load(t, folder, "  charts: [{name: a, chart: \"oci://"+host+"/charts/a\", version: 1.0.0+build}]\n")
	gathered, m, err := gather(t, spec, options())
	if err != nil {
		t.Fatal(err)
	}
	if m.Charts[0].Digest != "sha256:"+sum(archive) || m.Charts[0].Version != "1.0.0+build" {
		t.Errorf("got %+v", m.Charts[0])
	}
	files["a/templates/cm.yaml"] += "data: {moved: \"yes\"}\n"
	push(t, host+"/charts/a:1.0.0_build", chartImage(t, must(packageChart(filepath.Join(write(t, files), "a")))(t)))
	o := options()
	o.Lock = gathered.Lock
	_, again, err := gather(t, spec, o)
	if err != nil {
		t.Fatal(err)
	}
	if again.Charts[0] != m.Charts[0] {
		t.Errorf("the locked chart moved from %v to %v", m.Charts[0], again.Charts[0])
	}
	push(t, host+"/app:1", image(t, "linux/amd64", "x"))
	_, _, err = gather(t, load(t, folder, "  charts: [{name: a, chart: \"oci://"+host+"/app:1\"}]\n"), options())
	if err == nil || !strings.Contains(err.Error(), "is not a Helm chart") {
		t.Errorf("an image for a chart: %v", err)
	}
}

func TestChartThatDoesNotRender(t *testing.T) {
	for name, test := range map[string]struct{ template, want string }{
		"fails":    {"a: {{ fail \"say so\" }}\n", "does not render: execution error at (c/templates/x.yaml:1:6): say so"},
		"syntax":   {"a: 1\nb: {{ .Values. }}\n", "does not render: parse error at (c/templates/x.yaml:2)"},
		"not YAML": {"apiVersion: v1\nkind: [\n", "does not render: YAML parse error on c/templates/x.yaml"},
	} {
		t.Run(name, func(t *testing.T) {
			folder := write(t, map[string]string{"c/Chart.yaml": "apiVersion: v2\nname: c\nversion: 1.0.0\n", "c/templates/x.yaml": test.template})
			_, err := FindImages(context.Background(), load(t, folder, "  charts: [{name: c, chart: c}]\n"), options())
			if err == nil || !strings.Contains(err.Error(), "chart c (airgap.yaml:7): "+test.want) {
				t.Errorf("got %v\nwant %s", err, test.want)
			}
		})
	}
}
