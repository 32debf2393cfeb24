package retained

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"airgap/internal/site"
)

// node is a folder of retained bundles beside a content store.
type node struct {
	*Folder
	t        *testing.T
	incoming string
}

func newNode(t *testing.T) *node {
	dir := t.TempDir()
	n := &node{Open(filepath.Join(dir, "bundles"), filepath.Join(dir, "content")), t, filepath.Join(dir, "incoming")}
	for _, folder := range []string{n.content, n.incoming} {
		if err := os.Mkdir(folder, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	return n
}

func digits(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

func (n *node) write(folder, text string) string {
	n.t.Helper()
	path := filepath.Join(folder, digits(text))
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		n.t.Fatal(err)
	}
	return path
}

// keep installs a bundle whose manifest is the text "name version", with the given blobs.
func (n *node) keep(name, version string, blobs ...string) site.Bundle {
	n.t.Helper()
	manifest := name + " " + version
	b := site.Bundle{Name: name, Version: version, Digest: "sha256:" + digits(manifest), Files: []string{"airgap.json", "airgap.json.sig"}}
	content := Content{Files: map[string][]byte{"airgap.json": []byte(manifest), "airgap.json.sig": []byte("signed")}, Blobs: map[string]string{}}
	for _, blob := range blobs {
		content.Blobs[digits(blob)] = n.write(n.incoming, blob)
	}
	if err := n.Keep(b, content); err != nil {
		n.t.Fatal(err)
	}
	return b
}

// read is what a file that was opened holds; empty if there is none.
func (n *node) read(file *os.File, err error) string {
	n.t.Helper()
	if errors.Is(err, fs.ErrNotExist) {
		return ""
	}
	if err != nil {
		n.t.Fatal(err)
	}
	defer file.Close()
	data, err := io.ReadAll(file)
	if err != nil {
		n.t.Fatal(err)
	}
	return string(data)
}

func (n *node) wantBundles(want ...string) {
	n.t.Helper()
	list, err := n.List()
	if err != nil {
		n.t.Fatal(err)
	}
	var got []string
	for _, b := range list {
		got = append(got, b.Name+" "+b.Version)
	}
	if !slices.Equal(got, want) {
		n.t.Errorf("retained are %q, want %q", got, want)
	}
}

func (n *node) wantNothingElse(blobs int) {
	n.t.Helper()
	entries, err := os.ReadDir(filepath.Join(n.dir, blobsFolder))
	if err != nil || len(entries) != blobs {
		n.t.Errorf("%d files among the blobs, want %d (%v)", len(entries), blobs, err)
	}
	list, _ := n.List()
	if entries, err = os.ReadDir(n.dir); err != nil || len(entries) != len(list)+1 {
		n.t.Errorf("%d entries in the folder for %d bundles (%v)", len(entries), len(list), err)
	}
}

func TestABundleIsReadBackWhole(t *testing.T) {
	n := newNode(t)
	n.wantBundles()
	b := n.keep("system", "1.0.0", "distribution", "chart")
	n.write(n.content, "layer")
	if err := os.RemoveAll(n.incoming); err != nil { // what the installer does at its end
		t.Fatal(err)
	}
	n.wantBundles("system 1.0.0")
	if got := n.read(n.File(b.Digest, "airgap.json")); got != "system 1.0.0" {
		t.Errorf("the manifest is %q", got)
	}
	for _, blob := range []string{"distribution", "chart", "layer"} {
		if got := n.read(n.Blob("sha256:" + digits(blob))); got != blob {
			t.Errorf("blob %q is %q", blob, got)
		}
	}
}

func TestOnlyWhatWasKeptCanBeOpened(t *testing.T) {
	n := newNode(t)
	b := n.keep("system", "1.0.0", "chart")
	n.write(n.content, "layer")
	for _, name := range []string{"", ".", "..", recordFile, "airgap.json.1.sig", "../blobs/" + digits("chart"), "./airgap.json", "/etc/passwd"} {
		if got := n.read(n.File(b.Digest, name)); got != "" {
			t.Errorf("file %q is %q", name, got)
		}
	}
	for _, digest := range []string{"", digits("chart"), "sha256:", "sha256:..", "sha256:" + digits("chart")[:63], "sha512:" + digits("chart"),
		"sha256:../" + digits("chart"), "sha256:" + digits("nothing")} {
		if got := n.read(n.Blob(digest)); got != "" {
			t.Errorf("blob %q is %q", digest, got)
		}
		if got := n.read(n.File(digest, "airgap.json")); got != "" {
			t.Errorf("bundle %q has the manifest %q", digest, got)
		}
	}
}

func TestOneVersionOfABundleIsKept(t *testing.T) {
	n := newNode(t)
	old := n.keep("system", "1.0.0", "distribution 1", "shared")
	n.keep("demo", "3.0.0", "chart", "shared")
	n.wantBundles("system 1.0.0", "demo 3.0.0")
	n.wantNothingElse(3)
	n.keep("system", "1.1.0", "distribution 2")
	n.wantBundles("demo 3.0.0", "system 1.1.0") // installed in this order
	n.wantNothingElse(3)
	if got := n.read(n.Blob("sha256:" + digits("shared"))); got != "shared" {
		t.Error("a blob went that another bundle has too")
	}
	if got := n.read(n.File(old.Digest, "airgap.json")); got != "" {
		t.Error("the old version is still there")
	}
	n.keep("demo", "3.0.0", "chart", "shared") // again
	n.wantBundles("system 1.1.0", "demo 3.0.0")
	n.wantNothingElse(3)
}

func TestAnInterruptedKeepLeavesNoBundle(t *testing.T) {
	n := newNode(t)
	n.keep("system", "1.0.0", "distribution")
	// Killed after the blobs, and while the folder was being written.
	n.write(filepath.Join(n.dir, blobsFolder), "half-way")
	if err := os.Mkdir(filepath.Join(n.dir, temporaryPrefix+"1"), 0o700); err != nil {
		t.Fatal(err)
	}
	n.wantBundles("system 1.0.0")
	n.keep("demo", "3.0.0", "chart")
	n.wantBundles("system 1.0.0", "demo 3.0.0")
	n.wantNothingElse(2)
}

func TestABundleWithoutItsFilesIsNotKept(t *testing.T) {
	n := newNode(t)
	b := site.Bundle{Name: "system", Digest: "sha256:" + digits("x"), Files: []string{"airgap.json"}}
	for name, content := range map[string]Content{
		"no manifest":     {},
		"a blob's name":   {Files: map[string][]byte{"airgap.json": nil}, Blobs: map[string]string{"../x": n.write(n.incoming, "x")}},
		"a missing blob":  {Files: map[string][]byte{"airgap.json": nil}, Blobs: map[string]string{digits("y"): "/does/not/exist"}},
		"another's file":  {Files: map[string][]byte{"airgap.sig": nil}},
		"an absent digit": {Files: map[string][]byte{"airgap.json": nil}, Blobs: map[string]string{"abc": n.write(n.incoming, "z")}},
	} {
		if err := n.Keep(b, content); err == nil {
			t.Errorf("%s: it is kept", name)
		}
		n.wantBundles()
	}
}

func TestADamagedRecordHidesOneBundleAndRemovesNothing(t *testing.T) {
	n := newNode(t)
	b := n.keep("system", "1.0.0", "distribution")
	n.keep("demo", "3.0.0", "chart")
	if err := os.WriteFile(filepath.Join(n.dir, b.Digest[len("sha256:"):], recordFile), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	list, err := n.List()
	if err == nil || len(list) != 1 || list[0].Name != "demo" {
		t.Errorf("got %v, %v; want demo and an error", list, err)
	}
	if err := n.sweep(); err == nil || n.read(n.Blob("sha256:"+digits("distribution"))) == "" {
		t.Errorf("blobs of a bundle that cannot be read were removed (%v)", err)
	}
	n.keep("system", "1.0.0", "distribution") // what the error says to do
	n.wantBundles("demo 3.0.0", "system 1.0.0")
	n.wantNothingElse(2)
}
