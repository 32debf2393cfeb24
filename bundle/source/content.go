package source

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/Masterminds/semver/v3"
	"github.com/opencontainers/go-digest"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"airgap/bundle"
	"airgap/internal/registryclient"
)

// maxObjectsBytes bounds a file of Kubernetes objects, which is held in memory.
const maxObjectsBytes = 16 << 20

// objectsName is the shape of Objects.Name in the bundle manifest.
var objectsName = regexp.MustCompile(`^[A-Za-z0-9]([-A-Za-z0-9._]{0,198}[A-Za-z0-9])?$`)

// localContent reads the charts, manifests and files of airgap.yaml, and notes the images that charts and
// manifests name.
func (g *gatherer) localContent(ctx context.Context) error {
	for i, chart := range g.spec.Spec.Charts {
		node := fmt.Sprintf("spec.charts[%d]", i)
		if err := g.chart(ctx, chart, node); err != nil {
			return fmt.Errorf("chart %s (%s): %w", chart.Name, g.spec.place(node), err)
		}
	}
	for i, pattern := range g.spec.Spec.Manifests {
		if err := g.objects(ctx, pattern); err != nil {
			return fmt.Errorf("manifests %s (%s): %w", pattern, g.spec.place(fmt.Sprintf("spec.manifests[%d]", i)), err)
		}
	}
	for i, file := range g.spec.Spec.Files {
		if err := g.file(ctx, file); err != nil {
			return fmt.Errorf("file %s (%s): %w", file.Source, g.spec.place(fmt.Sprintf("spec.files[%d]", i)), err)
		}
	}
	return g.renderCharts()
}

// chart adds a chart, which node of airgap.yaml names.
func (g *gatherer) chart(ctx context.Context, c Chart, node string) error {
	if slices.ContainsFunc(g.content.Manifest.Charts, func(other bundle.Chart) bool { return other.Release == c.Name }) {
		return errors.New("a bundle of spec.from has a release of that name too")
	}
	from := c.from()
	loaded, err := g.loadChart(ctx, c, g.options.Lock.chart(from))
	if errors.Is(err, registryclient.ErrNotFound) && g.options.Lock.chart(from) != "" {
		err = fmt.Errorf("airgap.lock holds it to %s, which the registry has no longer; `airgap build --update` takes the present one: %w",
			g.options.Lock.chart(from), err)
	}
	if err != nil {
		return err
	}
	var values []byte
	if c.Values != "" {
		if values, err = readLimited(g.spec.file(c.Values), maxObjectsBytes); err != nil {
			return err
		}
	}
	blobs, entry, err := loaded.blobs(c, values)
	if err != nil {
		return err
	}
	g.entries = append(g.entries, chartEntry{c, node, loaded, values})
	g.content.Blobs = append(g.content.Blobs, blobs...)
	g.content.Manifest.Charts = append(g.content.Manifest.Charts, entry)
	locked := loaded.origin
	if locked == "" {
		locked = entry.Digest
	}
	g.lock.Charts = append(g.lock.Charts, Locked{from, locked})
	return nil
}

// objects adds the files of Kubernetes objects that a pattern matches.
func (g *gatherer) objects(ctx context.Context, pattern string) error {
	files, err := filepath.Glob(g.spec.file(pattern))
	if err != nil {
		return err
	}
	if len(files) == 0 {
		return errors.New("no such file")
	}
	for _, file := range files {
		if err := ctx.Err(); err != nil {
			return err
		}
		data, err := readLimited(file, maxObjectsBytes)
		if err != nil {
			return err
		}
		base := filepath.Base(file)
		found, err := findIn(data, "manifest", base, metav1.NamespaceDefault)
		if err != nil {
			return err
		}
		g.found.add(found)
		name := strings.TrimSuffix(base, filepath.Ext(base))
		if !objectsName.MatchString(name) {
			return fmt.Errorf("%s: want a name of letters, digits, dots, dashes and underscores", base)
		}
		if slices.ContainsFunc(g.content.Manifest.Manifests, func(o bundle.Objects) bool { return strings.EqualFold(o.Name, name) }) {
			return fmt.Errorf("%s: there is a manifest %s already, of another folder or from a bundle of spec.from; rename it", base, name)
		}
		layer := bundle.NewBlob(bundle.RoleObjects, data)
		artifact, err := g.artifact(bundle.ObjectsArtifactType, bundle.ObjectsLayerMediaType, layer)
		if err != nil {
			return err
		}
		g.content.Manifest.Manifests = append(g.content.Manifest.Manifests, bundle.Objects{Name: name, Artifact: artifact, Digest: layer.Digest})
	}
	return nil
}

// file adds a file for the machines.
func (g *gatherer) file(ctx context.Context, f File) error {
	if slices.ContainsFunc(g.content.Manifest.Files, func(other bundle.File) bool { return other.Target == f.Target }) {
		return fmt.Errorf("a bundle of spec.from has %s too", f.Target)
	}
	layer, err := diskBlob(ctx, bundle.RoleFile, g.spec.file(f.Source))
	if err != nil {
		return err
	}
	artifact, err := g.artifact(bundle.FileArtifactType, bundle.FileLayerMediaType, layer)
	if err != nil {
		return err
	}
	g.content.Manifest.Files = append(g.content.Manifest.Files, bundle.File{
		Target: f.Target, Mode: f.Mode, Artifact: artifact, Digest: layer.Digest,
	})
	return nil
}

// distributions adds the executables of spec.distributions for the wanted platforms.
func (g *gatherer) distributions(ctx context.Context) error {
	for i, d := range g.spec.Spec.Distributions {
		if !slices.Contains(g.platforms, d.Platform) {
			continue
		}
		layer, err := diskBlob(ctx, bundle.RoleExecutable, g.spec.file(d.Executable))
		if err != nil {
			return fmt.Errorf("distribution for %s (%s): %w", d.Platform, g.spec.place(fmt.Sprintf("spec.distributions[%d]", i)), err)
		}
		artifact, err := g.artifact(bundle.DistributionArtifactType, bundle.DistributionLayerMediaType, layer)
		if err != nil {
			return err
		}
		entry := bundle.Distribution{
			Platform: d.Platform, Version: d.Version, Kubernetes: d.Kubernetes,
			Artifact: artifact, Digest: layer.Digest, Size: layer.Size,
		}
		if entry.Version == "" {
			entry.Version = g.options.AirgapVersion
		}
		if entry.Kubernetes == "" {
			entry.Kubernetes = g.options.KubernetesVersion
		}
		g.content.Manifest.Distributions = append(g.content.Manifest.Distributions, entry)
	}
	return nil
}

// artifact adds an artifact's blobs and returns its manifest's digest.
func (g *gatherer) artifact(artifactType, layerMediaType string, layer bundle.Blob) (string, error) {
	blobs, manifest, err := bundle.NewArtifact(artifactType, layerMediaType, "", nil, layer)
	g.content.Blobs = append(g.content.Blobs, blobs...)
	return manifest, err
}

// diskBlob hashes a file now; it is read again when the bundle is written, and refused if it has changed.
func diskBlob(ctx context.Context, role bundle.Role, path string) (bundle.Blob, error) {
	open := func(context.Context) (io.ReadCloser, error) { return os.Open(path) }
	file, err := os.Open(path)
	if err != nil {
		return bundle.Blob{}, err
	}
	defer file.Close()
	if info, err := file.Stat(); err != nil {
		return bundle.Blob{}, err
	} else if !info.Mode().IsRegular() {
		return bundle.Blob{}, fmt.Errorf("%s is not a regular file", path)
	}
	hash := sha256.New()
	size, err := io.Copy(hash, contextReader{ctx, file})
	return bundle.Blob{Digest: digest.NewDigest(digest.SHA256, hash).String(), Size: size, Role: role, Open: open}, err
}

// finish makes the manifest and the lock out of what was gathered.
func (g *gatherer) finish() error {
	m := &g.content.Manifest
	m.Name, m.Version = g.spec.Metadata.Name, g.spec.Metadata.Version
	m.VersionFloor, m.MinimumAirgap = g.spec.Metadata.VersionFloor, g.spec.Metadata.MinimumAirgap
	m.Platforms = g.platforms
	for _, b := range g.bases {
		m.MinimumAirgap = higher(m.MinimumAirgap, b.manifest.MinimumAirgap)
	}
	var layers []bundle.Blob
	for _, image := range g.sortedImages() {
		c := image.content
		m.Images = append(m.Images, bundle.Image{
			Reference: image.reference,
			Digest:    c.root.Digest.String(), MediaType: c.root.MediaType, Size: c.root.Size,
			Platforms: c.platforms, System: image.system,
		})
		g.content.Blobs = append(g.content.Blobs, c.metadata...)
		if err := g.addReferrers(image); err != nil {
			return err
		}
		layers = append(layers, c.layers...)
		for _, layer := range c.layers {
			g.distant[layer.Digest] = g.distant[layer.Digest] || c.distant
		}
		if image.from != "" {
			g.lock.Images = append(g.lock.Images, Locked{image.from, c.root.Digest.String()})
		}
	}
	g.content.Blobs = append(g.content.Blobs, layers...)
	slices.SortFunc(g.lock.Images, func(a, b Locked) int { return strings.Compare(a.Source, b.Source) })
	g.lock.Images = slices.Compact(g.lock.Images)
	slices.SortFunc(g.lock.Referrers, func(a, b Locked) int { return strings.Compare(a.Source, b.Source) })
	g.lock.Referrers = slices.Compact(g.lock.Referrers)

	slices.SortFunc(m.Referrers, func(a, b bundle.Referrer) int { return strings.Compare(a.Reference, b.Reference) })
	data, err := json.Marshal(m)
	if err != nil {
		return err
	}
	g.lock.APIVersion, g.lock.Kind = APIVersion, LockKind
	g.lock.Content = digestOf(data)
	m.IssuedAt = g.issuedAt().UTC().Truncate(time.Second).Format(time.RFC3339)
	g.lock.IssuedAt = m.IssuedAt
	return nil
}

// issuedAt is the issue time: as told, or the lock's while the content is the same, or now.
func (g *gatherer) issuedAt() time.Time {
	if !g.options.IssuedAt.IsZero() {
		return g.options.IssuedAt
	}
	if lock := g.options.Lock; lock != nil && lock.Content == g.lock.Content {
		if issued, err := time.Parse(time.RFC3339, lock.IssuedAt); err == nil {
			return issued
		}
	}
	return g.options.Now()
}

// higher is the higher of two semantic versions, of which either may be empty.
func higher(a, b string) string {
	x, errX := semver.NewVersion(a)
	y, errY := semver.NewVersion(b)
	if errX != nil || errY == nil && y.GreaterThan(x) {
		return b
	}
	return a
}
