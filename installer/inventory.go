package installer

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"airgap/bundle"
	"airgap/node/config"
	"airgap/registry/retained"
)

// Inventory lists what the node with a data folder has of bundles: what a delta for it can leave out. Whole are those that
// were installed last of each name.
func Inventory(dataDir string) (*bundle.Inventory, error) {
	paths := config.PathsOf(dataDir)
	kept, err := retained.Open(paths.Bundles(), paths.ContentBlobs()).List()
	if err != nil {
		return nil, err
	}
	if len(kept) == 0 {
		return nil, fmt.Errorf("%w: no bundle is kept in %s", ErrNotInstalled, paths.Bundles())
	}
	var bundles []bundle.BaseBundle
	for _, b := range kept {
		bundles = append(bundles, bundle.BaseBundle{Name: b.Name, Version: b.Version, Digest: b.Digest})
	}
	var blobs []bundle.HeldBlob
	for _, folder := range []string{paths.ContentBlobs(), filepath.Join(paths.Bundles(), "blobs")} {
		entries, err := os.ReadDir(folder)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		for _, entry := range entries {
			info, err := entry.Info()
			if errors.Is(err, fs.ErrNotExist) {
				continue // collected meanwhile
			}
			if err != nil {
				return nil, err
			}
			if info.Mode().IsRegular() {
				blobs = append(blobs, bundle.HeldBlob{Digest: "sha256:" + entry.Name(), Size: info.Size()})
			}
		}
	}
	return bundle.NewInventory(bundles, blobs), nil
}

// base is what this machine has of the bundles that were installed on it. It implements [bundle.Base].
type base struct{ paths config.Paths }

// Has implements [bundle.Base].
func (b base) Has(e bundle.Entry) bool { return b.place(e) != "" }

// Open implements [bundle.Base].
func (b base) Open(e bundle.Entry) (io.ReadCloser, error) {
	place := b.place(e)
	if place == "" {
		return nil, fs.ErrNotExist
	}
	return os.Open(place)
}

// place is the file of an entry's digest and size, "" if there is none.
func (b base) place(e bundle.Entry) string {
	for _, path := range placesOf(b.paths, e) {
		if info, err := os.Stat(path); err == nil && info.Size() == e.Size {
			return path
		}
	}
	return ""
}
