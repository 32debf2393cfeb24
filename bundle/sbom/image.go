package sbom

import (
	"cmp"
	"maps"
	"slices"
	"strings"
)

// Image is an image of one platform and the software in it.
type Image struct {
	Reference string // "docker.io/library/nginx:1.29"
	Digest    string // "sha256:…" of its manifest
	Platform  string // "linux/amd64"
	System    System
	Packages  []Package // sorted, each once
}

// Merge finds what is in an image with these layers, the base first.
func (i *Image) Merge(layers []*Layer) {
	files := map[string]file{}
	for _, layer := range layers {
		for name := range files {
			if layer.hides(name) {
				delete(files, name)
			}
		}
		maps.Copy(files, layer.files)
	}
	i.System, i.Packages = System{}, nil
	for _, name := range []string{"usr/lib/os-release", "etc/os-release"} { // the latter goes before the former
		if found := files[name].system; found != (System{}) {
			i.System = found
		}
	}
	for _, f := range files {
		i.Packages = append(i.Packages, f.packages...)
	}
	slices.SortFunc(i.Packages, comparePackages)
	i.Packages = slices.Compact(i.Packages)
}

func comparePackages(a, b Package) int {
	return cmp.Or(strings.Compare(string(a.Kind), string(b.Kind)), strings.Compare(a.Name, b.Name),
		strings.Compare(a.Version, b.Version), strings.Compare(a.Arch, b.Arch), strings.Compare(a.Origin, b.Origin))
}

// hides reports whether a file of the layers below is no longer there.
func (l *Layer) hides(name string) bool {
	if l.others[pathHash(name)] {
		return true
	}
	for _, removed := range l.removed {
		if name == removed || strings.HasPrefix(name, removed+"/") {
			return true
		}
	}
	for _, folder := range l.opaque {
		if folder == "" || strings.HasPrefix(name, folder+"/") {
			return true
		}
	}
	return false
}
