package addons

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

const (
	// maxManifestBytes bounds a file. A HelmChart with the largest chart that Helm can keep has 1.4 MB.
	maxManifestBytes = 64 << 20

	// A file is read once it has not changed for settleTime: it may still be being written, and
	// half a file looks like one from which objects were removed.
	settleTime = 500 * time.Millisecond
)

// A file is one manifest in the folder, as a look at the folder finds it.
type file struct {
	path    string // absolute
	size    int64
	modTime time.Time
	skipped bool // a file of the same name with ".skip" added stands beside it
}

func (f file) sameAs(g file) bool {
	return f.size == g.size && f.modTime.Equal(g.modTime) && f.path == g.path
}

// scan returns the manifests in and below a folder, by their path relative to it (with slashes).
// Hidden files, and those that are no YAML or JSON by name, are none.
func scan(folder string) (map[string]file, error) {
	files := map[string]file{}
	skips := map[string]bool{}
	err := filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		hidden := strings.HasPrefix(entry.Name(), ".") && path != folder
		if entry.IsDir() {
			if hidden {
				return filepath.SkipDir
			}
			return nil
		}
		relative, err := filepath.Rel(folder, path)
		if err != nil {
			return err
		}
		name := filepath.ToSlash(relative)
		if skip, found := strings.CutSuffix(name, ".skip"); found {
			skips[skip] = true
			return nil
		}
		if hidden || !isManifestName(name) {
			return nil
		}
		info, err := os.Stat(path) // through a symbolic link, as ConfigMap volumes have them
		if err != nil {
			return err
		}
		if info.Mode().IsRegular() {
			files[name] = file{path: path, size: info.Size(), modTime: info.ModTime()}
		}
		return nil
	})
	if err != nil {
		// An incomplete list would take files that are there for removed ones.
		return nil, fmt.Errorf("manifests folder: %w", err)
	}
	for name := range skips {
		if f, found := files[name]; found {
			f.skipped = true
			files[name] = f
		}
	}
	return files, nil
}

func isManifestName(name string) bool {
	return slices.Contains([]string{".yaml", ".yml", ".json"}, filepath.Ext(name))
}

// componentOf returns the name by which --disable knows a file: "coredns" for coredns.yaml.
func componentOf(name string) string {
	base := filepath.Base(name)
	return strings.TrimSuffix(base, filepath.Ext(base))
}

func read(f file) ([]byte, error) {
	if f.size > maxManifestBytes {
		return nil, fmt.Errorf("%d bytes; a manifest may have %d", f.size, maxManifestBytes)
	}
	return os.ReadFile(f.path)
}
