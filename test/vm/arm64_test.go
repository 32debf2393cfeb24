package vm_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"

	images "airgap/airgap-images"
	"airgap/test/site"
)

// emulator runs one program of another processor (qemu-user).
const emulator = "qemu-aarch64-static"

// onARM64 returns the command that runs a program for arm64 here.
func onARM64(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(args[0], args[1:]...)
	if runtime.GOARCH != "arm64" {
		cmd = exec.Command(emulator, args...)
	}
	cmd.Env = append(os.Environ(), "AIRGAP_DATA_DIR="+filepath.Join(t.TempDir(), "data"), "COSIGN_PASSWORD=")
	return cmd
}

func output(t *testing.T, cmd *exec.Cmd) string {
	t.Helper()
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(cmd.Args, " "), err, out)
	}
	return string(out)
}

func TestExecutablesForARM64(t *testing.T) {
	root := site.Built("build/arm64/root")
	version := output(t, onARM64(t, filepath.Join(root, "bin/airgap"), "version"))
	for _, want := range []string{"linux/arm64", "v1.37"} {
		if !strings.Contains(version, want) {
			t.Errorf("airgap version does not say %q:\n%s", want, version)
		}
	}
	for program, args := range map[string][]string{
		"runc": {"--version"}, "containerd-shim-runc-v2": {"-v"}, "helm": {"version"},
	} {
		if out := output(t, onARM64(t, append([]string{filepath.Join(root, "bin", program)}, args...)...)); out == "" {
			t.Errorf("%s says nothing", program)
		}
	}
	for _, plugin := range []string{"bridge", "host-local", "loopback", "portmap", "airgap-policy"} {
		cmd := onARM64(t, filepath.Join(root, "bin", plugin))
		cmd.Env = append(cmd.Env, "CNI_COMMAND=VERSION")
		cmd.Stdin = strings.NewReader(`{"cniVersion":"1.0.0"}`)
		if out := output(t, cmd); !strings.Contains(out, "supportedVersions") {
			t.Errorf("%s: %s", plugin, out)
		}
	}
	lib := filepath.Join(root, "lib")
	nft, err := onARM64(t, filepath.Join(lib, "ld-linux-aarch64.so.1"), "--library-path", lib, filepath.Join(lib, "nft"), "--version").CombinedOutput()
	// It wants a netfilter socket before it reads its arguments, and the emulator has none: so far it and
	// all its libraries have been loaded and run.
	if !strings.HasPrefix(string(nft), "nftables v") && !strings.Contains(string(nft), "Unable to initialize Netlink socket: Protocol not supported") {
		t.Errorf("nft: %v\n%s", err, nft)
	}
}

// What is on the stick unpacks itself and verifies its bundle. Without the kernel's help
// the emulated launcher cannot start another program for arm64: what it unpacked is started here.
func TestBundleForARM64(t *testing.T) {
	data := t.TempDir()
	launcher := onARM64(t, site.Built("bin/airgap-arm64"), "version")
	launcher.Env = append(launcher.Env, "AIRGAP_DATA_DIR="+data)
	out, err := launcher.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	found, err := filepath.Glob(filepath.Join(data, "data", "*", "bin", "airgap"))
	if err != nil || len(found) != 1 {
		t.Fatalf("unpacked: %q, %v; the launcher said: %s", found, err, out)
	}
	verified := output(t, onARM64(t, found[0], "verify", site.Built("dist/system-arm64.airgap"), "--key", site.Built("dist/development.pub")))
	if !strings.Contains(verified, "system") {
		t.Errorf("verify: %s", verified)
	}
	inspected := output(t, onARM64(t, found[0], "inspect", site.Built("dist/system-arm64.airgap"), "--key", site.Built("dist/development.pub")))
	if !strings.Contains(inspected, "linux/arm64") || strings.Contains(inspected, "linux/amd64") {
		t.Errorf("inspect: %s", inspected)
	}
}

func TestImagesForARM64(t *testing.T) {
	index, err := layout.ImageIndexFromPath(site.Built("build/arm64/images"))
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	questions := map[string][]string{
		"pause": {"-v"}, "coredns": {"-version"}, "busybox": {"echo", "busybox"}, "traefik": {"version"},
		"metrics-server": {"--version"}, "local-path-provisioner": {"--version"},
	}
	for _, declared := range images.System().Images {
		t.Run(declared.Name, func(t *testing.T) {
			question, ok := questions[declared.Name]
			if !ok {
				t.Fatal("nobody has said how to ask this image's program something")
			}
			for _, descriptor := range manifest.Manifests {
				if descriptor.Annotations["org.opencontainers.image.ref.name"] != images.Reference(declared.Name) {
					continue
				}
				platforms, err := index.ImageIndex(descriptor.Digest)
				if err != nil {
					t.Fatal(err)
				}
				runImage(t, platforms, question)
				return
			}
			t.Errorf("%s is not in the layout", images.Reference(declared.Name))
		})
	}
}

// runImage runs the entrypoint of an index's one image, for arm64, out of a folder.
func runImage(t *testing.T, platforms v1.ImageIndex, question []string) {
	manifest, err := platforms.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	if len(manifest.Manifests) != 1 || manifest.Manifests[0].Platform.Architecture != "arm64" {
		t.Fatalf("the image is for %+v", manifest.Manifests)
	}
	image, err := platforms.Image(manifest.Manifests[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	program := extract(t, image, config.Config.Entrypoint[0])
	if out := output(t, onARM64(t, append([]string{program}, question...)...)); strings.TrimSpace(out) == "" {
		t.Errorf("%s says nothing", config.Config.Entrypoint[0])
	}
}

// extract writes one file of an image and returns its path.
func extract(t *testing.T, image v1.Image, name string) string {
	t.Helper()
	content := mutate.Extract(image)
	defer content.Close()
	files := tar.NewReader(content)
	for {
		header, err := files.Next()
		if errors.Is(err, io.EOF) {
			t.Fatalf("no %s in the image", name)
		}
		if err != nil {
			t.Fatal(err)
		}
		if "/"+strings.TrimPrefix(header.Name, "/") != name {
			continue
		}
		var data bytes.Buffer
		if _, err := io.Copy(&data, files); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(t.TempDir(), filepath.Base(name))
		if err := os.WriteFile(path, data.Bytes(), 0o755); err != nil {
			t.Fatal(err)
		}
		return path
	}
}
