package build

import (
	"context"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	images "airgap/airgap-images"
)

// onDebian declares an image of a package, and another from it.
const onDebian = `
registry: example.test
images:
  - name: shell
    repository: tools/shell
    tag: v1
    title: A shell
    licenses: GPL-2.0-only
    upstream: {debian: busybox, version: 1.37.0}
    packages: {suites: [trixie], install: [busybox], busybox: /usr/bin/busybox}
    files: [{link: busybox, target: /usr/bin/bb}]
    command: [sh]
    user: "0:0"
    platforms: [linux/amd64, linux/arm64]
  - name: greeter
    tag: v1
    title: A shell with a greeting
    licenses: GPL-2.0-only
    upstream: {module: k8s.io/kubernetes, version: v1.37.1}
    from: shell
    files: [{content: "hello\n", target: /greeting}]
    command: [cat, /greeting]
    user: "0:0"
    platforms: [linux/amd64, linux/arm64]
`

// archiveOrSkip skips a test that needs Debian's archive where it cannot be reached.
func archiveOrSkip(t *testing.T) {
	t.Helper()
	site, _, err := archives(t.Context())
	if err != nil {
		t.Skip(err)
	}
	u, err := url.Parse(site)
	if err != nil {
		t.Fatal(err)
	}
	port := u.Port()
	if port == "" {
		port = u.Scheme
	}
	connection, err := net.DialTimeout("tcp", net.JoinHostPort(u.Hostname(), port), 5*time.Second)
	if err != nil {
		t.Skip("Debian's archive cannot be reached: ", err)
	}
	connection.Close()
}

func TestBuildOfPackages(t *testing.T) {
	archiveOrSkip(t)
	var first map[string]string
	for range 2 {
		opts := options(t, onDebian)
		if err := Build(context.Background(), opts); err != nil {
			t.Fatal(err)
		}
		layers := map[string]int{"example.test/tools/shell:v1": 2, "example.test/greeter:v1": 3}
		for reference, want := range layers {
			got, err := open(t, opts.Output, reference).Layers()
			if err != nil || len(got) != want {
				t.Errorf("%s has %d layers (%v), want %d", reference, len(got), err, want)
			}
		}
		if first == nil {
			first = bytesOf(t, opts.Output)
		} else if second := bytesOf(t, opts.Output); len(second) != len(first) {
			t.Errorf("built again there are %d files instead of %d", len(second), len(first))
		} else {
			for name := range first {
				if second[name] != first[name] {
					t.Errorf("%s differs when built again", name)
				}
			}
		}
	}
}

func TestUnpackPackages(t *testing.T) {
	archiveOrSkip(t)
	work := t.TempDir()
	p := images.Packages{Suites: []string{"trixie"}, Install: []string{"busybox", "passwd"}, Busybox: "/usr/bin/busybox"}
	unpacked, err := unpackPackages(context.Background(), p, strings.TrimPrefix(platform, "linux/"), work)
	if err != nil {
		t.Fatal(err)
	}
	if unpacked.versions["libc6"] == "" {
		t.Errorf("libc6, which busybox depends on, is not there: %v", unpacked.versions)
	}
	content, err := unpacked.layer.Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	defer content.Close()
	got := list(t, content)
	for _, want := range []string{
		"bin Lrwxrwxrwx -> usr/bin",
		"usr/bin/sh Lrwxrwxrwx -> /usr/bin/busybox", // no package brings one
		"usr/bin/chfn urwxr-xr-x",                   // setuid, as Debian has it
		"usr/share/doc/busybox/copyright -rw-r--r--",
	} {
		if !slices.Contains(got, want) {
			t.Errorf("there is no %q", want)
		}
	}
	if slices.ContainsFunc(got, func(entry string) bool { return strings.HasPrefix(entry, "usr/share/man/man") }) {
		t.Error("manual pages are in the layer")
	}
}

func TestUnpackPackagesThatDoNotExist(t *testing.T) {
	archiveOrSkip(t)
	p := images.Packages{Suites: []string{"trixie"}, Install: []string{"busybox", "no-such-package"}}
	_, err := unpackPackages(context.Background(), p, "amd64", t.TempDir())
	if err == nil || !strings.Contains(err.Error(), "no-such-package") {
		t.Errorf("got %v", err)
	}
}

func TestTreeRefusesDevices(t *testing.T) {
	root := t.TempDir()
	if err := os.WriteFile(filepath.Join(root, "file"), nil, 0o640); err != nil {
		t.Fatal(err)
	}
	files, err := tree(root)
	if err != nil || len(files) != 1 || files[0].mode != fs.FileMode(0o640) {
		t.Fatalf("%+v, %v", files, err)
	}
	socket, err := net.Listen("unix", filepath.Join(root, "socket"))
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	if _, err := tree(root); err == nil || !strings.Contains(err.Error(), "/socket is a") {
		t.Errorf("got %v", err)
	}
}

// Debian 12's packages have files in /lib, which is a link.
func TestUnpackForAnotherArchitecture(t *testing.T) {
	archiveOrSkip(t)
	root := filepath.Join(t.TempDir(), "root")
	versions, err := Unpack(t.Context(), "arm64", []string{"libmnl0"}, root)
	if err != nil {
		t.Fatal(err)
	}
	if versions["libmnl0"] == "" || versions["libc6"] == "" {
		t.Errorf("unpacked %v", versions)
	}
	if target, err := os.Readlink(filepath.Join(root, "lib")); err != nil || target != "usr/lib" {
		t.Errorf("lib leads to %q, %v", target, err)
	}
	if err := checkExecutable(filepath.Join(root, "usr/lib/aarch64-linux-gnu/libc.so.6"), "arm64"); err != nil && !strings.Contains(err.Error(), "static") {
		t.Error(err)
	}
}
