// Package images declares the system images: what each is made of. The declarations are
// images.yaml beside this file; the package build makes the images from them.
//
// This package stays light, because a node asks it for references and nothing else.
package images

import (
	_ "embed"
	"fmt"
	"path"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"
)

//go:embed images.yaml
var systemYAML []byte

// system is the embedded declaration; a test holds that it parses.
var system = func() *Set {
	set, err := Parse(systemYAML)
	if err != nil {
		panic("images.yaml: " + err.Error())
	}
	return set
}()

// System returns the declarations of the system images.
func System() *Set { return system }

// Reference returns the reference of the system image of that name, for example
// "airgap.internal/pause:3.10.2". It panics when there is none: names are constants.
func Reference(name string) string {
	reference, err := system.Reference(name)
	if err != nil {
		panic(err)
	}
	return reference
}

// Set is a list of images with one registry in their references.
type Set struct {
	Registry string  `json:"registry"` // host, of a registry that need not exist
	Images   []Image `json:"images"`
}

// Image declares one image: a layer of Debian packages or the layers of another image, and on
// them a layer with an executable and files. Either may be left out.
type Image struct {
	Name       string   `json:"name"`                 // within the set
	Repository string   `json:"repository,omitempty"` // in the reference; empty: the name
	Tag        string   `json:"tag"`
	Title      string   `json:"title"`    // one line for people
	Licenses   string   `json:"licenses"` // SPDX expression
	Upstream   Upstream `json:"upstream"`
	From       string   `json:"from,omitempty"` // name of an image declared before, whose layers are below this one's
	Packages   Packages `json:"packages,omitzero"`
	Build      Build    `json:"build"`
	Files      []File   `json:"files,omitempty"`
	Folders    []string `json:"folders,omitempty"`    // absolute, empty, mode 1777 for /tmp and 0755 else
	Entrypoint []string `json:"entrypoint,omitempty"` // [0] is where a built executable goes
	Command    []string `json:"command,omitempty"`
	WorkingDir string   `json:"workingDir,omitempty"`
	User       string   `json:"user"`      // uid:gid, numeric, so that runAsNonRoot can be checked
	Platforms  []string `json:"platforms"` // those it can be built for
}

// Upstream is where the source comes from: a Go module or a Debian package.
type Upstream struct {
	Module  string `json:"module,omitempty"`
	Debian  string `json:"debian,omitempty"`
	Version string `json:"version"` // the module's; of a package the upstream part, without epoch and revision
}

// Packages are Debian packages that are unpacked, with all they depend on, into a layer of their own.
// Nothing of them is configured: their maintainer scripts do not run.
type Packages struct {
	Suites  []string `json:"suites"`            // of the Debian archive, "trixie"; a "-security" suite is on the security mirror
	Install []string `json:"install"`           // names
	Busybox string   `json:"busybox,omitempty"` // absolute path of a busybox among them: each applet that no package brings is a link to it
}

// Empty says that there are none.
func (p Packages) Empty() bool { return len(p.Install) == 0 }

// Build is how the executable is made; exactly one is set, or none in an image of packages or from another.
type Build struct {
	Go     *GoBuild     `json:"go,omitempty"`
	C      *CBuild      `json:"c,omitempty"`
	Debian *DebianBuild `json:"debian,omitempty"`
}

// GoBuild compiles a package with a go.mod of its own, without cgo.
type GoBuild struct {
	Folder  string   `json:"folder"`           // of the go.mod, relative to the declaration's file
	Package string   `json:"package"`          // import path or "."
	Stamps  []string `json:"stamps,omitempty"` // variables set at link time, "main.Version=1.0"
	Setuid  bool     `json:"setuid,omitempty"` // mode 6755: runs with its owner root's rights, whoever starts it

	// Replace puts files of Folder in the place of files of required modules: module path, to file in
	// the module, to file in Folder. An empty one removes the module's file.
	Replace map[string]map[string]string `json:"replace,omitempty"`

	// Beside are further programs of the same module, such as one that a chart's probes run.
	Beside []Program `json:"beside,omitempty"`
}

// Program is a further executable of an image.
type Program struct {
	Folder  string `json:"folder,omitempty"` // of its go.mod, when it is another
	Package string `json:"package"`          // import path
	Target  string `json:"target"`           // absolute path in the image
}

// CBuild compiles one C file statically.
type CBuild struct {
	Source string   `json:"source"` // in the upstream module
	Flags  []string `json:"flags,omitempty"`
}

// DebianBuild takes a static executable that is installed on the building machine.
type DebianBuild struct {
	Executable string `json:"executable"`
	Applets    bool   `json:"applets,omitempty"` // symbolic links for what --list prints
}

// File is a file, or a folder with all its files, that is added to the image with mode 0644, or a link.
type File struct {
	Source  string `json:"source,omitempty"` // in the upstream module, or absolute on the building machine
	Content string `json:"content,omitempty"`
	Link    string `json:"link,omitempty"` // what a symbolic link leads to
	Target  string `json:"target"`         // absolute path in the image
}

// Parse reads and checks a declaration. Unknown keys are errors.
func Parse(data []byte) (*Set, error) {
	var set Set
	if err := yaml.UnmarshalStrict(data, &set); err != nil {
		return nil, err
	}
	if set.Registry == "" {
		return nil, fmt.Errorf("registry is missing")
	}
	seen := map[string]bool{}
	for _, image := range set.Images {
		if err := image.validate(); err != nil {
			return nil, fmt.Errorf("image %q: %w", image.Name, err)
		}
		if seen[image.Name] {
			return nil, fmt.Errorf("image %q is declared twice", image.Name)
		}
		if image.From != "" && !seen[image.From] {
			return nil, fmt.Errorf("image %q: from: no image %q is declared before it", image.Name, image.From)
		}
		seen[image.Name] = true
	}
	return &set, nil
}

func (i *Image) validate() error {
	ways := 0
	for _, set := range []bool{i.Build.Go != nil, i.Build.C != nil, i.Build.Debian != nil} {
		if set {
			ways++
		}
	}
	below := i.From != "" || !i.Packages.Empty()
	absolute := slices.Clone(i.Folders)
	if i.Packages.Busybox != "" {
		absolute = append(absolute, i.Packages.Busybox)
	}
	if i.Build.Go != nil {
		for _, p := range i.Build.Go.Beside {
			absolute = append(absolute, p.Target)
		}
	}
	if b := i.Build.Go; b != nil {
		for _, stamp := range b.Stamps {
			if name, _, found := strings.Cut(stamp, "="); !found || name == "" || strings.ContainsAny(stamp, " \t\n'\"") {
				return fmt.Errorf("stamp %q: want variable=value, without spaces and quotes", stamp)
			}
		}
	}
	for _, f := range i.Files {
		if given := slices.DeleteFunc([]string{f.Source, f.Content, f.Link}, func(s string) bool { return s == "" }); len(given) != 1 {
			return fmt.Errorf("file %s needs one of source or content or link", f.Target)
		}
		absolute = append(absolute, f.Target)
	}
	if ways > 0 && len(i.Entrypoint) > 0 {
		absolute = append(absolute, i.Entrypoint[0])
	}
	for _, p := range absolute {
		if !path.IsAbs(p) || path.Clean(p) != p {
			return fmt.Errorf("%q is not an absolute, clean path", p)
		}
	}
	uid, gid, ok := strings.Cut(i.User, ":")
	switch {
	case i.Name == "" || i.Tag == "":
		return fmt.Errorf("name and tag are needed")
	case ways > 1 || ways == 0 && !below:
		return fmt.Errorf("build needs exactly one of go, c and debian; only an image of packages or from another may have none")
	case i.From != "" && !i.Packages.Empty():
		return fmt.Errorf("from and packages are both set: what is below can be one of them")
	case !i.Packages.Empty() && len(i.Packages.Suites) == 0:
		return fmt.Errorf("packages needs suites")
	case (i.Upstream.Module == "") == (i.Upstream.Debian == "") || i.Upstream.Version == "":
		return fmt.Errorf("upstream needs a version, and either module or debian")
	case i.Build.Debian != nil && i.Upstream.Debian == "", ways > 0 && i.Build.Debian == nil && i.Upstream.Debian != "":
		return fmt.Errorf("a debian build is of a debian package, and no other is")
	case ways == 0 && i.Upstream.Debian != "" && !slices.Contains(i.Packages.Install, i.Upstream.Debian):
		return fmt.Errorf("upstream is the package %s, which is not among packages", i.Upstream.Debian)
	case ways > 0 && len(i.Entrypoint) == 0:
		return fmt.Errorf("entrypoint is missing")
	case !ok || !digits(uid) || !digits(gid):
		return fmt.Errorf("user %q is not uid:gid in numbers", i.User)
	case len(i.Platforms) == 0:
		return fmt.Errorf("platforms is empty")
	}
	return nil
}

func digits(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }

// Find returns the declaration of that name.
func (s *Set) Find(name string) (*Image, error) {
	for i := range s.Images {
		if s.Images[i].Name == name {
			return &s.Images[i], nil
		}
	}
	return nil, fmt.Errorf("no image %q is declared; there are %s", name, strings.Join(s.Names(), ", "))
}

// Names returns the names in the order of the declaration.
func (s *Set) Names() []string {
	var names []string
	for _, i := range s.Images {
		names = append(names, i.Name)
	}
	return names
}

// Reference returns the reference of the image of that name.
func (s *Set) Reference(name string) (string, error) {
	i, err := s.Find(name)
	if err != nil {
		return "", err
	}
	repository := i.Repository
	if repository == "" {
		repository = i.Name
	}
	return s.Registry + "/" + repository + ":" + i.Tag, nil
}
