package installer

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"airgap/internal/atomicfile"
	"airgap/internal/payload"
	"airgap/internal/progress"
	"airgap/internal/site"
	"airgap/node/config"
	"airgap/registry/retained"
)

// retain keeps what containerd's store does not hold of the bundle, so that another machine can have it whole from this
// one. It comes when the bundle is in use: what was not installed is not handed on.
func (r *run) retain(context.Context) (string, error) {
	m := r.manifest
	b := site.Bundle{Name: m.Name, Version: m.Version, Digest: r.digest, Platform: m.Platforms}
	content := retained.Content{Files: map[string][]byte{}, Blobs: map[string]string{}}
	for _, file := range r.reader.Head() {
		b.Files = append(b.Files, file.Name)
		content.Files[file.Name] = file.Data
	}
	var bytes int64
	for _, e := range m.Entries {
		path := filepath.Join(r.staging(), e.SHA256)
		switch _, err := os.Lstat(path); {
		case err == nil:
			content.Blobs[e.SHA256] = path
			bytes += e.Size
		case !blobExists(r.paths, e.SHA256):
			// An install that an older version of airgap began did not stage all. The node is none the worse for it.
			r.console.warn(fmt.Sprintf("other machines cannot have this bundle from here: its %s was not kept; install it again to change that", e.Path))
			return "nothing", nil
		}
	}
	if err := r.shareExecutable(content.Blobs); err != nil {
		return "", err
	}
	if err := retained.Open(r.paths.Bundles(), r.paths.ContentBlobs()).Keep(b, content); err != nil {
		return "", err
	}
	return fmt.Sprintf("%s beside the images", progress.Bytes(bytes)), nil
}

// shareExecutable takes this machine's executable from the folder of its version, where it is kept anyhow, so that it is
// on the disk once: the very file, if it holds the same bytes.
func (r *run) shareExecutable(blobs map[string]string) error {
	d := r.distribution()
	if d == nil {
		return nil
	}
	packed, err := payload.Open(blobs[hexOf(d.Digest)])
	if err != nil {
		return err
	}
	defer packed.Close()
	installed := filepath.Join(r.paths.Versions(), packed.Digest(), "airgap")
	if sum, err := fileSHA256(installed); err == nil && sum == hexOf(d.Digest) {
		blobs[sum] = installed
	}
	return nil
}

// bundlesBefore is what was retained of bundles before the last upgrade, for a rollback.
func bundlesBefore(p config.Paths) string { return filepath.Join(p.Install(), "bundles") }

// keepBundlesBefore keeps what is retained now, in links that take no room of their own.
func keepBundlesBefore(p config.Paths) error {
	temporary := bundlesBefore(p) + ".new"
	if err := os.RemoveAll(temporary); err != nil {
		return err
	}
	err := filepath.WalkDir(p.Bundles(), func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(p.Bundles(), path)
		if err != nil {
			return err
		}
		to := filepath.Join(temporary, name)
		if !entry.IsDir() {
			return os.Link(path, to)
		}
		return os.Mkdir(to, 0o700)
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil // an install that never retained anything
	}
	if err != nil {
		return err
	}
	return errors.Join(os.RemoveAll(bundlesBefore(p)), os.Rename(temporary, bundlesBefore(p)), atomicfile.SyncDir(p.Install()))
}

// putBundlesBack makes what keepBundlesBefore has kept what is retained. It may be repeated.
func putBundlesBack(p config.Paths) error {
	if !exists(bundlesBefore(p)) {
		return nil
	}
	return errors.Join(os.RemoveAll(p.Bundles()), os.Rename(bundlesBefore(p), p.Bundles()), atomicfile.SyncDir(p.DataDir))
}
