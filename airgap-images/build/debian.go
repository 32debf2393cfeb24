package build

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	images "airgap/airgap-images"
)

// Unpack gets Debian packages for an architecture, with all they depend on, from the suites of the building
// machine's own Debian, and extracts them into a folder, which is replaced. It returns their exact versions.
func Unpack(ctx context.Context, arch string, install []string, folder string) (map[string]string, error) {
	suites, err := ownSuites()
	if err != nil {
		return nil, err
	}
	work, err := os.MkdirTemp("", "airgap-images-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(work)
	debs := filepath.Join(work, "debs")
	if err := download(ctx, images.Packages{Suites: suites, Install: install}, arch, work, debs); err != nil {
		return nil, err
	}
	if err := os.RemoveAll(folder); err != nil {
		return nil, err
	}
	return extract(ctx, debs, folder)
}

// ownSuites are those of this machine's Debian: its release, and what was mended since.
func ownSuites() ([]string, error) {
	release, err := codename()
	if err != nil {
		return nil, err
	}
	return []string{release, release + "-updates", release + "-security"}, nil
}

// codename is the name of this machine's Debian release, "bookworm".
func codename() (string, error) {
	data, err := os.ReadFile("/etc/os-release")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(data)) {
		if name, ok := strings.CutPrefix(line, "VERSION_CODENAME="); ok {
			return strings.Trim(strings.TrimSpace(name), `"`), nil
		}
	}
	return "", errors.New("/etc/os-release names no release: build on Debian")
}

// archives are the sites that this machine's own apt gets Debian, and Debian's security updates, from.
func archives(ctx context.Context) (main, security string, err error) {
	release, err := codename()
	if err != nil {
		return "", "", err
	}
	out, err := run(exec.CommandContext(ctx, "apt-get", "indextargets", "--format", "$(RELEASE) $(REPO_URI)", "Identifier: Packages"))
	if err != nil {
		return "", "", err
	}
	for line := range strings.Lines(string(out)) {
		suite, site, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch suite {
		case release:
			main = site
		case release + "-security":
			security = site
		}
	}
	if main == "" {
		return "", "", fmt.Errorf("apt has no source for Debian %s: add one to /etc/apt/sources.list.d", release)
	}
	if security == "" {
		security = strings.TrimSuffix(main, "/") + "-security"
	}
	return main, security, nil
}

// extract unpacks the archives in the folder debs into root, and returns the packages' versions.
func extract(ctx context.Context, debs, root string) (map[string]string, error) {
	for _, name := range merged {
		if err := os.MkdirAll(filepath.Join(root, "usr", name), 0o755); err != nil {
			return nil, err
		}
		if err := os.Symlink("usr/"+name, filepath.Join(root, name)); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, err
		}
	}
	list, err := filepath.Glob(filepath.Join(debs, "*.deb"))
	if err != nil {
		return nil, err
	}
	versions := map[string]string{}
	for _, deb := range list {
		shown, err := run(exec.CommandContext(ctx, "dpkg-deb", "--show", "--showformat=${Package} ${Version}", deb))
		if err != nil {
			return nil, err
		}
		name, version, _ := strings.Cut(string(shown), " ")
		versions[name] = version
		if err := extractOne(ctx, deb, root); err != nil {
			return nil, fmt.Errorf("%s: %w", filepath.Base(deb), err)
		}
	}
	return versions, nil
}

// extractOne does what dpkg-deb --extract does, but leaves folders that are links as they are: Debian 12's
// packages still have files in /lib.
func extractOne(ctx context.Context, deb, root string) error {
	unpack := exec.CommandContext(ctx, "dpkg-deb", "--fsys-tarfile", deb)
	var problem strings.Builder
	unpack.Stderr = &problem
	content, err := unpack.StdoutPipe()
	if err != nil {
		return err
	}
	if err := unpack.Start(); err != nil {
		return err
	}
	tar := exec.CommandContext(ctx, "tar", "--extract", "--preserve-permissions", "--keep-directory-symlink", "--directory", root)
	tar.Stdin = content
	_, err = run(tar)
	if ended := unpack.Wait(); ended != nil && err == nil {
		err = fmt.Errorf("dpkg-deb: %w: %s", ended, strings.TrimSpace(problem.String()))
	}
	return err
}
