package snapshot

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// Extension ends the name of every snapshot's file.
const Extension = ".tar.zst"

// Version is the form of the archive that this package writes.
const Version = 1

// Names in the archive.
const (
	manifestName  = "manifest.json"
	databaseName  = "db/state.db"
	partsPrefix   = "parts/"
	maxManifest   = 1 << 20  // bytes
	maxPartsBytes = 64 << 20 // of all parts together: they are keys, not data
)

// Errors that callers decide on.
var (
	ErrDamaged  = errors.New("damaged")                    // the snapshot, or the datastore that was to be saved
	ErrNoSpace  = errors.New("not enough free disk space") //
	ErrNotFound = errors.New("no such snapshot")
	ErrExists   = errors.New("a snapshot of this name exists")
)

// Manifest says what a snapshot is of.
type Manifest struct {
	FormatVersion int       `json:"formatVersion"`
	Name          string    `json:"name"`    // of its file, without the extension
	Created       time.Time `json:"created"` // by the machine's clock, UTC
	Datastore     string    `json:"datastore"`
	Revision      int64     `json:"revision"` // of the datastore: it grows with every write
	About         About     `json:"about"`
	Entries       []Entry   `json:"entries"` // in the archive's order
}

// About is what the caller knows of the server.
type About struct {
	Node       string            `json:"node"`       // name of the server's node
	Airgap     string            `json:"airgap"`     // version that wrote it
	Kubernetes string            `json:"kubernetes"` // version that it ran
	Reason     string            `json:"reason,omitempty"`
	Settings   map[string]string `json:"settings,omitempty"` // configuration that the datastore depends on, by flag
}

// Entry is one file of a snapshot.
type Entry struct {
	Path   string      `json:"path"`
	Size   int64       `json:"size"` // bytes
	SHA256 string      `json:"sha256"`
	Mode   fs.FileMode `json:"mode"` // permission bits
}

// Info is a snapshot's file.
type Info struct {
	Manifest
	File  string `json:"file"`            // absolute path
	Bytes int64  `json:"bytes"`           // of the file
	Open  bool   `json:"open,omitempty"`  // others than its owner may read it: a stick's file system has no owners
	Error string `json:"error,omitempty"` // why it cannot be read; then the rest but Name, File and Bytes is empty
}

// namePattern is what a file of every file system, and a node, can be called.
var namePattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,199}$`)

// CheckName complains of a name that no snapshot can have.
func CheckName(name string) error {
	if !namePattern.MatchString(name) {
		return fmt.Errorf("snapshot name %q: want letters, digits, dots, dashes and underscores, beginning with a letter or digit", name)
	}
	return nil
}

// parseManifest reads a manifest and refuses one that names anything outside the archive's two folders.
func parseManifest(data []byte) (*Manifest, error) {
	m := &Manifest{}
	if err := json.Unmarshal(data, m); err != nil {
		return nil, fmt.Errorf("%s: %w", manifestName, err)
	}
	if m.FormatVersion != Version {
		return nil, fmt.Errorf("%s: format version %d; this version of airgap reads %d", manifestName, m.FormatVersion, Version)
	}
	seen := map[string]bool{}
	for _, e := range m.Entries {
		ours := e.Path == databaseName || strings.HasPrefix(e.Path, partsPrefix) && e.Path != partsPrefix
		if !ours || !filepath.IsLocal(e.Path) || path.Clean(e.Path) != e.Path || seen[e.Path] || e.Size < 0 || e.Mode&^fs.ModePerm != 0 {
			return nil, fmt.Errorf("%s: entry %q is none of a snapshot", manifestName, e.Path)
		}
		seen[e.Path] = true
	}
	if !seen[databaseName] {
		return nil, fmt.Errorf("%s: no %s", manifestName, databaseName)
	}
	return m, nil
}

// unpacked is what the entries take on a disk, bytes.
func (m *Manifest) unpacked() (total int64) {
	for _, e := range m.Entries {
		total += e.Size
	}
	return total
}
