package build

import (
	"bytes"
	"context"
	"debug/elf"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"strings"

	images "airgap/airgap-images"
)

// source gets what goes into one image for one architecture.
type source struct {
	image    *images.Image
	packages *packages         // below the image; nil without
	foreign  map[string]string // versions of the packages that an executable for another architecture came in
	arch     string            // GOARCH
	folder   string            // of the declaration
	work     string            // for temporary files
}

// executable makes the image's executable and returns its path.
func (s *source) executable(ctx context.Context) (string, error) {
	output := filepath.Join(s.work, s.image.Name+"-"+s.arch)
	switch b := s.image.Build; {
	case b.Go != nil:
		folder, err := s.moduleFolder(ctx, b.Go)
		if err != nil {
			return "", err
		}
		return output, s.compileGo(ctx, folder, b.Go.Package, b.Go.Stamps, output)
	case b.C != nil:
		return output, s.compileC(ctx, b.C, output)
	default:
		if s.arch == runtime.GOARCH {
			return b.Debian.Executable, nil
		}
		root := filepath.Join(s.work, "debian-"+s.image.Name+"-"+s.arch)
		var err error
		s.foreign, err = Unpack(ctx, s.arch, []string{s.image.Upstream.Debian}, root)
		return filepath.Join(root, b.Debian.Executable), err
	}
}

// compileGo compiles a package of the module in folder. The flags of the build of airgap itself do
// not reach it.
func (s *source) compileGo(ctx context.Context, folder, program string, stamps []string, output string) error {
	link := "-ldflags=-s -w -buildid="
	for _, stamp := range stamps {
		link += " -X " + stamp
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", link, "-o", output, program)
	cmd.Dir = folder
	cmd.Env = append(os.Environ(), "GOFLAGS=", "GOWORK=off", "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+s.arch)
	_, err := run(cmd)
	return err
}

// compilers are gcc's names per GOARCH, as Debian has them.
var compilers = map[string]string{"amd64": "x86_64-linux-gnu-gcc", "arm64": "aarch64-linux-gnu-gcc"}

// compileC compiles one file of the upstream module.
func (s *source) compileC(ctx context.Context, b *images.CBuild, output string) error {
	compiler, ok := compilers[s.arch]
	if !ok {
		return fmt.Errorf("no C compiler is known for %s", s.arch)
	}
	if _, err := exec.LookPath(compiler); err != nil {
		return fmt.Errorf("%w; install Debian's %s", err, strings.Replace("gcc-"+strings.TrimSuffix(compiler, "-gcc"), "_", "-", 1))
	}
	module, err := s.module(ctx)
	if err != nil {
		return err
	}
	args := append([]string{"-static", "-s", "-Wl,--build-id=none"}, b.Flags...)
	_, err = run(exec.CommandContext(ctx, compiler, append(args, "-o", output, filepath.Join(module, b.Source))...))
	return err
}

// module returns the folder of the upstream module in the module cache.
func (s *source) module(ctx context.Context) (string, error) {
	return s.download(ctx, s.image.Upstream.Module+"@"+s.image.Upstream.Version)
}

// version is the exact version of what is in the image.
func (s *source) version(ctx context.Context) (string, error) {
	up := s.image.Upstream
	if up.Debian == "" {
		return up.Version, nil
	}
	var exact string // [epoch:]upstream-revision
	switch {
	case s.packages != nil:
		exact = s.packages.versions[up.Debian]
	case s.foreign != nil:
		exact = s.foreign[up.Debian]
	default:
		out, err := run(exec.CommandContext(ctx, "dpkg-query", "-W", "-f", "${Version}", up.Debian))
		if err != nil {
			return "", fmt.Errorf("%w; is the Debian package %s installed?", err, up.Debian)
		}
		exact = string(out)
	}
	_, upstream, hasEpoch := strings.Cut(exact, ":")
	if !hasEpoch {
		upstream = exact
	}
	if i := strings.LastIndex(upstream, "-"); i >= 0 {
		upstream = upstream[:i]
	}
	if upstream != up.Version {
		return "", fmt.Errorf("package %s is %s here, and %s is declared: correct version and tag in the declaration", up.Debian, exact, up.Version)
	}
	return exact, nil
}

// files lists the image's own content, above what it stands on.
func (s *source) files(ctx context.Context) ([]file, error) {
	files, err := s.programs(ctx)
	if err != nil {
		return nil, err
	}
	for _, dir := range s.image.Folders {
		mode := fs.ModeDir | 0o755
		if path.Base(dir) == "tmp" {
			mode = fs.ModeDir | fs.ModeSticky | 0o777
		}
		files = append(files, file{name: dir, mode: mode})
	}
	for _, f := range s.image.Files {
		if f.Content != "" {
			files = append(files, file{name: f.Target, mode: 0o644, data: []byte(f.Content)})
			continue
		}
		if f.Link != "" {
			files = append(files, file{name: f.Target, link: f.Link})
			continue
		}
		from := f.Source
		if !filepath.IsAbs(from) {
			module, err := s.module(ctx)
			if err != nil {
				return nil, err
			}
			from = filepath.Join(module, from)
		}
		added, err := addTree(from, f.Target)
		if err != nil {
			return nil, err
		}
		files = append(files, added...)
	}
	return files, nil
}

// programs makes the image's executables, with the links to them.
func (s *source) programs(ctx context.Context) ([]file, error) {
	b := s.image.Build
	if b.Go == nil && b.C == nil && b.Debian == nil {
		return nil, nil
	}
	executable, err := s.executable(ctx)
	if err != nil {
		return nil, err
	}
	if err := checkExecutable(executable, s.arch); err != nil {
		return nil, err
	}
	main := file{name: s.image.Entrypoint[0], mode: 0o755, path: executable}
	if b.Go != nil && b.Go.Setuid {
		main.mode |= fs.ModeSetuid | fs.ModeSetgid
	}
	files := []file{main}
	if b.Debian != nil && b.Debian.Applets {
		// Both architectures' are of one version, see version: this machine's can be asked.
		out, err := run(exec.CommandContext(ctx, b.Debian.Executable, "--list-full"))
		if err != nil {
			return nil, err
		}
		for applet := range strings.FieldsSeq(string(out)) {
			if name := "/" + applet; name != main.name {
				files = append(files, file{name: name, link: main.name})
			}
		}
	}
	if b.Go == nil {
		return files, nil
	}
	for i, program := range b.Go.Beside {
		folder, err := s.moduleFolder(ctx, b.Go)
		if err != nil {
			return nil, err
		}
		if program.Folder != "" {
			folder = filepath.Join(s.folder, program.Folder)
		}
		output := fmt.Sprintf("%s-%d", executable, i)
		if err := s.compileGo(ctx, folder, program.Package, nil, output); err != nil {
			return nil, err
		}
		if err := checkExecutable(output, s.arch); err != nil {
			return nil, err
		}
		files = append(files, file{name: program.Target, mode: 0o755, path: output})
	}
	return files, nil
}

// checkExecutable refuses what would not start in an empty image: an executable for another
// machine, or one that wants a loader.
func checkExecutable(path, arch string) error {
	f, err := elf.Open(path)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	defer f.Close()
	if want := map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}[arch]; f.Machine != want {
		return fmt.Errorf("%s is for %v, not for %s", path, f.Machine, arch)
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return fmt.Errorf("%s is linked dynamically: an image of one executable needs a static one", path)
		}
	}
	return nil
}

// run runs the command and returns its output; the error has what it said on stderr.
func run(cmd *exec.Cmd) ([]byte, error) {
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%s: %w\n%s", strings.Join(cmd.Args, " "), err, bytes.TrimSpace(stderr.Bytes()))
	}
	return out, nil
}
