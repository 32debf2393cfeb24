package build

import (
	"context"
	"crypto/sha256"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	images "airgap/airgap-images"
)

// patched is a program with a dependency of which one file is to be ours.
var patched = map[string]string{
	"go.mod":               "module outer\n",
	"patched/go.mod":       "module patched\n\ngo 1.26.6\n\nrequire golang.org/x/mod v0.42.0\n",
	"patched/main.go":      "package main\n\nimport \"golang.org/x/mod/semver\"\n\nvar by = \"nobody\"\n\nfunc main() { println(semver.IsValid(\"ours\"), by) }\n",
	"patched/ours/ours.go": "package semver\n\nfunc IsValid(v string) bool { return v == \"ours\" }\n",
}

// compile builds the program in a new folder with these replacements, and returns the executable's path.
func compile(t *testing.T, replace map[string]map[string]string) (string, error) {
	t.Helper()
	folder := t.TempDir()
	for name, content := range patched {
		path := filepath.Join(folder, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	s := &source{
		image: &images.Image{Name: "patched", Build: images.Build{Go: &images.GoBuild{
			Folder: "patched", Package: ".", Replace: replace, Stamps: []string{"main.by=the-linker"},
		}}},
		arch: runtime.GOARCH, folder: folder, work: t.TempDir(),
	}
	return s.executable(context.Background())
}

func TestReplace(t *testing.T) {
	replace := map[string]map[string]string{"golang.org/x/mod": {"semver/semver.go": "ours/ours.go"}}
	first, err := compile(t, replace)
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(first).CombinedOutput()
	if err != nil || string(out) != "true the-linker\n" {
		t.Errorf("the program says %q, %v", out, err)
	}
	second, err := compile(t, replace)
	if err != nil {
		t.Fatal(err)
	}
	if digest(t, first) != digest(t, second) {
		t.Error("compiled in another folder the executable differs")
	}
}

func digest(t *testing.T, file string) [sha256.Size]byte {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return sha256.Sum256(data)
}

func TestReplaceRefuses(t *testing.T) {
	for name, test := range map[string]struct {
		replace map[string]map[string]string
		want    string
	}{
		"a file that upstream has moved": {map[string]map[string]string{"golang.org/x/mod": {"semver/gone.go": "ours/ours.go"}}, "upstream has no file semver/gone.go"},
		"a module that is not required":  {map[string]map[string]string{"golang.org/x/sys": {"unix/affinity_linux.go": ""}}, "does not require"},
		"a file of ours that is missing": {map[string]map[string]string{"golang.org/x/mod": {"semver/semver.go": "ours/none.go"}}, "none.go"},
		"the only file of a package":     {map[string]map[string]string{"golang.org/x/mod": {"semver/semver.go": ""}}, "semver"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := compile(t, test.replace); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want it to say %q", err, test.want)
			}
		})
	}
}
