package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"

	"airgap/test/site"
)

// testNames runs pods whose image, an index of two platforms of which the bundle carries one, is written in every way that Docker's and
// Kubernetes' users write it, pulled always and if it is not present.
func testNames(t *testing.T, s *node) {
	dir, err := os.MkdirTemp("/var/tmp", "ag-names-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	index, image := twoPlatforms(t, filepath.Join(dir, "layout"))
	const bundleSpec = `apiVersion: airgap/v1
kind: Bundle
metadata: {name: names, version: 1.0.0}
spec:
  from: []
  platforms: [linux/amd64]
  images: [{source: "oci:layout:two", name: "docker.io/library/two:1"}]
`
	write(t, filepath.Join(dir, "airgap.yaml"), bundleSpec)
	bundle := filepath.Join(dir, "names.airgap")
	site.MustOutput(t, s.Command("build", "-f", filepath.Join(dir, "airgap.yaml"), "-o", bundle, "--key", site.Built("dist/development.key")))
	s.Install(bundle)

	names := []string{
		"two:1", "library/two:1", "docker.io/two:1", "docker.io/library/two:1", "index.docker.io/library/two:1",
		"two@" + index, "two:1@" + index, "docker.io/library/two:1@" + index, "docker.io/library/two@" + image,
	}
	var pods strings.Builder
	for i, name := range names {
		for _, policy := range []string{"Always", "IfNotPresent"} {
			fmt.Fprintf(&pods, "---\n{apiVersion: v1, kind: Pod, metadata: {name: name-%d-%s, labels: {test: names}}, spec: {terminationGracePeriodSeconds: 1, "+
				"containers: [{name: main, image: %q, imagePullPolicy: %s, command: [sleep, \"100000\"]}]}}\n", i, strings.ToLower(policy), name, policy)
		}
	}
	s.Apply(pods.String())
	s.Kubectl("wait", "--for=condition=Ready", "pod", "-l", "test=names", "--timeout=90s")
	s.Kubectl("delete", "pod", "-l", "test=names", "--wait=false")
}

// twoPlatforms writes a layout of one index, named two, with the suite's busybox for linux/amd64 and one that says it is for linux/arm64. It returns the digests
// of the index and of the first.
func twoPlatforms(t *testing.T, dir string) (index, image string) {
	t.Helper()
	check := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	amd64 := busyboxOf(t)
	config, err := amd64.ConfigFile()
	check(err)
	other := config.DeepCopy()
	other.Architecture = "arm64"
	arm64, err := mutate.ConfigFile(amd64, other)
	check(err)
	two := mutate.AppendManifests(empty.Index,
		mutate.IndexAddendum{Add: amd64, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "amd64"}}},
		mutate.IndexAddendum{Add: arm64, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "arm64"}}})
	path, err := layout.Write(dir, empty.Index)
	check(err)
	check(path.AppendIndex(two, layout.WithAnnotations(map[string]string{"org.opencontainers.image.ref.name": "two"})))
	hash, err := two.Digest()
	check(err)
	first, err := amd64.Digest()
	check(err)
	return hash.String(), first.String()
}

// busyboxOf is the suite's busybox for linux/amd64.
func busyboxOf(t *testing.T) v1.Image {
	t.Helper()
	check := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	busybox := busyboxImage(t)
	all, err := layout.ImageIndexFromPath(site.Built("build/images"))
	check(err)
	manifest, err := all.IndexManifest()
	check(err)
	for _, d := range manifest.Manifests {
		if d.Annotations["org.opencontainers.image.ref.name"] == busybox {
			one, err := all.ImageIndex(d.Digest)
			check(err)
			platforms, err := one.IndexManifest()
			check(err)
			amd64, err := one.Image(platforms.Manifests[0].Digest)
			check(err)
			return amd64
		}
	}
	t.Fatalf("no %s in build/images", busybox)
	return nil
}
