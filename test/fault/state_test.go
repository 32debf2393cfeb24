package fault

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"airgap/registry"
)

func itoa(n int) string { return strconv.Itoa(n) }

// state is what an install is to leave, one line for each thing, sorted.
type state []string

// look takes the state of a machine whose node may run: files of the installer, executables, and what else no running node changes.
func (m *machine) look(t *testing.T) (s state) {
	t.Helper()
	p := m.Paths
	add := func(format string, args ...any) { s = append(s, fmt.Sprintf(format, args...)) }
	for _, root := range []string{p.Install(), p.Versions(), p.Bundles(), p.Trust(), p.ContentBlobs(), p.PinnedImages(), p.ConfigFile(), hostFile} {
		err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() {
				return err
			}
			name, what := strings.TrimPrefix(path, p.DataDir), ""
			switch {
			case name == "/install/journal" || name == "/install/lock" || name == "/install/accepted.json":
			case strings.HasPrefix(name, "/install/reports/"):
				name = "/install/reports/…"
			case entry.Type() == fs.ModeSymlink:
				what, err = os.Readlink(path)
			default:
				what, err = digestOf(path)
			}
			add("%s %s", name, what)
			return err
		})
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Error(err)
		}
	}
	current, _ := os.Readlink(p.Current())
	add("current %s", current)
	accepted, _ := os.ReadFile(p.Accepted())
	add("accepted %s", regexp.MustCompile(`"time": "[^"]*"`).ReplaceAll(accepted, nil))
	slices.Sort(s)
	return slices.Compact(s)
}

// difference lists what only one of two sorted lists has.
func difference(want, got state) string {
	var lines []string
	for _, line := range want {
		if _, found := slices.BinarySearch(got, line); !found {
			lines = append(lines, "missing: "+line)
		}
	}
	for _, line := range got {
		if _, found := slices.BinarySearch(want, line); !found {
			lines = append(lines, "too many: "+line)
		}
	}
	return strings.Join(lines, "\n")
}

// check wants all that must hold at every instant of a first install, of which furthest is the latest step that any run has come to.
func (m *machine) check(t *testing.T, furthest int) {
	t.Helper()
	p := m.Paths
	before := func(step string) bool { return furthest < slices.Index(m.steps, step) }
	absent := func(paths ...string) {
		for _, path := range paths {
			if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s is there, before its time: %v", path, err)
			}
		}
	}
	if before("content") {
		absent(p.Server(), hostFile)
	}
	if before("switch") {
		absent(p.Current(), p.Run())
	}
	if before("commit") {
		absent(p.Trust(), p.Accepted(), filepath.Join(p.Install(), "reports"))
	}
	if _, err := os.Lstat(p.Current()); err == nil {
		if _, err := os.Stat(filepath.Join(p.Current(), "bin/airgap")); err != nil {
			t.Errorf("the running version is not there: %v", err)
		}
	}
	m.checkVersions(t, before("configuration"))
	for _, blob := range files(t, p.ContentBlobs()) {
		if sum, err := digestOf(filepath.Join(p.ContentBlobs(), blob)); sum != blob {
			t.Errorf("blob %s holds %s, %v", blob, sum, err)
		}
	}
	m.checkImages(t, before("images"))
}

// checkVersions wants each folder with the name of a version to hold all of it; packed: the packed executable may be missing.
func (m *machine) checkVersions(t *testing.T, packed bool) {
	t.Helper()
	for _, version := range files(t, m.Paths.Versions()) {
		if len(version) != 2*sha256.Size {
			continue // what is being unpacked has another name
		}
		name := "/" + filepath.Base(m.Paths.Versions()) + "/" + version + "/"
		for _, line := range m.good {
			path, sum, _ := strings.Cut(line, " ")
			if !strings.HasPrefix(path, name) || len(sum) != 2*sha256.Size {
				continue
			}
			got, err := digestOf(filepath.Join(m.Paths.DataDir, path))
			if errors.Is(err, fs.ErrNotExist) && path == name+"airgap" && packed {
				continue // what any verb unpacks to run; an install adds the executable as it is carried
			}
			if got != sum {
				t.Errorf("%s holds %s, %v; want %s", path, got, err, sum)
			}
		}
	}
}

// checkImages wants every blob of every image that has a name, as far as no containerd has the store.
func (m *machine) checkImages(t *testing.T, none bool) {
	t.Helper()
	if _, err := os.Stat(m.Paths.Containerd()); err != nil {
		return
	}
	store, err := registry.OpenStore(m.Paths.Containerd())
	if errors.Is(err, registry.ErrInUse) {
		return
	}
	if err != nil {
		t.Error(err)
		return
	}
	defer store.Close()
	images, err := store.Images(context.Background())
	if err != nil {
		t.Error(err)
	}
	if none && len(images) > 0 {
		t.Errorf("%d images have names before their time, among them %s", len(images), images[0].Name)
	}
	for _, image := range images {
		if err := wantWhole(store, image.Target.Digest.String(), true); err != nil {
			t.Errorf("image %s: %v", image.Name, err)
		}
	}
}

// wantWhole wants a blob, and, if it may refer to others, those: the ones for this platform. What a file holds has been checked.
func wantWhole(store *registry.Store, digest string, refers bool) error {
	blob, _, err := store.OpenBlob(context.Background(), digest)
	if err != nil {
		return err
	}
	defer blob.Close()
	if !refers {
		return nil
	}
	data, err := io.ReadAll(blob)
	if err != nil {
		return err
	}
	type descriptor struct {
		Digest   string
		Platform *struct{ OS, Architecture string }
	}
	var m struct {
		Config            *descriptor
		Manifests, Layers []descriptor
	}
	if err := json.Unmarshal(data, &m); err != nil {
		return err
	}
	for _, child := range m.Manifests {
		if child.Platform == nil || child.Platform.OS+child.Platform.Architecture == "linuxamd64" {
			if err := wantWhole(store, child.Digest, true); err != nil {
				return err
			}
		}
	}
	if m.Config != nil {
		m.Layers = append(m.Layers, *m.Config)
	}
	for _, layer := range m.Layers {
		if err := wantWhole(store, layer.Digest, false); err != nil {
			return err
		}
	}
	return nil
}

// files are the names in a folder, which may not be there.
func files(t *testing.T, folder string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(folder)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return names
}

// digestOf is the SHA-256 of a file, in hex.
func digestOf(path string) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer file.Close()
	hash := sha256.New()
	_, err = io.Copy(hash, file)
	return hex.EncodeToString(hash.Sum(nil)), err
}
