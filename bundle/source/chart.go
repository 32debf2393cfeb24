package source

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/chart/loader"

	"airgap/bundle"
)

const (
	// chartScheme begins a chart that is in a registry.
	chartScheme = "oci://"
	// maxChartBytes bounds a packaged chart, which is held in memory; Helm's release must fit into a
	// Secret of 1 MiB in the end.
	maxChartBytes = 16 << 20
)

// loadedChart is a chart as it goes into a bundle.
type loadedChart struct {
	chart   *chart.Chart
	archive []byte // the .tgz
	origin  string // manifest digest of an oci:// chart; "" for local ones
}

// readChart reads a packaged chart. folder is where to mend it.
func readChart(archive []byte, folder string) (*loadedChart, error) {
	l := &loadedChart{archive: archive}
	var err error
	if l.chart, err = l.fresh(); err != nil {
		return nil, err
	}
	if missing := missingDependencies(l.chart); len(missing) > 0 {
		return nil, fmt.Errorf("found in Chart.yaml, but missing in charts/ directory: %s; run `helm dependency build %s`", strings.Join(missing, ", "), folder)
	}
	return l, nil
}

// fresh reads the chart once more: rendering prunes one to the subcharts that are enabled.
func (l *loadedChart) fresh() (*chart.Chart, error) {
	c, err := loader.LoadArchive(bytes.NewReader(l.archive))
	if err != nil {
		return nil, fmt.Errorf("not a Helm chart: %w", err)
	}
	return c, nil
}

// loadChart reads a chart folder, .tgz or oci:// chart. locked is the manifest digest that an
// oci:// chart must have ("" if any).
func (g *gatherer) loadChart(ctx context.Context, c Chart, locked string) (*loadedChart, error) {
	var archive []byte
	var origin string
	var err error
	if strings.HasPrefix(c.Chart, chartScheme) {
		archive, origin, err = g.pullChart(ctx, c, locked)
	} else {
		file := g.spec.file(c.Chart)
		var info os.FileInfo
		if info, err = os.Stat(file); err != nil {
			return nil, err
		}
		if info.IsDir() {
			if archive, err = packageChart(file); err != nil {
				return nil, err
			}
		} else {
			archive, err = readLimited(file, maxChartBytes)
		}
	}
	if err != nil {
		return nil, err
	}
	l, err := readChart(archive, c.Chart)
	if err != nil {
		return nil, err
	}
	l.origin = origin
	return l, nil
}

// missingDependencies are the names of the charts that one says it needs and does not have with it.
func missingDependencies(c *chart.Chart) []string {
	var missing []string
	for _, wanted := range c.Metadata.Dependencies {
		if !slices.ContainsFunc(c.Dependencies(), func(have *chart.Chart) bool { return have.Name() == wanted.Name }) {
			missing = append(missing, wanted.Name)
		}
	}
	return missing
}

// packageChart makes the .tgz of a chart folder: what .helmignore leaves, in the order of the names, with
// times at zero, so that the same folder always gives the same bytes.
func packageChart(folder string) ([]byte, error) {
	c, err := loader.LoadDir(folder)
	if err != nil {
		return nil, fmt.Errorf("not a Helm chart: %w", err)
	}
	slices.SortFunc(c.Raw, func(a, b *chart.File) int { return strings.Compare(a.Name, b.Name) })
	var out bytes.Buffer
	zipper, _ := gzip.NewWriterLevel(&out, gzip.BestCompression)
	writer := tar.NewWriter(zipper)
	for _, file := range c.Raw {
		header := &tar.Header{
			Typeflag: tar.TypeReg,
			Name:     path.Join(c.Name(), file.Name),
			Mode:     0o644,
			Size:     int64(len(file.Data)),
			ModTime:  time.Unix(0, 0),
		}
		if err := writer.WriteHeader(header); err != nil {
			return nil, err
		}
		if _, err := writer.Write(file.Data); err != nil {
			return nil, err
		}
	}
	if err := errors.Join(writer.Close(), zipper.Close()); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// pullChart fetches a chart from a registry and returns it with the digest of its manifest.
func (g *gatherer) pullChart(ctx context.Context, c Chart, locked string) (archive []byte, origin string, err error) {
	text := strings.TrimPrefix(c.Chart, chartScheme)
	if c.Version != "" {
		text += ":" + strings.ReplaceAll(c.Version, "+", "_") // as Helm: tags have no plus sign
	}
	ref, err := Normalize(text)
	if err != nil {
		return nil, "", err
	}
	if locked != "" {
		ref.Digest = locked
	}
	root, s, err := g.registries.root(ctx, ref)
	if err != nil {
		return nil, "", err
	}
	data, err := readManifest(ctx, s, root)
	if err != nil {
		return nil, "", err
	}
	var manifest ocispec.Manifest
	if err := json.Unmarshal(data, &manifest); err != nil {
		return nil, "", err
	}
	for _, layer := range manifest.Layers {
		if layer.MediaType != bundle.ChartLayerMediaType {
			continue
		}
		if layer.Size > maxChartBytes {
			return nil, "", fmt.Errorf("the chart has %d bytes; at most %d are taken", layer.Size, maxChartBytes)
		}
		reader, err := s.blob(ctx, layer)
		if err != nil {
			return nil, "", err
		}
		defer reader.Close()
		if archive, err = io.ReadAll(io.LimitReader(reader, maxChartBytes+1)); err != nil {
			return nil, "", err
		}
		return archive, root.Digest.String(), matches(layer, archive)
	}
	return nil, "", fmt.Errorf("%s is not a Helm chart: its manifest has no layer of type %s", text, bundle.ChartLayerMediaType)
}

// blobs are the chart's parts in a bundle, and its line in the bundle manifest.
func (l *loadedChart) blobs(c Chart, values []byte) ([]bundle.Blob, bundle.Chart, error) {
	config, err := json.Marshal(l.chart.Metadata)
	if err != nil {
		return nil, bundle.Chart{}, err
	}
	layer := bundle.NewBlob(bundle.RoleChart, l.archive)
	blobs, artifact, err := bundle.NewArtifact("", bundle.ChartLayerMediaType, bundle.ChartConfigMediaType, config, layer)
	if err != nil {
		return nil, bundle.Chart{}, err
	}
	entry := bundle.Chart{
		Release: c.Name, Namespace: c.Namespace,
		Chart: l.chart.Name(), Version: l.chart.Metadata.Version,
		Artifact: artifact, Digest: layer.Digest,
	}
	if c.Values != "" {
		blob := bundle.NewBlob(bundle.RoleValues, values)
		entry.Values = blob.Digest
		blobs = append(blobs, blob)
	}
	return blobs, entry, nil
}

// readLimited reads a file that must not be larger than most bytes.
func readLimited(file string, most int64) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && int64(len(data)) > most {
		err = fmt.Errorf("%s is larger than %d bytes", file, most)
	}
	return data, err
}

// digestOf is the digest of bytes in memory.
func digestOf(data []byte) string { return digest.FromBytes(data).String() }
