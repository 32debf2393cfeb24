package build

import (
	"context"
	"debug/elf"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	images "airgap/airgap-images"
)

// debianKeyring has the keys of Debian's archive; the package debian-archive-keyring brings it.
const debianKeyring = "/usr/share/keyrings/debian-archive-keyring.gpg"

// merged are the folders that are links into /usr in every Debian since 12.
var merged = []string{"bin", "sbin", "lib", "lib64"}

// needless is what Debian itself lets a machine leave out, but for the copyright files.
var needless = []string{"usr/share/doc", "usr/share/man", "usr/share/info", "usr/share/locale", "usr/share/lintian",
	"usr/share/bash-completion", "usr/share/bug"}

// packages are Debian packages with all they depend on, unpacked.
type packages struct {
	layer    v1.Layer
	versions map[string]string // exact, by package
}

// unpackPackages gets the packages from the archive into a folder under work. apt resolves, downloads and
// verifies for a machine on which nothing is installed; its own machine's state and sources are left alone.
func unpackPackages(ctx context.Context, p images.Packages, arch, work string) (*packages, error) {
	home, err := os.MkdirTemp(work, "packages-")
	if err != nil {
		return nil, err
	}
	debs, root := filepath.Join(home, "debs"), filepath.Join(home, "root")
	if err := download(ctx, p, arch, home, debs); err != nil {
		return nil, err
	}
	versions, err := extract(ctx, debs, root)
	if err != nil {
		return nil, err
	}
	files, err := tree(root)
	if err != nil {
		return nil, err
	}
	if p.Busybox != "" {
		links, err := applets(ctx, root, p.Busybox, arch)
		if err != nil {
			return nil, err
		}
		files = append(files, links...)
	}
	layer, err := newLayer(files)
	return &packages{layer: layer, versions: versions}, err
}

// download puts the packages and all they depend on into the folder debs.
func download(ctx context.Context, p images.Packages, arch, home, debs string) error {
	main, security, err := archives(ctx)
	if err != nil {
		return err
	}
	var sources strings.Builder
	for _, suite := range p.Suites {
		site := main
		if strings.HasSuffix(suite, "-security") {
			site = security
		}
		fmt.Fprintf(&sources, "deb [target=Packages signed-by=%s] %s %s main\n", debianKeyring, site, suite)
	}
	for name, content := range map[string]string{"sources.list": sources.String(), "status": ""} {
		if err := os.WriteFile(filepath.Join(home, name), []byte(content), 0o644); err != nil {
			return err
		}
	}
	for _, folder := range []string{filepath.Join(home, "lists/partial"), filepath.Join(debs, "partial")} {
		if err := os.MkdirAll(folder, 0o755); err != nil {
			return err
		}
	}
	options := []string{"-q", "-y", "--no-install-recommends", "--download-only"}
	for name, value := range map[string]string{
		"APT::Architecture": arch, "APT::Architectures": arch,
		"APT::Sandbox::User": "root", // the folders are ours: apt's own user may not write there
		"Dir::State":         home, "Dir::State::status": home + "/status", "Dir::State::lists": home + "/lists",
		"Dir::Cache": home, "Dir::Cache::archives": debs,
		"Dir::Etc::sourcelist": home + "/sources.list", "Dir::Etc::sourceparts": "-", "Dir::Etc::preferencesparts": "-",
		"Acquire::Languages": "none", "Acquire::Retries": "3",
	} {
		options = append(options, "-o", name+"="+value)
	}
	for _, verb := range [][]string{{"update"}, append([]string{"install"}, p.Install...)} {
		if _, err := run(exec.CommandContext(ctx, "apt-get", append(options, verb...)...)); err != nil {
			return fmt.Errorf("packages %s of %s: %w", strings.Join(p.Install, " "), strings.Join(p.Suites, " "), err)
		}
	}
	return nil
}

// tree lists all that is under root, but what is needless, as entries of a layer.
func tree(root string) ([]file, error) {
	var files []file
	err := fs.WalkDir(os.DirFS(root), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || name == "." {
			return err
		}
		for _, folder := range needless {
			if strings.HasPrefix(name, folder+"/") && path.Base(name) != "copyright" {
				return nil
			}
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		f := file{name: "/" + name, mode: info.Mode()}
		switch {
		case f.mode.IsRegular():
			f.path = filepath.Join(root, name)
		case f.mode&fs.ModeSymlink != 0:
			if f.link, err = os.Readlink(filepath.Join(root, name)); err != nil {
				return err
			}
		case !f.mode.IsDir():
			return fmt.Errorf("/%s is a %v, which no image needs", name, f.mode)
		}
		files = append(files, f)
		return nil
	})
	return files, err
}

// applets links the names of busybox that no package has brought to it.
func applets(ctx context.Context, root, busybox, arch string) ([]file, error) {
	if arch != runtime.GOARCH {
		return nil, fmt.Errorf("%s for %s cannot be asked for its applets here; build it on a machine of %s", busybox, arch, arch)
	}
	executable := filepath.Join(root, busybox)
	loader, err := loaderOf(executable)
	if err != nil {
		return nil, err
	}
	libraries, err := filepath.Glob(filepath.Join(root, "usr/lib/*-linux-gnu*"))
	if err != nil {
		return nil, err
	}
	out, err := run(exec.CommandContext(ctx, filepath.Join(root, loader), "--library-path", strings.Join(libraries, ":"), executable, "--list-full"))
	if err != nil {
		return nil, err
	}
	var files []file
	for applet := range strings.FieldsSeq(string(out)) {
		for _, name := range merged {
			if strings.HasPrefix(applet, name+"/") {
				applet = "usr/" + applet
			}
		}
		if !brought(root, path.Base(applet)) {
			files = append(files, file{name: "/" + applet, link: busybox})
		}
	}
	return files, nil
}

// brought says whether there is a command of that name, in any of the folders for commands.
func brought(root, command string) bool {
	for _, folder := range []string{"usr/bin", "usr/sbin"} {
		if _, err := os.Lstat(filepath.Join(root, folder, command)); err == nil {
			return true
		}
	}
	return false
}

// loaderOf returns the loader that a dynamic executable asks for.
func loaderOf(executable string) (string, error) {
	f, err := elf.Open(executable)
	if err != nil {
		return "", fmt.Errorf("%s: %w", executable, err)
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			loader, err := io.ReadAll(p.Open())
			return strings.TrimRight(string(loader), "\x00"), err
		}
	}
	return "", fmt.Errorf("%s is static: it needs no packages", executable)
}
