package retained

import (
	"cmp"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"airgap/internal/site"
)

const (
	blobsFolder = "blobs"
	recordFile  = "retained.json"
	// temporaryPrefix is of what is not yet, or no longer, under its name.
	temporaryPrefix = ".retained-"
)

// Folder is a node's folder of retained bundles. It holds nothing open: what an install changes is seen at once.
// Its methods may be used by several goroutines, but for those that change it.
type Folder struct {
	dir     string
	content string
}

// record is retained.json.
type record struct {
	Bundle site.Bundle `json:"bundle"`
	Blobs  []string    `json:"blobs"` // those in the folder blobs, hex, sorted
}

// Open returns the folder dir, which need not exist: then nothing is retained. content is the folder in which containerd's
// content store has its blobs, each named by the hex digits of its SHA-256.
func Open(dir, content string) *Folder { return &Folder{dir: dir, content: content} }

// List returns the bundles in the order in which they were installed. One that cannot be read is left out and told in the
// error; the others are returned with it.
func (f *Folder) List() ([]site.Bundle, error) {
	records, err := f.records("")
	bundles := make([]site.Bundle, len(records))
	for i, r := range records {
		bundles[i] = r.Bundle
	}
	return bundles, err
}

// records reads those of all bundles but one, which may be none.
func (f *Folder) records(except string) ([]record, error) {
	entries, err := os.ReadDir(f.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var records []record
	var errs []error
	for _, entry := range entries {
		if !entry.IsDir() || !isHex(entry.Name()) || entry.Name() == except {
			continue
		}
		r, err := f.read(entry.Name())
		if errors.Is(err, fs.ErrNotExist) {
			continue // removed meanwhile
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		records = append(records, r)
	}
	slices.SortFunc(records, func(a, b record) int {
		return cmp.Or(cmp.Compare(a.Bundle.Order, b.Bundle.Order), strings.Compare(a.Bundle.Digest, b.Bundle.Digest))
	})
	return records, errors.Join(errs...)
}

func (f *Folder) read(hex string) (r record, err error) {
	path := filepath.Join(f.dir, hex, recordFile)
	data, err := os.ReadFile(path)
	if err != nil {
		return r, err
	}
	if err := json.Unmarshal(data, &r); err != nil {
		return r, fmt.Errorf("%s: %w; install the bundle again", path, err)
	}
	return r, nil
}

// File opens a bundle's manifest or one of its signatures, by the digest of the manifest and the file's name in the
// bundle. The error is [fs.ErrNotExist] for anything else.
func (f *Folder) File(bundle, name string) (*os.File, error) {
	digits, err := digitsOf(bundle)
	if err != nil {
		return nil, err
	}
	r, err := f.read(digits)
	if err != nil {
		return nil, err
	}
	if !slices.Contains(r.Bundle.Files, name) || !isName(name) {
		return nil, fmt.Errorf("bundle %s: file %q: %w", bundle, name, fs.ErrNotExist)
	}
	return os.Open(filepath.Join(f.dir, digits, name))
}

// Blob opens a blob by its digest, be it one of a bundle or of any image of the node. The error is [fs.ErrNotExist] if the node has
// it not.
func (f *Folder) Blob(digest string) (*os.File, error) {
	digits, err := digitsOf(digest)
	if err != nil {
		return nil, err
	}
	file, err := os.Open(filepath.Join(f.content, digits))
	if errors.Is(err, fs.ErrNotExist) {
		return os.Open(f.blobPath(digits))
	}
	return file, err
}

func (f *Folder) blobPath(hex string) string { return filepath.Join(f.dir, blobsFolder, hex) }

// digitsOf returns the hex digits of a digest, "sha256:<64 hex digits>".
func digitsOf(digest string) (string, error) {
	digits, found := strings.CutPrefix(digest, "sha256:")
	if !found || !isHex(digits) {
		return "", fmt.Errorf("%q is no digest such as sha256:…: %w", digest, fs.ErrNotExist)
	}
	return digits, nil
}

func isHex(s string) bool {
	raw, err := hex.DecodeString(s)
	return err == nil && len(raw) == 32 && s == strings.ToLower(s)
}

// isName says whether name is that of a file in a folder, and of none of ours.
func isName(name string) bool {
	return filepath.IsLocal(name) && filepath.Base(name) == name && name != recordFile && !strings.HasPrefix(name, ".")
}
