package installer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"airgap/bundle"
	"airgap/bundle/media"
	"airgap/installer/preflight"
	"airgap/internal/atomicfile"
	"airgap/internal/progress"
	"airgap/registry"
)

// importBundle reads the rest of the bundle, once, to its proper end: images go into containerd's
// store, where they stay invisible until the switch; charts, manifests, files, distributions, and what else no image
// refers to, go to the staging folder. The store must not be in use, so a node that runs is stopped; its
// pods live on.
func (r *run) importBundle(ctx context.Context) (string, error) {
	if err := r.stopNode(ctx); err != nil {
		return "", err
	}
	r.changed = true
	if err := os.MkdirAll(r.staging(), 0o700); err != nil {
		return "", err
	}
	if err := r.removeIncoming(); err != nil {
		return "", err
	}
	if err := r.openImport(ctx); err != nil {
		return "", err
	}
	if r.remote != nil {
		if err := r.member.peers.serve(r.importing); err != nil {
			return "", err
		}
	}
	transfer := r.console.bytes(r.bundleBytes())
	wanted := r.stagedDigests()
	for {
		entry, content, err := r.reader.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return "", r.ofBundle(err)
		}
		counted := &countingReader{ctx: ctx, r: content, whole: transfer, entry: transfer.Begin(entry.Label(), entry.Size)}
		staged := slices.Contains(wanted, entry.SHA256) || !r.importing.Wants(entry.Digest())
		err = r.take(ctx, entry, counted, staged)
		counted.entry.End()
		if err != nil {
			if counted.failure != nil { // whoever was reading says nothing of use
				return "", r.ofBundle(counted.failure)
			}
			return "", fmt.Errorf("%s: %w", entry.Path, err)
		}
		if r.remote != nil {
			if err := r.remote.took(entry); err != nil {
				return "", err
			}
		}
		if err := r.fault("import took " + string(entry.Role)); err != nil {
			return "", err
		}
	}
	if err := atomicfile.SyncDir(r.staging()); err != nil {
		return "", err
	}
	transfer.Stop()
	r.report.Images = len(r.manifest.Images)
	r.report.BundleBytes = r.bundleBytes()
	detail := fmt.Sprintf("%d images, %s", len(r.manifest.Images), progress.Bytes(r.bundleBytes()))
	if r.remote != nil {
		r.report.FromPeers = r.remote.fetched
		detail += fmt.Sprintf(", %s of it from other nodes", progress.Bytes(r.remote.fetched))
	}
	return detail, nil
}

// openImport opens containerd's store and begins the import, or continues it.
func (r *run) openImport(ctx context.Context) (err error) {
	if r.store, err = registry.OpenStore(r.paths.Containerd()); err != nil {
		return err
	}
	options := registry.ImportOptions{Lease: lease(r.digest), Platform: preflight.ThisPlatform()}
	for _, image := range r.manifest.Images {
		if !slices.ContainsFunc(image.Platforms, func(p bundle.ImagePlatform) bool { return preflight.SamePlatform(p.Platform, preflight.ThisPlatform()) }) {
			continue // carried for other machines alone
		}
		options.Images = append(options.Images, pinnedImage(image.Reference, image.MediaType, image.Digest, image.Size))
		for _, about := range r.manifest.ReferrersOf(image) {
			if !slices.ContainsFunc(options.Images, func(i registry.ImportImage) bool { return i.Names[0] == about.Reference }) {
				options.Images = append(options.Images, pinnedImage(about.Reference, about.MediaType, about.Digest, about.Size))
			}
		}
	}
	r.importing, err = r.store.Import(ctx, options)
	return err
}

// pinnedImage is what the import keeps under a reference: an image, or what is said about one, which nothing unpacks.
func pinnedImage(reference, mediaType, of string, size int64) registry.ImportImage {
	return registry.ImportImage{
		Names:  []string{reference},
		Target: ocispec.Descriptor{MediaType: mediaType, Digest: digest.Digest(of), Size: size},
		Labels: map[string]string{registry.LabelPinned: registry.Pinned},
	}
}

// references are the names that the bundle's images have, and what is said about them.
func (r *run) references() []string {
	var names []string
	for _, image := range r.manifest.Images {
		names = append(names, image.Reference)
	}
	for _, about := range r.manifest.Referrers {
		names = append(names, about.Reference)
	}
	return names
}

// lease names the import of the bundle with the given manifest digest.
func lease(digest string) string { return "airgap-" + hexOf(digest) }

// stagedDigests lists the blobs, in hex, that the installer itself needs.
func (r *run) stagedDigests() []string {
	var all []string
	for _, c := range r.manifest.Charts {
		all = append(all, hexOf(c.Digest))
		if c.Values != "" {
			all = append(all, hexOf(c.Values))
		}
	}
	for _, o := range r.manifest.Manifests {
		all = append(all, hexOf(o.Digest))
	}
	for _, f := range r.manifest.Files {
		all = append(all, hexOf(f.Digest))
	}
	if d := r.distribution(); d != nil {
		all = append(all, hexOf(d.Digest))
	}
	return all
}

// take brings one entry to where it is kept. content returns an error instead of io.EOF if it is
// not what was signed, and then nothing of it is kept. A blob may be wanted in both places.
func (r *run) take(ctx context.Context, entry bundle.Entry, content io.Reader, staged bool) error {
	if !staged {
		return r.deliver(ctx, entry, content)
	}
	file, err := os.CreateTemp(r.staging(), incoming+"*")
	if err != nil {
		return err
	}
	defer os.Remove(file.Name()) // fails once it has been renamed
	defer file.Close()
	if err := r.deliver(ctx, entry, io.TeeReader(content, file)); err != nil {
		return err
	}
	return atomicfile.Commit(file, filepath.Join(r.staging(), entry.SHA256))
}

// incoming begins the name of an entry in the staging folder that is not whole yet.
const incoming = ".incoming-"

// removeIncoming removes what a killed import was writing to the staging folder: up to the size of the distribution.
func (r *run) removeIncoming() error {
	files, err := filepath.Glob(filepath.Join(r.staging(), incoming+"*"))
	for _, file := range files {
		err = errors.Join(err, os.Remove(file))
	}
	return err
}

// deliver gives what images are made of to the import, and reads the rest to its end.
func (r *run) deliver(ctx context.Context, entry bundle.Entry, content io.Reader) error {
	switch entry.Role {
	case bundle.RoleIndex, bundle.RoleManifest, bundle.RoleConfig, bundle.RoleSignature, bundle.RoleLayer:
		return r.importing.Blob(ctx, entry.Digest(), entry.Size, content)
	default:
		_, err := io.Copy(io.Discard, content)
		return err
	}
}

// ofBundle says which medium an error comes from, unless the error does.
func (r *run) ofBundle(err error) error {
	if r.Bundle == "" || strings.Contains(err.Error(), media.Name(r.Bundle)) {
		return err
	}
	return fmt.Errorf("%s: %w", media.Name(r.Bundle), err)
}

// countingReader reports what is read, and ends with its context.
type countingReader struct {
	ctx     context.Context
	r       io.Reader
	whole   *progress.Progress
	entry   *progress.Transfer
	failure error // of r
}

func (c *countingReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := c.r.Read(p)
	c.entry.Add(int64(n))
	c.whole.Add(int64(n))
	if err != nil && !errors.Is(err, io.EOF) {
		c.failure = err
	}
	return n, err
}
