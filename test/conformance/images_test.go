package main

import (
	"os"
	"strings"
	"testing"

	"golang.org/x/mod/modfile"
	suiteimages "k8s.io/kubernetes/test/utils/image"

	images "airgap/airgap-images"
)

func declared(t *testing.T) *images.Set {
	t.Helper()
	data, err := os.ReadFile("images.yaml")
	if err != nil {
		t.Fatal(err)
	}
	set, err := images.Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// TestImagesAreTheSuites holds that each image has a name by which the suite asks, and that the bundle has
// all of them: an image under another name would be of no use.
func TestImagesAreTheSuites(t *testing.T) {
	asked := map[string]bool{}
	for _, config := range suiteimages.GetImageConfigs() {
		asked[config.GetE2EImage()] = true
	}
	bundle, err := os.ReadFile("airgap.yaml")
	if err != nil {
		t.Fatal(err)
	}
	set := declared(t)
	for _, name := range set.Names() {
		reference, err := set.Reference(name)
		if err != nil {
			t.Fatal(err)
		}
		if !asked[reference] {
			t.Errorf("the suite does not ask for %s", reference)
		}
		if !strings.Contains(string(bundle), "/images:"+reference+"\"\n") {
			t.Errorf("airgap.yaml does not carry %s", reference)
		}
	}
}

// TestVersionsAreTheOnesRequired holds that a declared module version is the one in go.mod.
func TestVersionsAreTheOnesRequired(t *testing.T) {
	data, err := os.ReadFile("../../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	mod, err := modfile.Parse("go.mod", data, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, image := range declared(t).Images {
		got := ""
		for _, r := range mod.Require {
			if r.Mod.Path == image.Upstream.Module {
				got = r.Mod.Version
			}
		}
		if image.Upstream.Module != "" && got != image.Upstream.Version {
			t.Errorf("%s: images.yaml says %s %s, go.mod says %q", image.Name, image.Upstream.Module, image.Upstream.Version, got)
		}
	}
}
