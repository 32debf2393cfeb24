package site

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"airgap/internal/payload"
)

// Version is a distribution like the one under test, but for what its server does.
type Version struct {
	Name   string // which it has in its file "release"
	Server string // what bin/airgap does, as a shell script, when it is to be a server; empty: what it should
}

// wrapper stands before the real executable. $0 and the arguments are those of the process.
const wrapper = `#!/bin/sh
real="${0%/*}/airgap.real"
case "$1" in server) SERVER ;; esac
exec "$real" "$@"
`

// Build makes the version and a bundle of nothing else in the folder, and returns the bundle's path. The folder is on the file system of
// the checkout.
func (v Version) Build(t testing.TB, folder, bundleVersion string) string {
	t.Helper()
	root := filepath.Join(folder, v.Name)
	MustOutput(t, exec.Command("cp", "-al", Built("build/root"), root))
	if err := os.WriteFile(filepath.Join(root, "release"), []byte(v.Name+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if v.Server != "" {
		bin := filepath.Join(root, "bin")
		err := errors.Join(os.Rename(filepath.Join(bin, "airgap"), filepath.Join(bin, "airgap.real")),
			os.WriteFile(filepath.Join(bin, "airgap"), []byte(strings.ReplaceAll(wrapper, "SERVER", v.Server)), 0o755))
		if err != nil {
			t.Fatal(err)
		}
	}
	executable := filepath.Join(folder, v.Name+".bin")
	if err := pack(executable, root); err != nil {
		t.Fatal(err)
	}
	spec := filepath.Join(folder, v.Name+".yaml")
	text := fmt.Sprintf("apiVersion: airgap/v1\nkind: Bundle\nmetadata: {name: distribution, version: %s}\nspec:\n"+
		"  from: []\n  platforms: [linux/amd64]\n  distributions: [{platform: linux/amd64, executable: %s}]\n", bundleVersion, executable)
	if err := os.WriteFile(spec, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	bundle := filepath.Join(folder, v.Name+".airgap")
	cmd := exec.Command(Built("bin/airgap"), "build", "-f", spec, "-o", bundle, "--key", Built("dist/development.key"))
	cmd.Env = append(os.Environ(), "COSIGN_PASSWORD=")
	MustOutput(t, cmd)
	return bundle
}

// pack packs quickly.
func pack(executable, root string) error {
	launcher, err := os.Open(Built("build/launcher"))
	if err != nil {
		return err
	}
	defer launcher.Close()
	out, err := os.OpenFile(executable, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o755)
	if err != nil {
		return err
	}
	_, err = payload.Pack(out, launcher, root, func(w io.Writer) (io.WriteCloser, error) {
		return zstd.NewWriter(w, zstd.WithEncoderLevel(zstd.SpeedFastest))
	})
	return errors.Join(err, out.Close())
}

// Release is what the version that runs on the machine calls itself; one that is not of [Version.Build] has no name.
func (m *Machine) Release() string {
	data, _ := os.ReadFile(filepath.Join(m.Paths.Current(), "release"))
	return strings.TrimSpace(string(data))
}
